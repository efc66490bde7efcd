//! Files and traffic that other users of the machine or the network could read or replace: three commands report them,
//! and each refuses to continue in the worst case.

use crate::EXE;
use feedback_tests::Setup;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

fn setup() -> Setup {
    let setup = Setup::new("http://127.0.0.1:9");
    std::fs::create_dir(setup.data_dir()).unwrap();
    set(&setup, "data", 0o700);
    setup.write();
    setup
}

fn set(setup: &Setup, name: &str, mode: u32) {
    std::fs::set_permissions(setup.folder().join(name), Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_others_can_read_are_reported_by_all_commands_and_stop_none() {
    let tell = async |setup: &Setup, word: &str| {
        let checked = setup.command(EXE, &["check-config"], "").await;
        assert_eq!(checked.code, Some(0), "{word}: {checked:?}");
        let told = checked
            .out
            .lines()
            .any(|line| line.starts_with("warning: ") && line.contains(word));
        assert!(told, "{word}: {checked:?}");
        let doctor = setup.command(EXE, &["doctor"], "").await;
        let told = doctor
            .out
            .lines()
            .any(|line| line.starts_with("warning ") && line.contains(word));
        assert!(told, "{word}: {doctor:?}");
    };
    let check = async |setup: Setup, word: &str| {
        tell(&setup, word).await;
        let relay = setup.spawn(EXE).await;
        assert!(relay.log().contains(word), "{word}: {}", relay.log());
        relay.stop().await;
    };
    let one = setup();
    set(&one, "relay.toml", 0o644);
    check(one, "holds a secret and is world-readable").await;
    let one = setup();
    set(&one, "data", 0o755);
    check(one, "other users can read or change it").await;
    let one = setup()
        .without("admin", "listen")
        .with("admin", "listen = \"0.0.0.0:0\"");
    tell(&one, "is reachable over the network without TLS").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_anybody_could_replace_is_refused_by_name() {
    let check = async |name: &str, mode: u32, word: &str| {
        let setup = setup();
        set(&setup, name, mode);
        for command in ["check-config", "serve"] {
            let done = setup.command(EXE, &[command], "").await;
            assert_eq!(done.code, Some(78), "{name}: {done:?}");
            assert!(
                done.err.contains(word) && done.err.contains("chmod"),
                "{name}: {done:?}"
            );
        }
        let doctor = setup.command(EXE, &["doctor"], "").await;
        assert_eq!(doctor.code, Some(1), "{name}: {doctor:?}");
        let wrong = doctor
            .out
            .lines()
            .any(|line| line.starts_with("WRONG ") && line.contains(word));
        assert!(wrong, "{name}: {doctor:?}");
    };
    check("data", 0o777, "data folder").await;
    check("relay.toml", 0o666, "configuration:").await;
    check("plan.toml", 0o606, "plan:").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_closed_is_called_so() {
    let setup = setup();
    let checked = setup.command(EXE, &["check-config"], "").await;
    assert!(!checked.out.contains("warning"), "{checked:?}");
    let doctor = setup.command(EXE, &["doctor"], "").await;
    for fine in [
        "exposure: secrets are not world-readable",
        "only its owner has access",
    ] {
        let told = doctor
            .out
            .lines()
            .any(|line| line.starts_with("ok ") && line.contains(fine));
        assert!(told, "{fine}: {doctor:?}");
    }
}
