//! `upstream.profile`: each kind of server counts the true number of visitors, and a server that does not match the
//! profile is recognised and named.

use crate::EXE;
use feedback_tests::{MiniPlausible, Post, Relay, SITE, Server, Setup, eventually, load, pageview};
use serde_json::{Value, json};

/// Visitors of a test, each with a different address.
const VISITORS: usize = 40;

/// Starts a relay that is on, with a profile and further settings, and lets each visitor open a page.
async fn visited(plausible: &MiniPlausible, profile: &str, more: &[&str]) -> Relay {
    let mut setup = Setup::new(&plausible.url()).with_a_small_policy();
    if !profile.is_empty() {
        setup = setup.with("upstream", &format!("profile = \"{profile}\""));
    }
    for line in more {
        setup = setup.with("upstream", line);
    }
    let relay = setup.start_on().await;
    for visitor in 1..=VISITORS {
        let from = format!("198.51.100.{visitor}");
        let sent = relay
            .send(&Post::batch(&[pageview("https://panel.example.com/#/home")]).from(&from))
            .await;
        assert_eq!(sent.status, 202, "{}", sent.text);
    }
    relay.drained().await;
    relay
}

/// The findings of the relay's self-test, as `grade what: says; advice`, and health's word for the server.
async fn findings(relay: &Relay) -> (Vec<String>, String) {
    let health = relay.health().await.json();
    let plausible = &health["components"]["plausible"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found = plausible["details"]["selfTest"][SITE].as_array().unwrap().iter();
    let lines = found.map(|f| {
        format!(
            "{} {}: {}; {}",
            text(&f["grade"]),
            text(&f["what"]),
            text(&f["says"]),
            text(&f["advice"])
        )
    });
    (lines.collect(), text(&plausible["status"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_server_counts_the_visitors_there_are_with_its_profile_and_one_without_it() {
    use Server::{PlausibleCe, PlausibleCloud, Vince};
    let check = async |server: Server, profile: &str, more: &[&str], want: usize, says: &str| {
        let plausible = MiniPlausible::start().await;
        plausible.speaks(server);
        let relay = visited(&plausible, profile, more).await;
        let row = format!("{server:?} {profile} {more:?}");
        assert_eq!(plausible.visitors(SITE), want, "{row}");
        let (found, status) = findings(&relay).await;
        let about = found.iter().find(|line| line.contains(says));
        assert!(about.is_some(), "{row}: {says} is not in {found:#?}");
        let want_status = if want == 1 { "OUT_OF_SERVICE" } else { "UP" };
        assert_eq!(status, want_status, "{row}");
        assert_eq!(
            found.iter().any(|line| line.starts_with("wrong")),
            want == 1,
            "{row}: {found:#?}"
        );
        relay.stop().await;
    };
    check(
        PlausibleCe,
        "plausible-ce",
        &[],
        VISITORS,
        "note visitors: not checked",
    )
    .await;
    check(
        PlausibleCe,
        "",
        &[],
        VISITORS,
        "ok Plausible's events API: Plausible answers",
    )
    .await;
    check(
        PlausibleCloud,
        "plausible-cloud",
        &[],
        VISITORS,
        "ok visitors: the server sees",
    )
    .await;
    check(
        Vince,
        "vince",
        &[],
        VISITORS,
        "ok Plausible's events API: Vince answers",
    )
    .await;
    check(
        Vince,
        "",
        &[],
        1,
        "Vince does not read x-plausible-ip: all visitors count as one; write `profile = \"vince\"`",
    )
    .await;
    check(PlausibleCe, "vince", &[], 1, "write `profile = \"plausible-ce\"`").await;
    check(
        PlausibleCloud,
        "",
        &[],
        1,
        "write `profile = \"plausible-cloud\"`",
    )
    .await;
    let header = |name: &str| format!("address_header = \"{name}\"");
    check(
        Vince,
        "",
        &[&header("x-vince-ip")],
        VISITORS,
        "warning Plausible's events API: Vince answers, but `upstream.profile` is \"plausible-ce\"",
    )
    .await;
    check(
        Vince,
        "vince",
        &[&header("x-plausible-ip")],
        1,
        "`address_header = \"x-vince-ip\"`",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_the_wrong_profile_and_the_line_to_write() {
    let plausible = MiniPlausible::start().await;
    plausible.speaks(Server::Vince);
    let setup = Setup::new(&plausible.url()).switched_on(EXE).await;
    let told = setup.command(EXE, &["doctor"], "").await;
    assert_eq!(told.code, Some(1), "{told:?}");
    for says in [
        "WRONG   panel.example.com: visitors: Vince does not read x-plausible-ip: all visitors count as one",
        "write `profile = \"vince\"` under [upstream]",
    ] {
        assert!(told.out.contains(says), "{told:?}");
    }
    let mended = setup.with("upstream", "profile = \"vince\"");
    let told = mended.command(EXE, &["doctor"], "").await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("Vince answers"), "{told:?}");
    assert!(
        told.out
            .contains("note    panel.example.com: visitors: not checked"),
        "{told:?}"
    );
    assert_eq!(plausible.count(), 0, "nothing of this counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_wrong_profile_and_the_line_to_write() {
    let plausible = MiniPlausible::start().await;
    plausible.speaks(Server::Vince);
    let setup = Setup::new(&plausible.url())
        .with_a_small_policy()
        .switched_on(EXE)
        .await;
    let relay = setup.spawn(EXE).await;
    let says = "visitors: Vince does not read x-plausible-ip: all visitors count as one";
    let advice = "advice=\"write `profile = \"vince\"`";
    eventually("the log says it", async || {
        let log = relay.log().replace("\\\"", "\"");
        (log.contains(says) && log.contains(advice)).then_some(())
    })
    .await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vince_counts_wrongly_is_left_out_and_counted() {
    let plausible = MiniPlausible::start().await;
    plausible.speaks(Server::Vince);
    let setup = Setup::new(&plausible.url())
        .with_a_small_policy()
        .with("upstream", "profile = \"vince\"");
    let relay = setup.start_on().await;
    let engagement = || json!({ "id": feedback_tests::fresh_id(), "name": "engagement", "url": "https://panel.example.com/#/home", "engagement_ms": 5000, "scroll_depth": 40 });
    let sent = relay
        .send(&Post::batch(&[
            pageview("https://panel.example.com/#/home"),
            engagement(),
            load(1),
            // Vince rejects a URL without a path.
            pageview("https://panel.example.com"),
            pageview("https://panel.example.com?page=2#top"),
        ]))
        .await;
    assert_eq!(
        (sent.status, &sent.json()["accepted"]),
        (202, &4.into()),
        "{}",
        sent.text
    );
    assert_eq!(sent.json()["dropped"][0]["reason"], "engagement", "{}", sent.text);
    relay.drained().await;
    let arrivals = plausible.arrivals();
    let names: Vec<_> = arrivals.iter().map(|a| a.body["name"].clone()).collect();
    assert_eq!(names, ["pageview", "Load", "pageview", "pageview"]);
    assert_eq!(plausible.counted(SITE, "pageview"), 3, "{arrivals:?}");
    assert!(
        arrivals.iter().all(|a| a.body.get("props").is_none()),
        "Vince keeps no properties: {arrivals:?}"
    );
    let metrics = relay.stop().await;
    assert_eq!(metrics.ended("left_out", "engagement"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_scrub_says_leaves_is_what_leaves_with_the_profile() {
    let setup = Setup::new("http://127.0.0.1:9").with("upstream", "profile = \"vince\"");
    let event = |event: Value| json!({ "id": 1, "event": event }).to_string();
    let url = "https://panel.example.com/#/home";
    let input = [
        event(json!({ "name": "Load", "url": url, "domain": SITE, "props": { "n": 1 } })),
        event(json!({ "name": "engagement", "url": url, "domain": SITE, "e": 5000, "sd": 40 })),
    ]
    .join("\n");
    let told = setup.command(EXE, &["scrub"], &input).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    let lines: Vec<Value> = told
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let sent = &lines[0]["output"];
    assert_eq!(sent["body"]["name"], "Load", "{told:?}");
    assert!(sent["body"].get("props").is_none(), "{told:?}");
    assert!(sent["headers"].get("x-vince-ip").is_some(), "{told:?}");
    assert!(lines[1]["output"].is_null(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_under_another_profile_is_left_out_too() {
    let mut plausible = MiniPlausible::away();
    let setup = Setup::new(&plausible.url()).with_a_small_policy();
    let relay = setup.start_on().await;
    let engagement = json!({ "id": feedback_tests::fresh_id(), "name": "engagement", "url": "https://panel.example.com/#/home", "engagement_ms": 5000 });
    relay
        .accept(&[pageview("https://panel.example.com/#/home"), engagement])
        .await;
    relay.stop().await;
    plausible.speaks(Server::Vince);
    plausible.come_back().await;
    let relay = setup.with("upstream", "profile = \"vince\"").start().await;
    eventually("both have ended", async || {
        let metrics = relay.metrics().await;
        (metrics.count("spool_events") == 0).then_some(())
    })
    .await;
    let names: Vec<_> = plausible
        .arrivals()
        .iter()
        .map(|a| a.body["name"].clone())
        .collect();
    assert_eq!(names, ["pageview"]);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_that_two_addresses_are_two_visitors_only_if_it_has_read_that() {
    const KEY: &str = "a key of the Stats API";
    const QUIET: &str = "test_site = \"test.example.com\"";
    let check =
        async |server: Server, key: Option<&str>, lines: &[&str], code: i32, says: &str, sent: usize| {
            let plausible = MiniPlausible::start().await;
            plausible.speaks(server);
            plausible.has_stats(KEY);
            let mut setup = Setup::new(&plausible.url()).switched_on(EXE).await;
            if let Some(key) = key {
                setup = setup.with("upstream", &format!("stats_key = \"{key}\""));
            }
            for line in lines {
                setup = setup.with("upstream", line);
            }
            // The second run finds the visitors of the first.
            for run in 1..=2 {
                let told = setup.command(EXE, &["doctor", "--send-test-event"], "").await;
                let row = format!("{server:?} {key:?} {lines:?} run {run}: {told:?}");
                assert_eq!(told.code, Some(code), "{row}");
                assert!(told.out.contains(says), "{row}");
                let claims = told
                    .out
                    .lines()
                    .filter(|line| line.starts_with("ok") && line.contains("visitors"));
                assert_eq!(claims.count() > 0, says.starts_with("ok"), "{row}");
                assert!(!told.out.contains(KEY), "{row}");
                assert_eq!(plausible.count(), sent * run, "{row}");
                let quiet = lines.contains(&QUIET);
                let site = if quiet { "test.example.com" } else { SITE };
                assert!(
                    plausible.arrivals().iter().all(|a| a.body["domain"] == site),
                    "{row}"
                );
            }
        };
    use Server::{PlausibleCe, PlausibleCloud, Vince};
    let (cloud, vince) = ("profile = \"plausible-cloud\"", "profile = \"vince\"");
    let two = "visitors: two addresses count as two visitors";
    let ok = |site: &str| format!("ok      {site}: {two}");
    check(PlausibleCe, Some(KEY), &[], 0, &ok(SITE), 2).await;
    check(PlausibleCe, Some(KEY), &[QUIET], 0, &ok("test.example.com"), 2).await;
    check(PlausibleCloud, Some(KEY), &[cloud], 0, &ok(SITE), 2).await;
    check(Vince, Some(KEY), &[vince, QUIET], 0, &ok("test.example.com"), 2).await;
    let not_checked = "note    panel.example.com: visitors: not checked";
    check(PlausibleCe, None, &[], 0, not_checked, 1).await;
    check(Vince, Some(KEY), &[vince], 0, not_checked, 1).await;
    check(PlausibleCe, Some("another"), &[], 0, not_checked, 1).await;
    let one = "two addresses count as one visitor";
    check(
        PlausibleCe,
        Some(KEY),
        &["address_header = \"x-vince-ip\""],
        1,
        one,
        2,
    )
    .await;
    check(
        Vince,
        Some(KEY),
        &[vince, QUIET, "address_header = \"x-plausible-ip\""],
        1,
        one,
        2,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_a_proxy_replaces_is_found_by_the_counts_alone() {
    let plausible = MiniPlausible::start().await;
    plausible.behind_a_proxy();
    plausible.has_stats("key");
    let setup = Setup::new(&plausible.url())
        .with("upstream", "stats_key = \"key\"")
        .switched_on(EXE)
        .await;
    let told = setup.command(EXE, &["doctor"], "").await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("visitors: not checked"), "{told:?}");
    let told = setup.command(EXE, &["doctor", "--send-test-event"], "").await;
    assert_eq!(told.code, Some(1), "{told:?}");
    let says = "WRONG   panel.example.com: visitors: two addresses count as one visitor";
    assert!(told.out.contains(says), "{told:?}");
}
