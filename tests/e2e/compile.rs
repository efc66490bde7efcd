//! Compiling a policy: in a child process with limits, once, and without blocking requests.

use crate::{EXE, LONG};
use feedback_relay::clock::Clock;
use feedback_relay::digest::sha256;
use feedback_relay::policy::verdicts::Verdicts;
use feedback_tests::{ChildRelay, Done, Post, Setup, bombs, eventually, load, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const IN_C: &str = "../relay/policy/examples/strict-c.wasm";

fn in_c() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(IN_C);
    std::fs::read(&path)
        .unwrap_or_else(|_| panic!("{} is not there: `cargo xtask test` builds it", path.display()))
}

fn with_policy(wasm: &[u8]) -> (Setup, PathBuf) {
    let setup = Setup::new("http://127.0.0.1:9").with("policy", "file = \"policy.wasm\"");
    let file = setup.folder().join("policy.wasm");
    std::fs::write(&file, wasm).unwrap();
    (setup, file)
}

async fn policy_health(relay: &ChildRelay) -> Value {
    let health = relay
        .client
        .get(format!("{}/actuator/health/readiness", relay.public));
    health.send().await.unwrap().json().await.unwrap()
}

/// The running child processes of a relay.
fn children(parent: u32) -> Vec<u32> {
    let field = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
                .map(str::to_owned)
        };
        if line("State:")?.starts_with('Z') {
            return None;
        }
        line("PPid:")?.parse::<u32>().ok()
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| field(*pid) == Some(parent))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_takes_too_much_to_compile_is_refused_within_limits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bomb.wasm");
    for (what, wasm) in bombs::all() {
        std::fs::write(&file, wasm).unwrap();
        // Stricter limits than the relay's own are kept, so that the test does not take minutes.
        let line = "ulimit -t 3; ulimit -v 450000; exec \"$0\" policy check \"$1\"";
        let arguments = ["-c", line, EXE, file.to_str().unwrap()].map(str::to_owned);
        let done = Done::of("sh", arguments.to_vec(), String::new()).await;
        assert_eq!(done.code, Some(1), "{what}: {done:?}");
        assert!(
            done.err.contains("the policy was not compiled (signal: ")
                && done.err.contains("a stricter limit"),
            "{what}: {done:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_serves_while_a_policy_compiles_and_stops_at_once() {
    let setup = Setup::new("http://127.0.0.1:9")
        .with_a_small_policy()
        .switched_on(EXE)
        .await;
    let mut relay = setup.spawn(EXE).await;
    // The reload does not check whether the file is trusted.
    std::fs::write(setup.folder().join("small-policy.wasm"), bombs::nested_loops()).unwrap();
    relay.hang_up();
    let compiler = within(LONG, "the compiler runs", async || {
        children(relay.pid()).first().copied()
    })
    .await;
    for n in 0..20 {
        let sent = relay.try_send(&Post::batch(&[load(n)])).await.unwrap();
        assert_eq!(sent.status, 202, "{sent:?}");
    }
    let read = |what: &str| std::fs::read_to_string(format!("/proc/{compiler}/{what}")).unwrap();
    // The compiler sets its own limits after it starts.
    let limits = within(LONG, "the compiler limits itself", async || {
        Some(read("limits")).filter(|limits| limits.contains("Max file size             0 "))
    })
    .await;
    for limit in [
        "Max cpu time              15 ",
        "Max address space         536870912 ",
        "Max core file size        0 ",
    ] {
        assert!(limits.contains(limit), "{limit}: {limits}");
    }
    assert_eq!(read("environ"), "MALLOC_TRIM_THRESHOLD_=1000000\0");
    // The relay is not responsible for descriptors that the tests' own parent left open.
    let open: Vec<_> = std::fs::read_dir(format!("/proc/{compiler}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .map(|file| file.display().to_string())
        .collect();
    let of_the_relay = |file: &&String| file.contains("socket:") || file.contains("relay");
    assert_eq!(open.iter().find(of_the_relay), None, "{open:?}");

    let start = Instant::now();
    relay.terminate();
    let status = relay.ended(Duration::from_secs(25)).await;
    assert_eq!(status.code(), Some(0), "{}", relay.log());
    assert!(start.elapsed() < Duration::from_secs(14), "{:?}", start.elapsed());
    eventually("the compiler is gone", async || {
        (!Path::new(&format!("/proc/{compiler}")).exists()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relay_takes_the_compiler_with_it() {
    let (setup, _) = with_policy(&bombs::nested_loops());
    let relay = setup.launch(EXE);
    let compiler = within(LONG, "the compiler runs", async || {
        children(relay.pid()).first().copied()
    })
    .await;
    within(LONG, "it asked to die with the relay", async || {
        let limits = std::fs::read_to_string(format!("/proc/{compiler}/limits")).unwrap();
        limits.contains("Max file size             0 ").then_some(())
    })
    .await;
    relay.kill();
    eventually("the compiler is gone", async || {
        let status = std::fs::read_to_string(format!("/proc/{compiler}/status"));
        status
            .map_or(true, |status| status.contains("State:\tZ"))
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_does_not_try_a_policy_again_that_failed() {
    let (setup, file) = with_policy(&bombs::wide_blocks());
    let setup = setup.switched_on(EXE).await;
    for time in ["first", "second"] {
        let mut relay = setup.launch(EXE);
        relay.ready().await;
        assert_eq!(
            policy_health(&relay).await["reason"],
            "policy failing",
            "the {time} time"
        );
        let sent = relay.try_send(&Post::batch(&[load(1)])).await.unwrap();
        assert_eq!(sent.status, 503, "the {time} time: {sent:?}");
        let log = relay.log();
        assert!(
            log.contains("compiling the policy took more than 512 MiB"),
            "the {time} time: {log}"
        );
        assert_eq!(
            log.contains("it failed at "),
            time == "second",
            "the {time} time: {log}"
        );
        let off = setup
            .command(EXE, &["switch", "off", "--site", "panel.example.com"], "")
            .await;
        assert_eq!(off.code, Some(0), "\"off\" works: {off:?}");
        setup
            .command(EXE, &["switch", "on", "--site", "panel.example.com"], "")
            .await;
        relay.stop().await;
    }
    let check = setup.command(EXE, &["policy", "check"], "").await;
    assert_eq!(check.code, Some(1), "{check:?}");
    assert!(check.out.contains("remembered it failed at "), "{check:?}");

    let builtin = setup.clone().with("policy", "when_failing = \"builtin\"");
    let relay = builtin.spawn(EXE).await;
    let sent = relay.try_send(&Post::batch(&[load(1)])).await.unwrap();
    assert_eq!(sent.status, 202, "the built-in one serves: {sent:?}");
    assert!(
        relay.log().contains("the built-in policy serves"),
        "{}",
        relay.log()
    );
    relay.stop().await;

    // With another file the start succeeds.
    let relay = setup.spawn(EXE).await;
    std::fs::write(&file, in_c()).unwrap();
    relay.hang_up();
    within(LONG, "the new policy serves", async || {
        let sent = relay.try_send(&Post::batch(&[load(2)])).await.unwrap();
        (sent.status == 202).then_some(())
    })
    .await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_failed_in_service_is_taken_again_once_it_passes_the_check() {
    let (setup, _) = with_policy(&in_c());
    let setup = setup.switched_on(EXE).await;
    let config = setup.config();
    let verdicts = Verdicts::open(&config.data_dir, &config.policy, &config.plans);
    verdicts.failed_in_service(&sha256(&in_c()), "20 requests failed", Clock::system().now());
    let send = async || {
        let relay = setup.spawn(EXE).await;
        let sent = relay.try_send(&Post::batch(&[load(1)])).await.unwrap();
        relay.stop().await;
        sent.status
    };
    assert_eq!(send().await, 503, "not tried again");
    let check = setup.command(EXE, &["policy", "check"], "").await;
    assert!(check.out.contains("remembered it failed at "), "{check:?}");
    assert_eq!(check.code, Some(0), "{check:?}");
    assert_eq!(send().await, 202, "the check passed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_holds_no_component_keeps_the_relay_from_starting() {
    for (what, wasm, want) in [
        ("nothing", &b""[..], "it is not WebAssembly"),
        ("a core module", b"\0asm\x01\0\0\0", "core module"),
    ] {
        let (setup, file) = with_policy(wasm);
        let done = setup.command(EXE, &["serve"], "").await;
        assert_eq!(done.code, Some(1), "{what}: {done:?}");
        assert!(done.err.contains(want), "{what}: {done:?}");
        let done = setup.command(EXE, &["check-config"], "").await;
        assert_eq!(done.code, Some(78), "{what}: {done:?}");
        assert!(done.err.contains(want), "{what}: {done:?}");
        std::fs::remove_file(file).unwrap();
        let done = setup.command(EXE, &["serve"], "").await;
        assert!(done.err.contains("the policy cannot be read"), "{what}: {done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiled_policy_is_kept_and_a_spoiled_one_is_compiled_again() {
    let (setup, _) = with_policy(&in_c());
    let again = "compiling it again";
    let start = async || {
        let relay = setup.spawn(EXE).await;
        let log = relay.log();
        relay.stop().await;
        log
    };
    let first = start().await;
    assert!(
        first.contains("compiling the policy") && first.contains("checking the policy"),
        "{first}"
    );
    let folder = setup.data_dir().join("policies");
    let kept: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "native"))
        .collect();
    let [native] = &kept[..] else { panic!("{kept:?}") };
    let good = std::fs::read(native).unwrap();
    let second = start().await;
    for work in ["compiling", "checking"] {
        assert!(!second.contains(work), "used as it is: {second}");
    }

    // Another relay's artifact, sealed with another key.
    let (other, _) = with_policy(&in_c());
    let other = other.trusting_its_policy();
    other.spawn(EXE).await.stop().await;
    let of_other = other
        .data_dir()
        .join("policies")
        .join(native.file_name().unwrap());
    let foreign = std::fs::read(of_other).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for (what, bytes) in [
        ("torn", good[..good.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("damaged", flipped),
        ("foreign", foreign),
    ] {
        std::fs::write(native, bytes).unwrap();
        let log = start().await;
        assert!(log.contains(again), "{what}: {log}");
        assert!(!start().await.contains(again), "{what}: mended");
    }
    for (what, mode) in [("open to all", 0o666), ("open to a group", 0o640)] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(native, std::fs::Permissions::from_mode(mode)).unwrap();
        let log = start().await;
        assert!(log.contains(again), "{what}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiler_that_was_killed_is_run_again_and_is_no_verdict_on_the_policy() {
    let (setup, _) = with_policy(&bombs::nested_loops());
    let mut relay = setup.launch(EXE);
    let compiler = async |relay: &ChildRelay| {
        within(LONG, "the compiler runs", async || {
            children(relay.pid()).first().copied()
        })
        .await
    };
    let first = compiler(&relay).await;
    let pid = i32::try_from(first).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    relay.ready().await;
    assert_eq!(policy_health(&relay).await["reason"], "policy failing");
    let log = relay.log();
    assert!(log.contains("the policy's compiler was killed"), "{log}");
    assert_ne!(compiler(&relay).await, first, "another one");
    relay.stop().await;
    let mut again = setup.launch(EXE);
    compiler(&again).await;
    assert!(!again.log().contains("it failed at "), "{}", again.log());
    again.terminate();
    again.ended(Duration::from_secs(25)).await;
}
