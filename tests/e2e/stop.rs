//! A relay that is asked to stop: in time, and with every acknowledged event on disk.

use crate::{EXE, LONG};
use feedback_tests::{
    Answer, ChildRelay, Dice, Fault, FaultProxy, MiniPlausible, Post, Setup, Traffic, counted_twice,
    eventually, load, within,
};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_under_load_ends_in_time_and_keeps_every_202() {
    let plausible = MiniPlausible::start().await;
    plausible.rule(|_| Answer::Slow(Duration::from_millis(50)));
    let (setup, base) = Setup::new(&plausible.url()).at_an_address();
    let setup = setup.with_a_small_policy().switched_on(EXE).await;
    let mut relay = setup.spawn(EXE).await;
    let traffic = Traffic::to(&base);
    let pouring = traffic.pour(4, Duration::ZERO);
    within(LONG, "some are acknowledged", async || {
        (traffic.acknowledged() >= 150).then_some(())
    })
    .await;
    let start = Instant::now();
    relay.terminate();
    let status = relay.ended(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0), "{}", relay.log());
    assert!(relay.log().contains("stopped"), "{}", relay.log());
    let took = start.elapsed();
    assert!(
        took < Duration::from_secs(10),
        "it took {took:?} although Plausible answers"
    );
    assert!(
        !setup.data_dir().join("control.sock").exists(),
        "the control socket is left behind"
    );

    plausible.rule(|_| Answer::Accept);
    let relay = setup.spawn(EXE).await;
    pouring.finish().await;
    relay.drained_within(LONG).await;
    relay.stop().await;
    assert_eq!(
        traffic.missing(&plausible),
        [0; 0],
        "acknowledged and never delivered"
    );
    let twice = counted_twice(&plausible.arrivals());
    assert_eq!(twice, 0, "an orderly stop delivers nothing twice");
}

type Signal = fn(&ChildRelay);

/// Ctrl-C or SIGTERM, while Plausible is unavailable in one of several ways.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_during_an_outage_keeps_what_waits_for_the_next_start() {
    let signals: [(&str, Signal); 2] = [
        ("SIGTERM", ChildRelay::terminate),
        ("Ctrl-C", ChildRelay::interrupt),
    ];
    let outages = [Fault::Refuse, Fault::BlackHole, Fault::NoAnswers, Fault::Reset];
    let mut dice = Dice::new();
    for (signal, send) in signals {
        for outage in outages.clone() {
            let what = format!("{signal} during {outage:?}");
            let plausible = MiniPlausible::start().await;
            let network = FaultProxy::to(&plausible.url(), &mut dice);
            network.set(outage);
            let setup = Setup::new(&network.url())
                .with("upstream", "timeout_s = 1")
                .with_a_small_policy()
                .switched_on(EXE)
                .await;
            let mut relay = setup.spawn(EXE).await;
            for n in 0..20 {
                let post = Post::batch(&[load(n)]).from(&format!("198.51.100.{n}"));
                assert_eq!(relay.try_send(&post).await.unwrap().status, 202, "{what}");
            }
            send(&relay);
            let status = relay.ended(Duration::from_secs(25)).await;
            assert_eq!(status.code(), Some(0), "{what}: {}", relay.log());

            network.set(Fault::None);
            let relay = setup.spawn(EXE).await;
            assert_eq!(
                relay.metrics().await.count("events_recovered_total"),
                20,
                "{what}"
            );
            relay.drained_within(LONG).await;
            assert_eq!(relay.stop().await.endings(), ["delivered/ 20"], "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once_and_keeps_what_was_acknowledged() {
    let plausible = MiniPlausible::start().await;
    plausible.rule(|_| Answer::Hang);
    let setup = Setup::new(&plausible.url())
        .with_a_small_policy()
        .switched_on(EXE)
        .await;
    let mut relay = setup.spawn(EXE).await;
    assert_eq!(
        relay.try_send(&Post::batch(&[load(1)])).await.unwrap().status,
        202
    );
    eventually("it is in flight", async || {
        (plausible.numbers() == [1]).then_some(())
    })
    .await;
    relay.terminate();
    eventually("it is stopping", async || {
        relay.log().contains("stopping").then_some(())
    })
    .await;
    // A signal right after the first counts as the same one.
    eventually("a later one ends it", async || {
        relay.terminate();
        relay.log().contains("received a second signal").then_some(())
    })
    .await;
    // Otherwise the relay would wait ten seconds for the answer.
    let status = relay.ended(Duration::from_secs(8)).await;
    assert_eq!(status.code(), Some(1), "{}", relay.log());

    plausible.rule(|_| Answer::Accept);
    let relay = setup.spawn(EXE).await;
    relay.drained_within(LONG).await;
    assert_eq!(relay.stop().await.endings(), ["delivered/ 1"]);
}
