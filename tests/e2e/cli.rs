//! The command line's answers: text for people, exit codes for scripts.

use crate::EXE;
use feedback_tests::{Done, Setup};

fn setup() -> Setup {
    Setup::new("http://127.0.0.1:9")
}

#[tokio::test(flavor = "multi_thread")]
async fn check_config_reports_every_mistake_with_key_and_line() {
    let good = setup().command(EXE, &["check-config"], "").await;
    assert_eq!(good.code, Some(0), "{good:?}");
    for want in ["1 site(s)", "plan.toml, tracking plan version 3 with 4 events"] {
        assert!(good.out.contains(want), "{want}: {good:?}");
    }

    let check = async |what: &str, section: &str, line: &str, wants: &[&str]| {
        let setup = setup()
            .without(section, line.split(' ').next().unwrap())
            .with(section, line);
        let at = setup.text().lines().position(|l| l == line).unwrap() + 1;
        let done = setup.command(EXE, &["check-config"], "").await;
        assert_eq!((done.code, done.out.as_str()), (Some(78), ""), "{what}: {done:?}");
        let place = format!("relay.toml:{at}");
        for want in wants.iter().copied().chain([place.as_str()]) {
            assert!(done.err.contains(want), "{what}: {want:?} is not in {}", done.err);
        }
        let serve = setup.command(EXE, &["serve"], "").await;
        assert_eq!(
            (serve.code, serve.err),
            (Some(78), done.err),
            "{what}: serve says the same"
        );
    };
    check(
        "an unknown key",
        "public",
        "listem = \"127.0.0.1:0\"",
        &["listem"],
    )
    .await;
    check("a wrong type", "spool", "bytes_max = \"many\"", &["bytes_max"]).await;
    check(
        "out of range",
        "public",
        "body_timeout_s = 0",
        &["body_timeout_s"],
    )
    .await;
    check(
        "no address",
        "admin",
        "listen = \"8081\"",
        &["listen", "127.0.0.1:8080"],
    )
    .await;
    check(
        "no url",
        "upstream",
        "url = \"plausible.example.com\"",
        &["url", "https://"],
    )
    .await;
    check("no such plan", "", "plan = \"nowhere.toml\"", &["plan"]).await;

    let several = setup()
        .with("public", "body_timeout_s = 0")
        .with("spool", "age_max = 1")
        .with("log", "format = \"xml\"");
    let done = several.command(EXE, &["check-config"], "").await;
    for want in ["body_timeout_s", "age_max", "format"] {
        assert!(done.err.contains(want), "all mistakes at once: {done:?}");
    }
    let broken = setup().with("public", "listen = ");
    let done = broken.command(EXE, &["check-config"], "").await;
    assert_eq!(done.code, Some(78), "{done:?}");
    let missing = Done::of(
        EXE,
        ["check-config", "--config", "/nowhere/relay.toml"]
            .map(str::to_owned)
            .into(),
        String::new(),
    );
    let missing = missing.await;
    assert_eq!(missing.code, Some(78), "{missing:?}");
    assert!(missing.err.contains("/nowhere/relay.toml"), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_made_once_with_a_decent_password() {
    let setup = setup();
    let user = async |arguments: &[&str], input: &str| {
        setup.command(EXE, &[&["user"], arguments].concat(), input).await
    };
    let check = async |arguments: &[&str], input: &str, code: i32, says: &str| {
        let done = user(arguments, input).await;
        let said = format!("{}{}", done.out, done.err);
        assert_eq!(done.code, Some(code), "{arguments:?}: {done:?}");
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert!(!said.contains("battery"), "a password is never repeated: {said}");
    };
    let good = "correct horse battery\n";
    check(&["list"], "", 0, "there are no accounts yet").await;
    check(
        &["add", "alice", "--password-stdin"],
        "short battery",
        0,
        "account alice was created",
    )
    .await;
    check(
        &["add", "alice", "--password-stdin"],
        good,
        1,
        "account alice already exists",
    )
    .await;
    check(
        &["add", "bob", "--password-stdin"],
        "battery 123",
        1,
        "a password must have at least 12 characters",
    )
    .await;
    check(
        &["add", "bob", "--password-stdin"],
        "",
        1,
        "a password must have at least 12 characters",
    )
    .await;
    check(&["add", "b o b", "--password-stdin"], good, 1, "a name must have").await;
    check(
        &["passwd", "bob", "--password-stdin"],
        good,
        1,
        "account bob does not exist",
    )
    .await;
    check(
        &["passwd", "alice", "--password-stdin"],
        good,
        0,
        "account alice has a new password",
    )
    .await;
    let list = user(&["list"], "").await;
    assert!(
        list.out.starts_with("alice\t20") && list.out.ends_with("\tenabled") && list.out.lines().count() == 1,
        "{list:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn health_asks_a_running_relay_and_fails_without_one() {
    let (setup, _) = setup().at_an_address();
    let nobody = setup.command(EXE, &["health"], "").await;
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.err.contains("no relay answers at"), "{nobody:?}");
    let relay = setup.spawn(EXE).await;
    let ready = setup.command(EXE, &["health"], "").await;
    assert_eq!(ready.code, Some(0), "{ready:?}");
    assert!(ready.out.contains("\"status\":\"UP\""), "{ready:?}");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_arguments_exit_with_two_and_the_version_is_printed() {
    let run = async |arguments: &[&str]| {
        Done::of(
            EXE,
            arguments.iter().map(|&a| a.to_owned()).collect(),
            String::new(),
        )
        .await
    };
    for arguments in [
        &["frobnicate"][..],
        &["serve", "--port", "80"],
        &["switch", "on"],
        &[],
    ] {
        let done = run(arguments).await;
        assert_eq!(
            (done.code, done.out.as_str()),
            (Some(2), ""),
            "{arguments:?}: {done:?}"
        );
        assert!(done.err.contains("Usage:"), "{done:?}");
    }
    let version = run(&["version"]).await;
    assert_eq!(version.code, Some(0));
    let start = format!("feedback-relay {} (commit ", env!("CARGO_PKG_VERSION"));
    assert!(version.out.starts_with(&start), "{version:?}");
    assert_eq!(run(&["--help"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_gone_changes_no_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.toml");
    std::fs::write(&wrong, "no = configuration").unwrap();
    let wrong = wrong.to_str().unwrap();
    let check = async |arguments: &[&str], code: i32| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(EXE);
        command
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer);
        let status = tokio::task::spawn_blocking(move || command.status())
            .await
            .unwrap();
        assert_eq!(status.unwrap().code(), Some(code), "{arguments:?}");
    };
    check(&["version"], 0).await;
    check(&["check-config", "--config", wrong], 78).await;
    check(&["serve", "--config", wrong], 78).await;
    check(&["doctor", "--config", wrong], 1).await;
    check(&["plan", "check", wrong], 78).await;
    check(&["policy", "check", wrong], 1).await;
    check(&["scrub", wrong], 1).await;
    check(&["user", "list", "--config", wrong], 78).await;
}
