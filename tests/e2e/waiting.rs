//! Waiting events: until Plausible is back, until they expire, until the spool is full.

use feedback_relay::clock::{Clock, Timestamp};
use feedback_tests::{Answer, MiniPlausible, Post, Setup, load};
use std::collections::BTreeMap;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_while_plausible_was_away_arrives_in_each_visitors_order() {
    let mut plausible = MiniPlausible::away();
    let relay = Setup::new(&plausible.url()).start_on().await;
    for n in 0..50 {
        for visitor in 0..6 {
            let event = load(n * 6 + visitor);
            let sent = relay
                .send(&Post::batch(&[event]).from(&format!("198.51.100.{visitor}")))
                .await;
            assert_eq!(sent.status, 202, "{sent:?}");
        }
    }
    assert_eq!(relay.metrics().await.count("spool_events"), 300);
    // It fails now and then, so that order has to survive retries as well.
    plausible.queue((0..20).map(|i| {
        if i % 5 == 4 {
            Answer::Status(500, &[], "")
        } else {
            Answer::Accept
        }
    }));
    plausible.come_back().await;
    relay.drained_within(Duration::from_secs(30)).await;

    let mut visitors: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for arrival in plausible.arrivals() {
        let seen = visitors
            .entry(arrival.header("x-plausible-ip").to_owned())
            .or_default();
        seen.push(arrival.n().unwrap());
    }
    assert_eq!(visitors.len(), 6, "each address is a visitor of its own");
    for mut numbers in visitors.into_values() {
        numbers.dedup();
        let first = numbers[0];
        let want: Vec<usize> = (0..50).map(|n| n * 6 + first).collect();
        assert_eq!(
            numbers, want,
            "one visitor's events arrive in order, retries aside"
        );
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_too_long_is_dropped_and_what_did_not_is_delivered() {
    let mut plausible = MiniPlausible::away();
    let clock = Clock::standing_at(Timestamp(1_800_000_000_000));
    let relay = Setup::new(&plausible.url())
        .with("spool", "age_max_s = 60")
        .with_clock(&clock)
        .start_on()
        .await;
    relay.accept(&[load(1), load(2)]).await;
    clock.set(Timestamp(1_800_000_050_000));
    relay.accept(&[load(3)]).await;
    clock.set(Timestamp(1_800_000_060_001));
    plausible.come_back().await;
    relay.drained().await;
    assert_eq!(plausible.numbers(), [3]);
    assert_eq!(relay.stop().await.endings(), ["delivered/ 1", "expired/ 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_asks_to_come_back_and_takes_the_same_batch_once_there_is_room() {
    let mut plausible = MiniPlausible::away();
    let relay = Setup::new(&plausible.url())
        .with("spool", "bytes_max = 65536")
        .start_on()
        .await;
    let spool = async |path: &str| relay.get(path).await.json()["components"]["spool"]["status"].clone();
    assert_eq!(spool("/actuator/health/readiness").await, "UP");
    let mut count = 0;
    let refused = loop {
        let events: Vec<_> = (count..count + 20).map(load).collect();
        let batch = Post::batch(&events);
        let sent = relay.send(&batch).await;
        count += 20;
        assert!(count < 2000, "64 KiB are never full");
        if sent.status != 202 {
            assert_eq!((sent.status, sent.problem().as_str()), (503, "full"));
            assert_eq!(sent.header("retry-after"), "60");
            break batch;
        }
    };
    assert_eq!(spool("/actuator/health/readiness").await, "OUT_OF_SERVICE");
    let again = relay.send(&refused).await;
    assert_eq!(again.status, 503, "{again:?}");
    plausible.come_back().await;
    relay.drained_within(Duration::from_secs(30)).await;
    let later = relay.send(&refused).await;
    assert_eq!(later.status, 202, "{later:?}");
    relay.drained().await;
    let mut numbers = plausible.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
    assert_eq!(spool("/actuator/health/readiness").await, "UP");
    let scrape = relay.stop().await;
    assert_eq!(scrape.count("spool_bytes"), 0);
    assert!(scrape.ended("spool_full", "full") > 0);
}
