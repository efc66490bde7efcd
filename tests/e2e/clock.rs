//! The relay's clock is changed while it runs: no acknowledged event is lost and no session ends.

use feedback_relay::clock::{Clock, Timestamp};
use feedback_tests::{MiniPlausible, Post, Setup, load};
use std::time::Duration;

const NOW: i64 = 1_800_000_000_000;
const DAY: i64 = 86_400_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_arrives_though_the_clock_was_set_meanwhile() {
    for wrong in [-2 * DAY, -400 * DAY, 3 * DAY] {
        let mut plausible = MiniPlausible::away();
        let clock = Clock::standing_at(Timestamp(NOW + wrong));
        let relay = Setup::new(&plausible.url())
            .with("spool", "age_max_s = 3600")
            .with("upstream", "late_after_s = 60")
            .with_clock(&clock)
            .start_on()
            .await;
        for n in 0..5 {
            assert_eq!(relay.send(&Post::batch(&[load(n)])).await.status, 202);
        }
        clock.jump(Timestamp(NOW));
        assert_eq!(relay.app().spool.sweep().await, Ok(0), "{wrong}");
        clock.set(Timestamp(NOW + 30_000));
        plausible.come_back().await;
        relay.drained_within(Duration::from_secs(60)).await;
        let metrics = relay.stop().await;
        assert_eq!(metrics.ended("delivered", ""), 5, "{wrong}");
        assert_eq!(
            metrics.count("upstream_late_total"),
            0,
            "{wrong}: half a minute is not late"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_is_another_one_after_the_clock_was_set_by_days() {
    let plausible = MiniPlausible::start().await;
    let clock = Clock::standing_at(Timestamp(NOW + 3 * DAY));
    let relay = Setup::new(&plausible.url()).with_clock(&clock).start_on().await;
    relay.send(&Post::batch(&[load(0)])).await;
    clock.jump(Timestamp(NOW));
    relay.send(&Post::batch(&[load(1)])).await;
    clock.set(Timestamp(NOW + DAY));
    relay.send(&Post::batch(&[load(2)])).await;
    relay.drained().await;
    let mut visitors: Vec<String> = plausible
        .arrivals()
        .iter()
        .map(|arrival| arrival.header("x-plausible-ip").to_owned())
        .collect();
    visitors.sort_unstable();
    visitors.dedup();
    assert_eq!(visitors.len(), 3, "one person on three days");
    relay.stop().await;
}
