//! Recovery needs no operator: once a fault is over, everything is delivered, oldest first, and health reports it.

use crate::kill::has_tried;
use crate::{EXE, LONG};
use feedback_tests::{
    Answer, ChildRelay, Dice, Fault, FaultProxy, MiniPlausible, Post, Relay, Setup, assert_in_order, load,
    within,
};
use serde_json::Value;
use std::time::Duration;
use tokio::task::{JoinSet, LocalSet};

/// Visitors in one outage, and events of each.
const VISITORS: usize = 4;
const EACH: usize = 5;

/// A fault of Plausible or of the network in between.
#[derive(Clone, Debug)]
enum Wrong {
    /// It answers every event with this.
    Answers(Answer),
    /// It answers events with the first, and its health check with the second.
    AnswersAndSays(Answer, Answer),
    /// The network has this fault.
    Network(Fault),
}

#[tokio::test(flavor = "multi_thread")]
async fn after_any_outage_everything_is_delivered_in_order_and_health_is_up() {
    use Wrong::{Answers, AnswersAndSays, Network};
    let status = |status| Answer::Status(status, &[], "");
    let outages = [
        Answers(status(500)),
        Answers(Answer::Status(429, &[("retry-after", "1")], "")),
        Answers(Answer::Status(
            200,
            &[("content-type", "text/html")],
            "<h1>log in</h1>",
        )),
        Answers(Answer::Redirect(302, "http://127.0.0.1:9/login".into())),
        Answers(Answer::Garbage),
        Answers(Answer::Hang),
        Answers(Answer::ResetAfterReading),
        Answers(Answer::ManyHeaders(5000)),
        AnswersAndSays(status(503), Answer::healthy()),
        AnswersAndSays(status(503), status(500)),
        AnswersAndSays(status(503), Answer::Garbage),
        AnswersAndSays(status(503), Answer::Hang),
        Network(Fault::Refuse),
        Network(Fault::Reset),
        Network(Fault::BlackHole),
        Network(Fault::NoAnswers),
        Network(Fault::CutRequest(100)),
        Network(Fault::CutAnswer(10)),
        Network(Fault::Late(Duration::from_millis(1500), Duration::ZERO)),
    ];
    let mut dice = Dice::new();
    // Concurrently, because most of an outage is waiting.
    let (together, mut rows) = (LocalSet::new(), JoinSet::new());
    for wrong in outages {
        rows.spawn_local_on(outage(wrong, dice.another()), &together);
    }
    together.run_until(rows.join_all()).await;
}

async fn outage(wrong: Wrong, mut dice: Dice) {
    let what = format!("{wrong:?}");
    let plausible = MiniPlausible::start().await;
    let network = FaultProxy::to(&plausible.url(), &mut dice);
    let relay = Setup::new(&network.url())
        .with("upstream", "timeout_s = 1")
        .with_a_small_policy()
        .start_on()
        .await;
    post_from_all(&relay, 0).await;
    relay.drained_within(LONG).await;
    // Twice, to show that it also recovers after an earlier recovery.
    for round in 1..=2 {
        // Before anything is sent: the breaker may open at once, and then no further request fails.
        let before = relay.metrics().await.upstream_failures();
        begin(&wrong, &plausible, &network);
        post_from_all(&relay, 2 * round - 1).await;
        within(LONG, &format!("{what}: it is noticed"), async || {
            // If the first that fails asks whether the server takes requests together, no event fails.
            let has_failed = relay.metrics().await.upstream_failures() > before;
            (has_failed || component(&relay, "plausible").await != "UP").then_some(())
        })
        .await;
        // A disk that does not answer the write probe in time is the only other reason. The outage lasts.
        within(LONG, &format!("{what}: it takes events"), async || {
            let ready = relay.get("/actuator/health/readiness").await;
            let is_ready = ready.status == 200;
            let db = &ready.json()["components"]["db"]["status"];
            assert!(
                is_ready || db != "UP",
                "{what}: Plausible is no reason to take nothing: {ready:?}"
            );
            is_ready.then_some(())
        })
        .await;
        post_from_all(&relay, 2 * round).await;
        plausible.rule(|_| Answer::Accept);
        plausible.health(Answer::healthy());
        network.set(Fault::None);
        within(LONG, &format!("{what}: everything is delivered"), async || {
            (relay.metrics().await.count("spool_events") == 0).then_some(())
        })
        .await;
        within(LONG, &format!("{what}: health is up"), async || {
            (component(&relay, "plausible").await == "UP").then_some(())
        })
        .await;
    }
    let mut numbers = plausible.numbers();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..5 * VISITORS * EACH).collect::<Vec<_>>(), "{what}");
    let scrape = relay.stop().await;
    assert_in_order(&plausible.arrivals(), scrape.set_aside());
    // Events answered 200 are not sent again; the self-test determines when delivery resumes.
    let unclear = scrape.ended("rejected", "unclear");
    let is_unclear = matches!(&wrong, Wrong::Answers(Answer::Status(200, ..)));
    assert_eq!(unclear > 0, is_unclear, "{what}: {unclear}");
    let delivered = scrape.ended("delivered", "") + unclear;
    assert_eq!(delivered, i64::try_from(5 * VISITORS * EACH).unwrap(), "{what}");
}

