//! Misleading answers: a 202 for an event that Plausible drops, and a 200 from a server that is not Plausible. Neither
//! costs more than a few events, and health, metrics, log and commands all report it.

use crate::{EXE, LONG};
use feedback_tests::{Answer, MiniPlausible, PLAN_VERSION, Post, Relay, SITE, Setup, fresh_id, load, within};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const OTHER: &str = "shop.example.com";

/// Answers like a Plausible that knows a site only from some moment on.
fn knows(plausible: &MiniPlausible, site: &'static str) -> Arc<AtomicBool> {
    let known = Arc::new(AtomicBool::new(false));
    let is_known = Arc::clone(&known);
    plausible.rule(
        move |arrival| match arrival.body["domain"] == site && !is_known.load(Ordering::SeqCst) {
            true => Answer::AcceptWith("x-plausible-dropped", "1"),
            false => Answer::Accept,
        },
    );
    known
}

/// Twenty events of twenty visitors.
async fn send_twenty(relay: &Relay, first: usize) {
    for n in first..first + 20 {
        let post = Post::batch(&[load(n)]).from(&format!("203.0.113.{n}"));
        assert_eq!(relay.send(&post).await.status, 202);
    }
}

/// The numbers of the events that were accepted.
fn accepted(plausible: &MiniPlausible) -> Vec<usize> {
    let arrivals = plausible.arrivals().into_iter();
    let taken = arrivals.filter(|arrival| matches!(arrival.answer, Answer::Accept));
    let mut numbers: Vec<usize> = taken.filter_map(|arrival| arrival.n()).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_of_a_site_that_plausible_does_not_know_is_lost_and_all_arrive_once_it_does() {
    let plausible = MiniPlausible::start().await;
    let known = knows(&plausible, SITE);
    let setup = Setup::new(&plausible.url());
    let relay = setup.start_on().await;
    send_twenty(&relay, 0).await;
    within(LONG, "one is dropped, and the others are held", async || {
        let scrape = relay.metrics().await;
        let held = scrape.count(&format!("site_held_events{{site=\"{SITE}\"}}"));
        (scrape.upstream("dropped") > 1 && held == 20).then_some(())
    })
    .await;
    let scrape = relay.metrics().await;
    assert_eq!(scrape.count("spool_events"), 20);
    assert_eq!(scrape.ended("rejected", "plausible_dropped"), 0);
    assert_eq!(scrape.count(&format!("site_accepting{{site=\"{SITE}\"}}")), 0);
    relay.stop().await;

    let relay = setup.start().await;
    within(LONG, "a restart changes nothing", async || {
        (relay.metrics().await.upstream("dropped") > 0).then_some(())
    })
    .await;
    assert_eq!(relay.metrics().await.count("spool_events"), 20);
    known.store(true, Ordering::SeqCst);
    relay.drained_within(LONG * 2).await;
    assert_eq!(accepted(&plausible), (0..20).collect::<Vec<_>>(), "each once");
    let scrape = relay.metrics().await;
    assert_eq!(scrape.count(&format!("site_accepting{{site=\"{SITE}\"}}")), 1);
    assert_eq!(scrape.count(&format!("site_held_events{{site=\"{SITE}\"}}")), 0);
    let last = scrape.count(&format!(
        "site_last_accepted_timestamp_seconds{{site=\"{SITE}\"}}"
    ));
    assert!(last > 1_700_000_000, "{last}");
    assert_eq!(relay.stop().await.endings(), ["delivered/ 20"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_held_holds_up_no_other_site() {
    let plausible = MiniPlausible::start().await;
    let known = knows(&plausible, SITE);
    let relay = Setup::new(&plausible.url())
        .with_site(&format!("domain = \"{OTHER}\"\norigins = [\"https://{SITE}\"]"))
        .start_on()
        .await;
    relay.app().switches.set(OTHER, true, "test").await.unwrap();
    // From many visitors, so that both sites' events share lanes.
    for n in 0..20 {
        for (site, n) in [(SITE, n), (OTHER, n + 100)] {
            let body = json!({ "site": site, "consent": { "plan": PLAN_VERSION }, "events": [load(n)] });
            let post = Post::batch(&[]).body(body.to_string());
            let post = post.from(&format!("203.0.113.{}", n % 100));
            assert_eq!(relay.send(&post).await.status, 202);
        }
    }
    within(LONG, "the other site's events arrive", async || {
        (accepted(&plausible).len() == 20).then_some(())
    })
    .await;
    assert_eq!(accepted(&plausible), (100..120).collect::<Vec<_>>());
    within(LONG, "and are booked", async || {
        (relay.metrics().await.count("spool_events") == 20).then_some(())
    })
    .await;
    known.store(true, Ordering::SeqCst);
    relay.drained_within(LONG * 2).await;
    assert_eq!(relay.stop().await.endings(), ["delivered/ 40"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_removed_after_months_loses_fewer_than_eight_events() {
    let plausible = MiniPlausible::start().await;
    let known = knows(&plausible, SITE);
    known.store(true, Ordering::SeqCst);
    let relay = Setup::new(&plausible.url()).start_on().await;
    send_twenty(&relay, 0).await;
    relay.drained_within(LONG).await;
    known.store(false, Ordering::SeqCst);
    send_twenty(&relay, 20).await;
    within(LONG, "the drops are recognised", async || {
        let accepting = format!("site_accepting{{site=\"{SITE}\"}}");
        (relay.metrics().await.count(&accepting) == 0).then_some(())
    })
    .await;
    known.store(true, Ordering::SeqCst);
    relay.drained_within(LONG * 2).await;
    let endings = relay.stop().await.endings();
    assert_eq!(endings, ["delivered/ 33", "rejected/plausible_dropped 7"]);
}

/// A worker, a gateway or a login page: any server that answers 2xx and is not Plausible.
#[tokio::test(flavor = "multi_thread")]
async fn what_answers_2xx_but_not_202_gets_one_event_and_then_only_what_counts_nowhere() {
    for status in [200_u16, 204] {
        let plausible = MiniPlausible::start().await;
        plausible.rule(move |_| Answer::from(status));
        plausible.self_test(Some(status.into()));
        let relay = Setup::new(&plausible.url()).start_on().await;
        relay.accept(&[load(1)]).await;
        within(LONG, "it is answered", async || {
            (relay.metrics().await.upstream("unclear") == 1).then_some(())
        })
        .await;
        send_twenty(&relay, 2).await;
        within(
            LONG,
            "the self-test is asked, and the answer is none",
            async || {
                let probes = "upstream_probes_total{result=\"foreign\"}";
                (relay.metrics().await.count(probes) > 2).then_some(())
            },
        )
        .await;
        assert_eq!(plausible.numbers(), [1], "{status}");
        let health = relay.get("/actuator/health").await;
        assert_eq!(
            (health.status, &health.json()["status"]),
            (503, &"OUT_OF_SERVICE".into())
        );
        assert_eq!(relay.get("/actuator/health/readiness").await.status, 200);
        plausible.self_test(None);
        plausible.rule(|_| Answer::Accept);
        relay.drained_within(LONG * 2).await;
        let mut numbers = plausible.numbers();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..22).collect::<Vec<_>>(), "each once");
        let endings = relay.stop().await.endings();
        assert_eq!(endings, ["delivered/ 20", "rejected/unclear 1"]);
    }
}

/// Every place that shows the relay's state, for a site in each state.
#[tokio::test(flavor = "multi_thread")]
async fn everything_says_whether_plausible_accepts_a_site_and_what_to_do() {
    let plausible = MiniPlausible::start().await;
    let known = knows(&plausible, SITE);
    let setup = Setup::new(&plausible.url());
    let cli = async |arguments: &[&str]| setup.command(EXE, arguments, "").await;
    let add = format!("add the site `{SITE}` in Plausible under exactly this domain");
    let on = cli(&["switch", "on", "--site", SITE]).await;
    assert!(on.err.contains("not checked") && on.err.contains(&add), "{on:?}");
    let relay = setup.start().await;
    let check = async |status: u16, root: &str, accepting: &str, code: i32, says: &str, advice: &str| {
        let health = within(LONG, &format!("health says {accepting}"), async || {
            let health = relay.health().await;
            let site = health.json()["components"]["plausible"]["details"]["sites"][SITE].clone();
            (health.status == status && site["accepting"] == accepting).then_some(health.json())
        })
        .await;
        assert_eq!(health["status"], root, "{health}");
        let site = &health["components"]["plausible"]["details"]["sites"][SITE];
        assert!(site["says"].as_str().unwrap().contains(says), "{site}");
        let ready = relay.get("/actuator/health/readiness").await;
        assert_eq!(ready.status, 200, "{ready:?}");
        // Both read the database, which is written a moment after health changes.
        for (command, code) in [(&["switch", "status"][..], 0), (&["doctor"], code)] {
            within(LONG, &format!("{command:?} says {accepting}"), async || {
                let done = cli(command).await;
                let says_so = done.out.contains(says) && done.out.contains(advice);
                (done.code == Some(code) && says_so).then_some(())
            })
            .await;
        }
    };
    check(
        200,
        "UP",
        "not checked",
        0,
        "not checked: no event of this site",
        &add,
    )
    .await;
    relay.accept(&[load(1)]).await;
    let never = "has never accepted an event of this site";
    check(503, "OUT_OF_SERVICE", "never", 1, never, &add).await;
    known.store(true, Ordering::SeqCst);
    relay.drained_within(LONG).await;
    check(
        200,
        "UP",
        "yes",
        0,
        "last accepted an event of this site at 20",
        "",
    )
    .await;
    known.store(false, Ordering::SeqCst);
    send_twenty(&relay, 2).await;
    let exists = format!("check in Plausible that the site `{SITE}` exists under exactly this domain");
    let dropped = "dropped the last 8 events of this site";
    check(503, "OUT_OF_SERVICE", "no longer", 1, dropped, &exists).await;
    relay.stop().await;
    let status = cli(&["switch", "status"]).await;
    assert!(status.out.contains(dropped), "known without a relay: {status:?}");
}

/// Plausible drops each engagement without a session, also on a site that it knows.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_warns_of_a_dropped_event_but_not_of_a_lone_engagement() {
    let check = async |event: serde_json::Value, accepting: &str, warnings: usize| {
        let plausible = MiniPlausible::start().await;
        knows(&plausible, SITE);
        let setup = Setup::new(&plausible.url()).switched_on(EXE).await;
        let relay = setup.spawn(EXE).await;
        assert_eq!(relay.try_send(&Post::batch(&[event])).await.unwrap().status, 202);
        within(LONG, "it is held", async || {
            let held = format!("site_held_events{{site=\"{SITE}\"}}");
            (relay.metrics().await.count(&held) == 1).then_some(())
        })
        .await;
        let health = relay.health().await.json();
        let site = &health["components"]["plausible"]["details"]["sites"][SITE];
        assert_eq!(site["accepting"], accepting, "{health}");
        within(LONG, "the log has that many warnings", async || {
            let log = relay.log();
            (log.matches("drops this site's events").count() == warnings).then_some(())
        })
        .await;
        relay.stop().await;
    };
    check(load(1), "never", 1).await;
    let engagement = json!({ "id": fresh_id(), "name": "engagement", "url": "https://panel.example.com/#/home", "engagement_ms": 5000 });
    check(engagement, "not checked", 0).await;
}
