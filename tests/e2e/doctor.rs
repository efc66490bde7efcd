//! `doctor`: its findings, its advice, and that it contacts Plausible only for sites that are on.

use crate::EXE;
use feedback_tests::{Answer, MiniPlausible, Relay, SITE, Setup, eventually, load};
use serde_json::Value;

/// The grade of the first finding about a subject, of a run that exits with this code.
async fn grade(setup: &Setup, arguments: &[&str], code: i32, about: &str) -> String {
    let done = setup
        .command(EXE, &[&["doctor", "--json"], arguments].concat(), "")
        .await;
    assert_eq!(done.code, Some(code), "{done:?}");
    let findings: Vec<Value> = serde_json::from_str(&done.out).unwrap();
    let found = findings
        .iter()
        .find(|finding| finding["what"].as_str().unwrap().contains(about));
    found.unwrap_or_else(|| panic!("nothing about {about}: {done:?}"))["grade"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_looks_at_everything_and_asks_plausible_only_for_what_is_on() {
    let mut plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url());
    assert_eq!(
        grade(&setup, &[], 0, "data folder").await,
        "note",
        "does not exist yet"
    );
    assert_eq!(grade(&setup, &[], 0, SITE).await, "note", "off");
    assert_eq!(plausible.connections(), 0, "off means that nothing is sent");
    assert_eq!(grade(&setup, &["--even-if-off"], 0, "events API").await, "ok");
    assert!(plausible.connections() > 0);

    let on = setup.command(EXE, &["switch", "on", "--site", SITE], "").await;
    assert_eq!(on.code, Some(0), "{on:?}");
    for (about, want) in [
        ("configuration", "ok"),
        ("trusted_proxies", "ok"),
        ("clock", "ok"),
        // The stand-in sends no Date header.
        ("clock against Plausible's", "note"),
        ("data folder", "ok"),
        ("running relay", "note"),
        ("database", "ok"),
        ("upstream.url", "note"),
        ("health", "ok"),
        ("events API", "ok"),
    ] {
        assert_eq!(grade(&setup, &[], 0, about).await, want, "{about}");
    }
    let relay = setup.spawn(EXE).await;
    assert_eq!(grade(&setup, &[], 0, "running relay").await, "ok", "it runs");
    let told = setup.command(EXE, &["doctor"], "").await;
    let process = format!("(process {})", relay.pid());
    assert!(told.out.contains(&process), "{told:?}");
    assert_eq!(
        grade(&setup, &[], 0, "database").await,
        "ok",
        "and may be looked into"
    );
    relay.stop().await;
    assert_eq!(plausible.count(), 0, "nothing of this counts");

    assert_eq!(grade(&setup, &["--send-test-event"], 0, "test event").await, "ok");
    plausible.queue([Answer::AcceptWith("x-plausible-dropped", "1")]);
    assert_eq!(
        grade(&setup, &["--send-test-event"], 1, "test event").await,
        "wrong"
    );
    let sent = &plausible.arrivals()[0];
    assert_eq!(
        (sent.body["name"].as_str(), plausible.count()),
        (Some("Relay Test"), 2)
    );

    let database = setup.data_dir().join("relay.db");
    let whole = std::fs::read(&database).unwrap();
    std::fs::write(&database, "x".repeat(5000)).unwrap();
    assert_eq!(grade(&setup, &[], 1, "database").await, "wrong");
    let told = setup.command(EXE, &["doctor"], "").await;
    assert!(told.out.contains("restart the relay"), "{told:?}");
    std::fs::write(&database, whole).unwrap();
    plausible.health(500);
    assert_eq!(grade(&setup, &[], 1, "health").await, "wrong");
    plausible.health(404);
    assert_eq!(grade(&setup, &[], 0, "health").await, "note");
    plausible.go_away().await;
    assert_eq!(grade(&setup, &[], 1, "events API").await, "wrong");
    let broken = setup.with("upstream", "concurrency = 0");
    assert_eq!(grade(&broken, &[], 1, "configuration").await, "wrong");
    let told = broken.command(EXE, &["doctor"], "").await;
    assert!(told.out.starts_with("WRONG   configuration:"), "{told:?}");
}

/// The result of the relay's self-test for the site, as reported by health; nothing if it has not run.
async fn self_test(relay: &Relay) -> Option<Value> {
    let health = relay.health().await.json();
    let found = health["components"]["plausible"]["details"]["selfTest"][SITE].clone();
    found.is_array().then_some(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_asks_once_for_each_site_as_soon_as_it_is_on_and_health_reports_it() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url());
    let relay = setup.start().await;
    assert_eq!(self_test(&relay).await, None);
    assert_eq!(plausible.connections(), 0, "off means that nothing is sent");
    let asked = async |relay: &Relay| {
        let found = eventually("it has asked", async || self_test(relay).await).await;
        let grades: Vec<_> = found.as_array().unwrap().iter().map(|f| &f["grade"]).collect();
        assert_eq!(
            grades,
            ["ok", "ok", "note"],
            "which address it sees is not checked: {found}"
        );
        (plausible.probes(), plausible.count())
    };
    relay.turn(true).await;
    assert_eq!(asked(&relay).await, (1, 0), "nothing of this counts");
    relay.turn(false).await;
    relay.turn(true).await;
    relay.accept(&[load(1)]).await;
    relay.drained().await;
    assert_eq!((plausible.probes(), plausible.count()), (1, 1), "not again");
    relay.stop().await;
    let relay = setup.start().await;
    assert_eq!(asked(&relay).await, (2, 1), "a start asks for what is on");
    relay.stop().await;
}
