//! Policies: checked on the command line, hostile ones in service, and replaced while events arrive.

use crate::{EXE, LONG};
use feedback_tests::{
    ChildRelay, Done, MiniPlausible, Post, Relay, Setup, eventually, fresh_id, load, within,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const IN_C: &str = "relay/policy/examples/strict-c.wasm";
const IN_RUST: &str = "relay/policy/examples/strict-rust.wasm";
const HOSTILE: &str = "tests/hostile/hostile.wasm";

fn built(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    assert!(
        path.exists(),
        "{} is not there: `cargo xtask test` builds it",
        path.display()
    );
    path
}

/// Replaces a policy file atomically, like `mv`.
fn put(wasm: &[u8], file: &Path) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, wasm).unwrap();
    std::fs::rename(&beside, file).unwrap();
}

async fn run(arguments: &[&str]) -> Done {
    let arguments = arguments.iter().map(|&a| a.to_owned()).collect();
    Done::of(EXE, arguments, String::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_says_whether_a_policy_is_usable_and_why_not() {
    let setup = Setup::new("http://127.0.0.1:9");
    let plan = setup.folder().join("plan.toml");
    let junk = setup.folder().join("junk.wasm");
    std::fs::write(&junk, b"\0asm\x01\0\0\0").unwrap();
    let [in_c, hostile] = [IN_C, HOSTILE].map(built);
    let check = async |arguments: &[&Path], code: i32, wants: &[&str]| {
        let mut line = vec!["policy", "check"];
        line.extend(arguments.iter().map(|path| path.to_str().unwrap()));
        let done = run(&line).await;
        assert_eq!(done.code, Some(code), "{line:?}: {done:?}");
        for want in wants {
            assert!(
                done.out.contains(want),
                "{line:?}: {want:?} is not in {}",
                done.out
            );
        }
    };
    let option = Path::new("--plan");
    check(
        &[],
        0,
        &["the built-in policy", "imports    none", "\nok: ", "sha256     "],
    )
    .await;
    check(
        &[&in_c, option, &plan],
        0,
        &["version 3: accepted", "ordinary", "hostile", "\nok: "],
    )
    .await;
    check(
        &[&hostile],
        1,
        &["not usable: the policy refuses the tracking plan: the plan names no deed"],
    )
    .await;
    check(&[&junk], 1, &["not usable: ", "core module", "docs/POLICY.md"]).await;

    let missing = run(&["policy", "check", "/nowhere/policy.wasm"]).await;
    assert_eq!((missing.code, missing.out.as_str()), (Some(1), ""), "{missing:?}");
    assert!(missing.err.contains("/nowhere/policy.wasm"), "{missing:?}");
    let both = run(&["policy", "check", "--plan", "a.toml", "--config", "b.toml"]).await;
    assert_eq!(both.code, Some(2), "{both:?}");
    std::fs::write(&plan, "version = 0").unwrap();
    let wrong = run(&["policy", "check", "--plan", plan.to_str().unwrap()]).await;
    assert_eq!(wrong.code, Some(78), "{wrong:?}");
    assert!(wrong.err.contains("plan.toml:1"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_explanation_is_a_table_for_people_and_json_for_programs() {
    let setup = Setup::new("http://127.0.0.1:9");
    let text = setup.command(EXE, &["policy", "explain"], "").await;
    assert_eq!(text.code, Some(0), "{text:?}");
    for want in [
        "every event",
        "props.rating",
        "a whole number from 1 to 5",
        "1 -> 1",
        "user-agent",
    ] {
        assert!(text.out.contains(want), "{want}: {text:?}");
    }
    let program = [
        "policy",
        "explain",
        "--format",
        "json",
        "--site",
        "panel.example.com",
    ];
    let json = setup.command(EXE, &program, "").await;
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json[0]["version"], 3);
    let fields = json[0]["fields"].as_array().unwrap();
    assert!(
        fields
            .iter()
            .any(|row| row["field"] == "props.n" && row["event"] == "Load")
    );
    let unknown = setup
        .command(EXE, &["policy", "explain", "--site", "nowhere.example"], "")
        .await;
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.err.contains("panel.example.com"), "{unknown:?}");
}

/// The plan of a site whose policy performs one hostile deed.
fn plan_of(deed: &str) -> String {
    format!(
        r#"
version = 3
routes = ["/", "/version", "/w/:workspace"]

[category.hostile]
description = "{deed}"

[[event]]
name = "Activity Rated"
category = "hostile"
description = "A rating."

[event.prop.activity]
type = "enum"
values = ["project-created", "tenant-created"]
required = true
description = "The activity."

[event.prop.rating]
type = "int"
min = 1
max = 5
required = true
description = "From 1 to 5."
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_policy_does_its_events_are_counted_and_the_next_honest_one_is_taken() {
    let deeds = [
        ("is honest", None),
        ("loops", Some("policy_failed/timeout")),
        ("takes all memory", Some("policy_failed/trap")),
        ("recurses for ever", Some("policy_failed/trap")),
        ("traps", Some("policy_failed/trap")),
        ("returns ten megabytes", Some("policy_failed/trap")),
        ("returns a million properties", Some("policy_failed/trap")),
        ("refuses", Some("policy_refused/unsafe")),
        ("forwards the address as it came", Some("policy_rejected/widened")),
        ("widens an enum", Some("policy_rejected/widened")),
        ("swaps two values", Some("policy_rejected/widened")),
        ("encodes data in the order", Some("policy_rejected/widened")),
        ("encodes data in the case", Some("policy_rejected/widened")),
    ];
    let site = |n: usize| format!("site-{n}.example.com");
    let plausible = MiniPlausible::start().await;
    let mut setup = Setup::new(&plausible.url())
        .with_the_plan_built_in()
        .with("", "plan = \"plan-0.toml\"")
        .with("policy", &format!("file = \"{}\"", built(HOSTILE).display()))
        .trusting_its_policy();
    for (n, (deed, _)) in deeds.iter().enumerate() {
        std::fs::write(setup.folder().join(format!("plan-{n}.toml")), plan_of(deed)).unwrap();
        setup = setup.with_site(&format!("domain = \"{}\"\nplan = \"plan-{n}.toml\"", site(n)));
    }
    let relay = setup.start().await;
    for n in 0..deeds.len() {
        relay.app().switches.set(&site(n), true, "test").await.unwrap();
    }
    let send = async |n: usize| {
        let event = json!({
            "id": fresh_id(), "name": "Activity Rated", "url": format!("https://{}/#/w/acme-prod", site(n)),
            "props": { "activity": "project-created", "user": "jane", "rating": 5 },
        });
        let body = json!({ "site": site(n), "consent": { "plan": 3 }, "events": [event] });
        let post = Post::batch(&[]).body(body.to_string());
        relay
            .send(&post.with("origin", &format!("https://{}", site(n))))
            .await
    };
    for (n, (deed, want)) in deeds.into_iter().enumerate() {
        let sent = send(n).await;
        assert_eq!(sent.status, 202, "a policy that {deed}: {sent:?}");
        let reason = want.map(|want| want.split_once('/').unwrap().1);
        assert_eq!(
            sent.json()["dropped"][0]["reason"].as_str(),
            reason,
            "a policy that {deed}: {sent:?}"
        );
        let honest = send(0).await;
        assert_eq!(
            honest.json()["accepted"],
            1,
            "after a policy that {deed}: {honest:?}"
        );
    }
    // A single event of a tracker: the policy's failure is not the sender's fault.
    for (deed, status) in [("traps", 500), ("swaps two values", 500), ("refuses", 400)] {
        let n = deeds.iter().position(|(other, _)| *other == deed).unwrap();
        let event = json!({
            "n": "Activity Rated", "u": format!("https://{}/#/w/acme-prod", site(n)), "d": site(n),
            "p": { "activity": "project-created", "user": "jane", "rating": 5 },
        });
        let post = Post::plausible(&event).with("origin", &format!("https://{}", site(n)));
        let sent = relay.send(&post).await;
        assert_eq!(sent.status, status, "a policy that {deed}: {sent:?}");
    }
    let metrics = relay.metrics().await;
    for ending in ["timeout", "trap"] {
        assert!(metrics.ended("policy_failed", ending) > 0, "{ending}");
    }
    assert_eq!(metrics.ended("policy_rejected", "widened"), 6);
    relay.drained().await;
    relay.stop().await;
}

/// A relay whose policy is a file that the test may change.
async fn with_file(plausible: &MiniPlausible, wasm: &[u8]) -> (Setup, PathBuf, Relay) {
    let setup = Setup::new(&plausible.url()).with("policy", "file = \"policy.wasm\"");
    let file = setup.folder().join("policy.wasm");
    put(wasm, &file);
    let relay = setup.start_on().await;
    (setup, file, relay)
}

/// The hash of the policy in use, from the metrics: always exactly one.
async fn in_use(relay: &Relay) -> String {
    let text = relay.metrics().await.text;
    let mut series = text
        .lines()
        .filter_map(|line| line.strip_prefix("feedback_relay_policy_info{sha256=\""));
    let hash = series.next().unwrap().split('"').next().unwrap().to_owned();
    assert_eq!(series.next(), None, "one policy at a time");
    hash
}

async fn policy_health(relay: &Relay) -> Value {
    relay.health().await.json()["components"]["policy"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_reloads_under_load_drop_no_request() {
    let policies = [IN_C, IN_RUST].map(|path| std::fs::read(built(path)).unwrap());
    let plausible = MiniPlausible::start().await;
    let (_setup, file, relay) = with_file(&plausible, &policies[0]).await;
    let relay = Arc::new(relay);
    let done = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (relay, done, sent) = (Arc::clone(&relay), Arc::clone(&done), Arc::clone(&sent));
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    let n = sent.fetch_add(1, Ordering::SeqCst);
                    relay.accept(&[load(n)]).await;
                }
            })
        })
        .collect();
    let mut seen = vec![in_use(&relay).await];
    for n in 1..=20 {
        put(&policies[n % 2], &file);
        relay.app().policy.reload().await.unwrap();
        seen.push(in_use(&relay).await);
        let so_far = sent.load(Ordering::SeqCst);
        eventually("events go on coming", async || {
            (sent.load(Ordering::SeqCst) > so_far + 8).then_some(())
        })
        .await;
    }
    done.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.unwrap();
    }
    assert_ne!(seen[0], seen[1]);
    for (n, hash) in seen.iter().enumerate() {
        assert_eq!(*hash, seen[n % 2], "reload {n}");
    }
    let metrics = relay.metrics().await;
    assert_eq!(metrics.count("policy_reloads_total{result=\"ok\"}"), 20);
    assert_eq!(metrics.count("policy_reloads_total{result=\"failed\"}"), 0);
    let sent = i64::try_from(sent.load(Ordering::SeqCst)).unwrap();
    assert_eq!(metrics.count("events_received_total"), sent);
    assert_eq!(metrics.count("events_accepted_total{event=\"Load\"}"), sent);
    relay.drained().await;
    Arc::into_inner(relay).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_not_usable_leaves_the_old_one_serving() {
    let good = std::fs::read(built(IN_C)).unwrap();
    let plausible = MiniPlausible::start().await;
    let (setup, file, relay) = with_file(&plausible, &good).await;
    let hash = in_use(&relay).await;
    let unfit = Setup::new("http://127.0.0.1:9").with_a_small_policy();
    let unfit = std::fs::read(unfit.folder().join("small-policy.wasm")).unwrap();
    let broken: [(&str, Vec<u8>); 4] = [
        ("half a file", good[..good.len() / 2].to_vec()),
        ("nothing at all", Vec::new()),
        (
            "one that refuses the plan",
            std::fs::read(built(HOSTILE)).unwrap(),
        ),
        ("one that `policy check` calls not usable", unfit),
    ];
    for (n, (what, wasm)) in (1..).zip(broken) {
        put(&wasm, &file);
        assert!(relay.app().policy.reload().await.is_err(), "{what}");
        relay.accept(&[load(n)]).await;
        assert_eq!(in_use(&relay).await, hash, "{what}");
        let health = policy_health(&relay).await;
        assert_eq!(health["status"], "UNKNOWN", "{what}: a warning, {health}");
        assert!(health["details"]["failedReload"].is_string(), "{what}: {health}");
        assert_eq!(
            relay.get("/actuator/health/readiness").await.status,
            200,
            "{what}: it serves"
        );
    }
    std::fs::remove_file(&file).unwrap();
    assert!(relay.app().policy.reload().await.is_err(), "no file");
    relay.accept(&[load(9)]).await;
    let metrics = relay.metrics().await;
    assert_eq!(metrics.count("policy_reloads_total{result=\"failed\"}"), 5);

    // The old policy again: no reload is needed, and the error is cleared.
    put(&good, &file);
    relay.app().policy.reload().await.unwrap();
    let health = policy_health(&relay).await;
    assert_eq!(
        (&health["status"], &health["details"]["sha256"]),
        (&json!("UP"), &json!(hash))
    );
    relay.drained().await;
    relay.stop().await;

    // Only policies that served are on record.
    let log = setup.command(EXE, &["policy", "log"], "").await;
    assert_eq!((log.code, log.out.lines().count()), (Some(0), 1), "{log:?}");
    assert!(log.out.contains(&hash), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_noticed_without_a_signal() {
    let [first, second] = [IN_C, IN_RUST].map(|path| std::fs::read(built(path)).unwrap());
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url())
        .with("policy", "file = \"policy.wasm\"")
        .with("policy", "reload_interval_s = 1");
    let file = setup.folder().join("policy.wasm");
    put(&first, &file);
    let relay = setup.start_on().await;
    let before = in_use(&relay).await;
    put(&second, &file);
    let after = within(LONG, "the new policy is in use", async || {
        Some(in_use(&relay).await).filter(|hash| *hash != before)
    })
    .await;
    relay.accept(&[load(1)]).await;
    relay.drained().await;
    relay.stop().await;

    // Newest first, also after a restart with the same policy.
    setup.start().await.stop().await;
    let log = setup.command(EXE, &["policy", "log"], "").await;
    let hashes: Vec<_> = log
        .out
        .lines()
        .map(|line| line.split('\t').nth(1).unwrap())
        .collect();
    assert_eq!(hashes, [after.as_str(), before.as_str()], "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_reloads_the_policy_and_ends_nothing() {
    let [first, second] = [IN_C, IN_RUST].map(|path| std::fs::read(built(path)).unwrap());
    let setup = Setup::new("http://127.0.0.1:9").with("policy", "file = \"policy.wasm\"");
    let file = setup.folder().join("policy.wasm");
    put(&first, &file);
    let relay: ChildRelay = setup.spawn(EXE).await;
    put(&second, &file);
    relay.hang_up();
    let log = within(LONG, "the change is on record", async || {
        let log = setup.command(EXE, &["policy", "log"], "").await;
        Some(log.out).filter(|out| out.lines().count() == 2)
    })
    .await;
    assert!(log.lines().all(|line| line.ends_with("\tfile")), "{log}");
    relay.stop().await;
}