fn begin(wrong: &Wrong, plausible: &MiniPlausible, network: &FaultProxy) {
    match wrong.clone() {
        Wrong::Answers(answer) => plausible.rule(move |_| answer.clone()),
        Wrong::AnswersAndSays(answer, health) => {
            plausible.rule(move |_| answer.clone());
            plausible.health(health);
        }
        Wrong::Network(fault) => network.set(fault),
    }
}

async fn component(relay: &Relay, name: &str) -> Value {
    relay.get("/actuator/health").await.json()["components"][name]["status"].clone()
}

/// Sends one batch from each visitor; the numbers rise with `time`.
async fn post_from_all(relay: &Relay, time: usize) {
    for visitor in 0..VISITORS {
        let first = (time * VISITORS + visitor) * EACH;
        let events: Vec<_> = (first..first + EACH).map(load).collect();
        let post = Post::batch(&events).from(&format!("198.51.100.{visitor}"));
        assert_eq!(relay.send(&post).await.status, 202);
    }
}

/// A disk fault, and its repair.
pub(crate) struct DiskTrouble {
    pub(crate) what: &'static str,
    pub(crate) begin: fn(&ChildRelay, &rusqlite::Connection),
    pub(crate) end: fn(&ChildRelay, &rusqlite::Connection),
}

pub(crate) const DISK_TROUBLES: [DiskTrouble; 2] = [
    DiskTrouble {
        what: "the database is locked by another process",
        begin: |_, db| db.execute_batch("BEGIN EXCLUSIVE").unwrap(),
        end: |_, db| db.execute_batch("ROLLBACK").unwrap(),
    },
    DiskTrouble {
        what: "files cannot grow",
        begin: |relay, _| relay.limit_files(Some(1)),
        end: |relay, _| relay.limit_files(None),
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_be_written_is_reported_and_used_again_once_it_can() {
    for trouble in DISK_TROUBLES {
        let what = trouble.what;
        let (mut plausible, setup, relay) = Setup::while_plausible_is_away(EXE).await;
        let send = async |post: &Post| relay.try_send(post).await.unwrap();
        assert_eq!(send(&Post::batch(&[load(1), load(2)])).await.status, 202);
        let db = rusqlite::Connection::open(setup.data_dir().join("relay.db")).unwrap();
        let ready = async || relay.get("/actuator/health/readiness").await;
        assert_eq!(ready().await.status, 200, "{what}");

        (trouble.begin)(&relay, &db);
        let third = Post::batch(&[load(3)]);
        let refused = send(&third).await;
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (503, "unavailable"),
            "{what}"
        );
        let seconds: u32 = refused.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{what}: {seconds}");
        let down = within(LONG, "readiness tells", async || {
            Some(ready().await).filter(|sent| sent.status == 503)
        })
        .await;
        assert_eq!(
            down.json()["components"]["db"]["status"],
            "DOWN",
            "{what}: {down:?}"
        );
        let alive = relay.get("/actuator/health/liveness").await;
        assert_eq!(alive.status, 200, "{what}: a restart would not help");

        (trouble.end)(&relay, &db);
        within(LONG, "readiness recovers", async || {
            (ready().await.status == 200).then_some(())
        })
        .await;
        // The same batch, as the browser module resends it.
        assert_eq!(send(&third).await.status, 202, "{what}");
        assert_eq!(send(&third).await.status, 202, "{what}");
        plausible.come_back().await;
        relay.drained_within(LONG).await;
        assert_eq!(plausible.numbers(), [1, 2, 3], "{what}: each once, in order");
        let scrape = relay.stop().await;
        assert_eq!(scrape.ended("delivered", ""), 3, "{what}");
        assert!(scrape.ended("spool_full", "unavailable") >= 1, "{what}");
    }
}

/// While the disk refuses to record deliveries, nothing more is delivered: it would be delivered again later.
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_cannot_be_noted_wait_and_are_noted_once_the_disk_is_back() {
    for trouble in DISK_TROUBLES {
        let what = trouble.what;
        let (mut plausible, setup, relay) = Setup::while_plausible_is_away(EXE).await;
        let events: Vec<_> = (0..50).map(load).collect();
        assert_eq!(relay.try_send(&Post::batch(&events)).await.unwrap().status, 202);
        let db = rusqlite::Connection::open(setup.data_dir().join("relay.db")).unwrap();
        has_tried(&relay).await;
        (trouble.begin)(&relay, &db);
        plausible.come_back().await;
        within(LONG, "the first is delivered", async || {
            (!plausible.numbers().is_empty()).then_some(())
        })
        .await;
        (trouble.end)(&relay, &db);
        relay.drained_within(LONG).await;
        assert_eq!(
            plausible.numbers(),
            (0..50).collect::<Vec<_>>(),
            "{what}: each once, in order"
        );
        assert_eq!(relay.stop().await.endings(), ["delivered/ 50"], "{what}");
    }
}
