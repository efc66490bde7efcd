//! Answers of Plausible that are broken at the HTTP or TCP level: each event is settled or retried, and does not delay
//! the next event of its visitor.

use crate::LONG;
use feedback_tests::{Answer, MiniPlausible, Setup, load, within};
use std::time::Duration;

/// How often an event reaches Plausible, by the answer to its first attempt.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_broken_is_understood_or_asked_for_again() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url())
        .with("upstream", "timeout_s = 3")
        .with_a_small_policy()
        .start_on()
        .await;
    let mut next = 0;
    let mut check = async |answer: Answer, times: usize| {
        let what = format!("{answer:?}");
        let (delivered, seen) = (
            relay.metrics().await.ended("delivered", ""),
            plausible.numbers().len(),
        );
        plausible.queue([answer]);
        relay.accept(&[load(next), load(next + 1)]).await;
        relay.drained_within(LONG).await;
        assert_eq!(
            relay.metrics().await.ended("delivered", ""),
            delivered + 2,
            "{what}"
        );
        let mut want = vec![next; times];
        want.push(next + 1);
        assert_eq!(plausible.numbers()[seen..], want, "{what}");
        next += 2;
    };
    let ms = Duration::from_millis;
    // These need a new connection.
    check(Answer::HalfOpen, 1).await;
    check(Answer::ResetHalfRead, 1).await;
    // The status was parsed, so the event is not sent again, whatever follows.
    check(Answer::Accept, 1).await;
    check(Answer::Drip(ms(1)), 1).await;
    check(Answer::Interim, 1).await;
    check(Answer::Close, 1).await;
    check(Answer::CloseSilently, 1).await;
    check(Answer::HeadThenNothing, 1).await;
    check(Answer::Endless, 1).await;
    check(Answer::LongHeader(8 * 1024), 1).await;
    check(Answer::ManyHeaders(50), 1).await;
    // No status was parsed, or not in time.
    check(Answer::Drip(ms(500)), 2).await;
    check(Answer::LongHeader(4 * 1024 * 1024), 2).await;
    check(Answer::ManyHeaders(5000), 2).await;
    check(Answer::ResetHalfRead, 1).await;
    relay.stop().await;
}

/// A server, or a proxy in front of it, that closes idle connections silently: no event is lost or counted twice.
#[tokio::test(flavor = "multi_thread")]
async fn connections_closed_between_requests_cost_nothing_but_a_new_one() {
    let plausible = MiniPlausible::start().await;
    plausible.rule(|arrival| match arrival.n() {
        Some(n) if n % 2 == 0 => Answer::CloseSilently,
        _ => Answer::Close,
    });
    let relay = Setup::new(&plausible.url())
        .with_a_small_policy()
        .start_on()
        .await;
    for n in 0..40 {
        relay.accept(&[load(n)]).await;
        // Sequentially, so that each connection has ended before the next event.
        within(LONG, "it is delivered", async || {
            (relay.metrics().await.ended("delivered", "") > i64::try_from(n).unwrap()).then_some(())
        })
        .await;
    }
    let all: Vec<usize> = (0..40).collect();
    assert_eq!(plausible.numbers(), all);
    assert_eq!(relay.stop().await.endings(), ["delivered/ 40"]);
}

/// The receiver counts requests in flight, so that tests of limits can rely on the number.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_the_allowed_requests_are_in_flight_at_once() {
    let plausible = MiniPlausible::start().await;
    plausible.rule(|_| Answer::Slow(Duration::from_millis(20)));
    let relay = Setup::new(&plausible.url())
        .with("upstream", "concurrency = 3")
        .with_a_small_policy()
        .start_on()
        .await;
    for visitor in 0..30 {
        let post = feedback_tests::Post::batch(&[load(visitor), load(visitor + 100)]);
        let sent = relay.send(&post.from(&format!("198.51.100.{visitor}"))).await;
        assert_eq!(sent.status, 202);
    }
    relay.drained_within(LONG).await;
    let most = plausible.most_at_once();
    assert!((2..=3).contains(&most), "{most} at once");
    assert_eq!(relay.stop().await.endings(), ["delivered/ 60"]);
}
