//! Plausible's route treats sites as Plausible does: lists of sites, and unknown ones.

use feedback_tests::{MiniPlausible, ORIGIN, Post, SITE, Setup};
use serde_json::json;

const PAGE: &str = "https://panel.example.com/#/home";
const OTHER: &str = "other.example.com";

fn of(sites: &str, n: usize) -> Post {
    Post::plausible(&json!({ "n": "Load", "u": PAGE, "d": sites, "p": { "n": n } }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_to_each_listed_site_that_takes_it() {
    let plausible = MiniPlausible::start().await;
    let origins = format!("origins = [{ORIGIN:?}]");
    let setup = Setup::new(&plausible.url())
        .with_site(&format!("domain = {OTHER:?}\n{origins}"))
        .with_site(&format!("domain = \"off.example.com\"\n{origins}"))
        .with_site(&format!(
            "domain = \"locked.example.com\"\n{origins}\noperator_lock = true"
        ))
        .with_site("domain = \"foreign.example.com\"");
    let plan = std::fs::read_to_string(setup.folder().join("plan.toml")).unwrap();
    let newer = plan.replace("version = 3", "version = 4");
    assert!(newer.contains("version = 4"));
    std::fs::write(setup.folder().join("newer.toml"), newer).unwrap();
    let relay = setup
        .with_site(&format!(
            "domain = \"newer.example.com\"\n{origins}\nplan = \"newer.toml\""
        ))
        .start_on()
        .await;
    for site in [OTHER, "newer.example.com", "foreign.example.com"] {
        relay.app().switches.set(site, true, "test").await.unwrap();
    }
    // 202, the number of sites that dropped the event, and the sites that accepted it.
    let check = async |sites: &str, dropped: &str, took: &[&str]| {
        let before = plausible.count();
        let sent = relay.send(&of(sites, 1)).await;
        assert_eq!(
            (sent.status, sent.text.as_str()),
            (202, "ok"),
            "{sites}: {sent:?}"
        );
        assert_eq!(sent.header("x-plausible-dropped"), dropped, "{sites}");
        relay.drained().await;
        let mut got: Vec<String> = plausible.arrivals()[before..]
            .iter()
            .map(|arrival| arrival.body["domain"].as_str().unwrap().to_owned())
            .collect();
        got.sort_unstable();
        assert_eq!(got, took, "{sites}");
    };
    let both = [OTHER, SITE];
    check(SITE, "", &[SITE]).await;
    check(&format!("{SITE},{OTHER}"), "", &both).await;
    check(&format!(" www.{SITE} , {OTHER} "), "", &both).await;
    check(&format!("{SITE},{SITE}"), "", &[SITE]).await;
    check(&format!("{SITE},unknown.example.com"), "1", &[SITE]).await;
    check(&format!("{SITE},"), "1", &[SITE]).await;
    check(
        &format!("unknown.example.com,{SITE},Panel.example.com,{OTHER}"),
        "2",
        &both,
    )
    .await;
    check("unknown.example.com", "1", &[]).await;
    check("unknown.example.com,unheard.example.com", "2", &[]).await;
    // Each site decides separately: its switch, its lock, its origins, its plan.
    for refusing in [
        "off.example.com",
        "locked.example.com",
        "foreign.example.com",
        "newer.example.com",
    ] {
        check(&format!("{refusing},{OTHER}"), "1", &[OTHER]).await;
        check(&format!("{OTHER},unknown.example.com,{refusing}"), "2", &[OTHER]).await;
    }
    let four = relay
        .send(&of(&format!("{SITE},newer.example.com"), 2).path_of_plan(4))
        .await;
    assert_eq!((four.status, four.header("x-plausible-dropped")), (202, "1"));

    // If no site accepted it, the answer is the first refusal that is the relay's own.
    let refused = async |sites: &str, problem: &str| {
        let sent = relay.send(&of(sites, 3)).await;
        assert_eq!(
            (sent.status, sent.problem().as_str()),
            (403, problem),
            "{sites}: {sent:?}"
        );
        assert_eq!(sent.header("access-control-allow-origin"), ORIGIN, "{sites}");
    };
    refused("off.example.com", "switched_off").await;
    refused("unknown.example.com,off.example.com", "switched_off").await;
    refused("locked.example.com,off.example.com", "operator_lock").await;
    refused("newer.example.com,unknown.example.com", "consent_outdated").await;
    let list: Vec<String> = (0..33).map(|n| format!("s{n}.example.com")).collect();
    let sent = relay.send(&of(&list.join(","), 4)).await;
    assert_eq!((sent.status, sent.problem().as_str()), (400, "invalid"));
    let sent = relay.send(&of(&list[..32].join(","), 5)).await;
    assert_eq!((sent.status, sent.header("x-plausible-dropped")), (202, "32"));
    relay.drained().await;
    let endings = relay.stop().await;
    assert_eq!(
        endings.ended("denied", "unknown_site"),
        1 + 1 + 2 + 1 + 2 + 4 + 1 + 1 + 32
    );
    assert_eq!(endings.ended("denied", "switched_off"), 2 + 3);
    assert_eq!(endings.ended("denied", "origin"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_may_stand_in_the_path() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    for (n, path) in [
        "/plan/3/api/event",
        "/feedback/plan/3/api/event",
        "/feedback/plan/3/api/event?x=1",
    ]
    .into_iter()
    .enumerate()
    {
        let sent = relay.send(&of(SITE, n).path(path)).await;
        assert_eq!((sent.status, sent.text.as_str()), (202, "ok"), "{path}: {sent:?}");
        assert_eq!(sent.header("access-control-allow-origin"), ORIGIN, "{path}");
    }
    let preflight = relay
        .client
        .request(
            reqwest::Method::OPTIONS,
            format!("{}/feedback/plan/3/api/event", relay.public),
        )
        .header("origin", ORIGIN)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-origin"], ORIGIN);
    relay.drained().await;
    assert_eq!(plausible.count(), 3);
    relay.stop().await;
}
