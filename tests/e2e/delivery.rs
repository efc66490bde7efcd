//! How Plausible's answers are handled: each settles an event, or leads to a retry after a delay.

use feedback_relay::clock::{Clock, Timestamp};
use feedback_tests::{
    Answer, Arrival, MiniPlausible, Post, Setup, eventually, fresh_id, load, pageview, within,
};
use serde_json::json;
use std::time::{Duration, Instant};

/// Bound for anything that the relay does only after a back-off.
const LONG: Duration = Duration::from_secs(60);

/// One attempt and its result: the event's ending, the label of the answer, and the number of attempts.
#[tokio::test(flavor = "multi_thread")]
async fn each_answer_settles_the_event_or_brings_it_again() {
    let plausible = MiniPlausible::start().await;
    let elsewhere = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url())
        .with("upstream", "concurrency = 1")
        .with("upstream", "timeout_s = 1")
        .start_on()
        .await;
    let mut next = 0;
    let mut check = async |answer: Answer, ending: &str, result: &str, times: usize| {
        let what = format!("{answer:?}");
        let unsure = matches!(answer, Answer::ResetBeforeReading);
        let (before, seen) = (relay.metrics().await, plausible.count());
        plausible.queue([answer]);
        // There is only one visitor, so the second event arrives once the first is settled.
        relay.accept(&[load(next), load(next + 1)]).await;
        relay.drained_within(LONG).await;
        let after = relay.metrics().await;
        let ended =
            |outcome: &str, reason: &str| after.ended(outcome, reason) - before.ended(outcome, reason);
        let (outcome, reason) = ending.split_once('/').unwrap();
        assert_eq!(
            ended(outcome, reason),
            1 + i64::from(outcome == "delivered"),
            "{what}"
        );
        // Whether any bytes were sent on a connection that is reset at once is a race.
        let result = match (unsure, after.upstream("unknown") > before.upstream("unknown")) {
            (true, true) => "unknown",
            _ => result,
        };
        let answers = after.upstream(result) - before.upstream(result);
        assert_eq!(answers, 1 + i64::from(result == "accepted"), "{what}");
        let unknown = after.count("upstream_unknown_total") - before.count("upstream_unknown_total");
        assert_eq!(unknown, i64::from(result == "unknown"), "{what}");
        let mut want = vec![next; times];
        want.push(next + 1);
        assert_eq!(plausible.numbers()[seen..], want, "{what}");
        next += 2;
    };
    let status = |status| Answer::Status(status, &[], "");
    // First, because there is no connection yet.
    check(Answer::ResetBeforeReading, "delivered/", "unreachable", 1).await;
    check(Answer::ResetAfterReading, "delivered/", "unknown", 2).await;
    check(Answer::Garbage, "delivered/", "unknown", 2).await;
    let too_slow = Answer::Slow(Duration::from_secs(2));
    check(too_slow, "delivered/", "unknown", 2).await;
    check(Answer::Accept, "delivered/", "accepted", 1).await;
    let dropped = Answer::AcceptWith("x-plausible-dropped", "1");
    check(dropped, "rejected/plausible_dropped", "dropped", 1).await;
    let json: &[(&str, &str)] = &[("content-type", "application/json")];
    let invalid = Answer::Status(400, json, r#"{"errors":{"url":["is required"]}}"#);
    check(invalid, "rejected/plausible_invalid", "invalid", 1).await;
    // From a gateway: Plausible has not seen the event.
    for wrong in [400, 413, 422, 431] {
        check(status(wrong), "delivered/", "misconfigured", 2).await;
    }
    for busy in [408, 429, 500, 503] {
        check(status(busy), "delivered/", "retry", 2).await;
    }
    for unclear in [200, 201, 204] {
        check(status(unclear), "rejected/unclear", "unclear", 1).await;
    }
    for wrong in [401, 403, 404, 405] {
        check(status(wrong), "delivered/", "misconfigured", 2).await;
    }
    for redirect in [301, 302, 307, 308] {
        let there = Answer::Redirect(redirect, format!("{}/api/event", elsewhere.url()));
        check(there, "delivered/", "misconfigured", 2).await;
    }
    assert_eq!(elsewhere.connections(), 0, "a redirect is not followed");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_is_kept() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    plausible.queue([Answer::Status(429, &[("retry-after", "1")], "")]);
    relay.accept(&[load(1)]).await;
    eventually("it was refused", async || {
        (relay.metrics().await.upstream("retry") == 1).then_some(())
    })
    .await;
    // Events of other visitors are delivered meanwhile, which must not shorten the back-off.
    for visitor in 0..8 {
        relay
            .send(&Post::batch(&[load(2)]).from(&format!("203.0.113.{visitor}")))
            .await;
    }
    relay.drained().await;
    let tries: Vec<_> = plausible
        .arrivals()
        .into_iter()
        .filter(|a| a.n() == Some(1))
        .collect();
    assert_eq!(tries.len(), 2);
    let waited = tries[1].at - tries[0].at;
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_plausible_cannot_take_is_not_retried_whenever_another_one_is_taken() {
    let plausible = MiniPlausible::start().await;
    plausible.rule(|arrival| match arrival.n() {
        Some(666) => Answer::Status(500, &[], ""),
        _ => Answer::Accept,
    });
    let relay = Setup::new(&plausible.url()).start_on().await;
    relay.accept(&[load(666)]).await;
    let start = Instant::now();
    let mut n = 0;
    while start.elapsed() < Duration::from_secs(2) {
        n += 1;
        let sent = relay
            .send(&Post::batch(&[load(n)]).from(&format!("203.0.113.{}", n % 250)))
            .await;
        assert_eq!(sent.status, 202);
    }
    let tries = plausible.numbers().iter().filter(|n| **n == 666).count();
    assert!(
        tries <= 21,
        "{tries} tries of one event in two seconds, while {n} others came"
    );
    relay.turn(false).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_plausible_cannot_take_does_not_hold_up_its_visitor() {
    let plausible = MiniPlausible::start().await;
    plausible.rule(|arrival| match arrival.n() {
        Some(666) => Answer::Status(500, &[], ""),
        _ => Answer::Accept,
    });
    let relay = Setup::new(&plausible.url()).start_on().await;
    relay.accept(&[load(1), load(666), load(2), load(3)]).await;
    within(LONG, "the later ones arrive", async || {
        // Events of others are accepted meanwhile: the fault is in this event.
        let other = relay.send(&Post::batch(&[load(9)]).from("203.0.113.9")).await;
        assert_eq!(other.status, 202);
        tokio::time::sleep(Duration::from_millis(100)).await;
        plausible.numbers().contains(&3).then_some(())
    })
    .await;
    let scrape = relay.metrics().await;
    assert_eq!(scrape.count("upstream_parked_total"), 1);
    let mut first = plausible.numbers();
    first.retain(|n| *n != 9);
    first.dedup();
    assert_eq!(first, [1, 666, 2, 3]);
    // Others wait longer if the breaker opened before one of them was accepted.
    within(LONG, "no other waits", async || {
        (relay.metrics().await.count("spool_events") == 1).then_some(())
    })
    .await;
    assert_eq!(
        relay.turn(false).await,
        1,
        "it waits until it is too old, or purged"
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_an_answer_is_sent_again_or_given_up_as_the_operator_wishes() {
    let check = async |setting: &str, numbers: &[usize], endings: &[&str]| {
        let plausible = MiniPlausible::start().await;
        plausible.queue([Answer::ResetAfterReading]);
        let relay = Setup::new(&plausible.url())
            .with("upstream", setting)
            .start_on()
            .await;
        relay.accept(&[load(1), load(2)]).await;
        relay.drained().await;
        assert_eq!(plausible.numbers(), numbers, "{setting}");
        let scrape = relay.stop().await;
        assert_eq!(scrape.count("upstream_unknown_total"), 1);
        assert_eq!(scrape.endings(), endings, "{setting}");
    };
    check("delivery = \"at_least_once\"", &[1, 1, 2], &["delivered/ 2"]).await;
    check(
        "delivery = \"at_most_once\"",
        &[1, 2],
        &["delivered/ 1", "rejected/unknown 1"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_plausible_is_away_one_probe_then_one_event_finds_out_that_it_is_back() {
    let plausible = MiniPlausible::start().await;
    plausible.rule(|_| Answer::Status(503, &[], ""));
    plausible.health(503);
    let relay = Setup::new(&plausible.url()).start_on().await;
    for visitor in 0..20 {
        let sent = relay
            .send(&Post::batch(&[load(visitor)]).from(&format!("203.0.113.{visitor}")))
            .await;
        assert_eq!(sent.status, 202);
    }
    let breaker = async |state: &str| {
        let series = format!("upstream_breaker{{state=\"{state}\"}}");
        relay.metrics().await.count(&series) == 1
    };
    eventually("it stops sending", async || breaker("open").await.then_some(())).await;
    eventually("it asks", async || (plausible.probes() > 1).then_some(())).await;
    let details = relay.health().await.json()["components"]["plausible"]["details"].clone();
    assert_ne!(details["breaker"], "closed");
    assert!(details["failuresInARow"].as_u64().unwrap() >= 5, "{details}");
    let tried = plausible.count();
    plausible.health(200);
    plausible.rule(|_| Answer::Accept);
    within(LONG, "it is back", async || breaker("closed").await.then_some(())).await;
    relay.drained_within(LONG).await;
    assert!(
        tried < 30,
        "{tried} events were sent to a Plausible that is not well"
    );
    assert_eq!(plausible.count() - tried, 20);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_long_says_so_where_the_plan_has_a_property_for_it() {
    let mut plausible = MiniPlausible::away();
    let clock = Clock::standing_at(Timestamp(1_800_000_000_000));
    let relay = Setup::new(&plausible.url()).with_clock(&clock).start_on().await;
    let engagement = json!({ "id": fresh_id(), "name": "engagement", "url": "https://panel.example.com/#/home", "scroll_depth": 10, "engagement_ms": 1000 });
    relay
        .accept(&[load(1), pageview("https://panel.example.com/#/home"), engagement])
        .await;
    clock.set(Timestamp(1_800_000_000_000 + 26 * 60 * 1000));
    relay.accept(&[load(2)]).await;
    plausible.come_back().await;
    relay.drained_within(LONG).await;
    let late = |arrival: &Arrival| arrival.body["props"]["late"].clone();
    let arrivals = plausible.arrivals();
    let seen: Vec<_> = arrivals
        .iter()
        .map(|a| (a.body["name"].as_str().unwrap(), late(a)))
        .collect();
    // The plan has no such property for a pageview; an engagement this old would be discarded.
    let want = [
        ("Load", json!(true)),
        ("pageview", json!(null)),
        ("Load", json!(null)),
    ];
    assert_eq!(seen, want);
    let scrape = relay.stop().await;
    // Each request with the mark counts, and the first ones may have failed to connect.
    assert!(scrape.count("upstream_late_total") >= 1);
    assert_eq!(scrape.endings(), ["delivered/ 3", "expired/engagement 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_reports_a_plausible_that_is_wrong_or_away_and_stays_ready() {
    let mut plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let check = async |what: &str, status: u16, word: &str, component: &str| {
        eventually(what, async || {
            let health = relay.get("/actuator/health").await;
            let json = health.json();
            let is = health.status == status
                && json["status"] == word
                && json["components"]["plausible"]["status"] == component;
            is.then_some(())
        })
        .await;
        let ready = relay.get("/actuator/health/readiness").await;
        assert_eq!(
            (ready.status, &ready.json()["status"]),
            (200, &json!("UP")),
            "{what}"
        );
    };
    check("nothing was sent", 200, "UP", "UNKNOWN").await;
    plausible.rule(|_| Answer::Status(404, &[], "<h1>not a Plausible</h1>"));
    relay.accept(&[load(1)]).await;
    check("it is something else", 503, "OUT_OF_SERVICE", "OUT_OF_SERVICE").await;
    plausible.rule(|_| Answer::Accept);
    check("it was mended", 200, "UP", "UP").await;
    plausible.go_away().await;
    relay.accept(&[load(2)]).await;
    check("it is away", 503, "OUT_OF_SERVICE", "OUT_OF_SERVICE").await;
    plausible.come_back().await;
    check("it is back", 200, "UP", "UP").await;
    relay.drained().await;
    assert_eq!(relay.stop().await.endings(), ["delivered/ 2"]);
}
