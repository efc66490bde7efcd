//! Everything at once: a relay between two bad networks, in front of a Plausible that fails now and then.

use feedback_tests::{
    Answer, Dice, Fault, FaultProxy, MiniPlausible, Setup, Traffic, assert_in_order, counted_twice, within,
};
use std::num::NonZeroU32;
use std::time::Duration;

/// How long the relay may need to use the network and Plausible again, at its longest back-off.
const LONG: Duration = Duration::from_secs(180);
/// How often the faults change, and how long each lasts.
const CHANGES: usize = 40;
const EACH_FOR: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread")]
async fn after_ten_seconds_of_chaos_every_event_is_delivered_in_order_and_doubles_were_announced() {
    let mut dice = Dice::new();
    let plausible = MiniPlausible::start().await;
    let behind = FaultProxy::to(&plausible.url(), &mut dice);
    let relay = Setup::new(&behind.url())
        .with("upstream", "timeout_s = 1")
        .with_a_small_policy()
        .start_on()
        .await;
    let before = FaultProxy::to(&relay.public, &mut dice);
    stumbling(&plausible, dice.another());
    let traffic = Traffic::to(&before.url());
    let pouring = traffic.pour(8, Duration::from_millis(5));
    for _ in 0..CHANGES {
        before.set(fault(&mut dice, 16));
        behind.set(fault(&mut dice, 32));
        tokio::time::sleep(EACH_FOR).await;
    }
    before.set(Fault::None);
    behind.set(Fault::None);
    plausible.rule(|_| Answer::Accept);
    pouring.finish().await;
    relay.drained_within(LONG).await;

    assert_eq!(
        traffic.missing(&plausible),
        [0; 0],
        "acknowledged and never delivered"
    );
    assert_eq!(traffic.acknowledged(), traffic.given_out());
    within(LONG, "health is up", async || {
        let health = relay.get("/actuator/health").await;
        (health.status == 200 && health.json()["status"] == "UP").then_some(())
    })
    .await;
    let scrape = relay.stop().await;
    let arrivals = plausible.arrivals();
    assert_eq!(scrape.set_aside(), 0, "no event is at fault for a bad network");
    assert_in_order(&arrivals, 0);
    let (twice, unknown) = (counted_twice(&arrivals), scrape.count("upstream_unknown_total"));
    eprintln!(
        "{} events, {} batches sent in vain, {twice} counted twice, {unknown} announced as possible",
        traffic.acknowledged(),
        traffic.failed()
    );
    assert!(
        i64::try_from(twice).unwrap() <= unknown,
        "{twice} counted twice, {unknown} announced"
    );
    let events = i64::try_from(traffic.given_out()).unwrap();
    assert_eq!(
        scrape.ended("delivered", ""),
        events,
        "each is stored once, however often it was sent"
    );
}

/// One of eight faults, or most of the time none, so that some traffic gets through.
fn fault(dice: &mut Dice, of: usize) -> Fault {
    let (ms, few) = (Duration::from_millis, dice.below(400));
    match dice.below(of) {
        0 => Fault::Late(ms(20), ms(60)),
        1 => Fault::Narrow(NonZeroU32::new(5_000).unwrap()),
        2 => Fault::CutRequest(few),
        3 => Fault::CutAnswer(few / 4),
        4 => Fault::BlackHole,
        5 => Fault::NoAnswers,
        6 => Fault::Refuse,
        7 => Fault::Reset,
        _ => Fault::None,
    }
}

fn stumbling(plausible: &MiniPlausible, dice: Dice) {
    plausible.rule_for_first_tries(dice, |dice| match dice.below(60) {
        0 => Answer::Status(500, &[], ""),
        1 => Answer::ResetAfterReading,
        2 => Answer::Garbage,
        3 => Answer::Close,
        4 => Answer::CloseSilently,
        5 => Answer::Interim,
        6 => Answer::Drip(Duration::from_millis(1)),
        _ => Answer::Accept,
    });
}
