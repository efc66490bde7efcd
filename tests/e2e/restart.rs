//! What was acknowledged survives everything a relay's process can suffer.

use crate::EXE;
use feedback_relay::app;
use feedback_relay::clock::Clock;
use feedback_tests::{Answer, ChildRelay, MiniPlausible, Post, SITE, Setup, eventually, load, within};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const LONG: Duration = Duration::from_secs(60);

async fn switched_on(upstream: &str) -> Setup {
    let setup = Setup::new(upstream);
    let done = setup.command(EXE, &["switch", "on", "--site", SITE], "").await;
    assert_eq!(done.code, Some(0), "{done:?}");
    setup
}

/// The numbers of the events that were answered 202.
#[derive(Clone, Default)]
struct Acknowledged(Arc<Mutex<BTreeSet<usize>>>);

impl Acknowledged {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Which of them have not arrived.
    fn missing(&self, plausible: &MiniPlausible) -> Vec<usize> {
        let arrived: BTreeSet<usize> = plausible.numbers().into_iter().collect();
        self.0.lock().unwrap().difference(&arrived).copied().collect()
    }
}

/// Posts batches of three fresh numbers from several visitors until the relay is gone.
fn pour(relay: &ChildRelay, next: &Arc<AtomicUsize>, into: &Acknowledged) -> Vec<JoinHandle<()>> {
    let pour = |visitor: usize| {
        let (client, base) = (relay.client.clone(), relay.public.clone());
        let (next, into) = (Arc::clone(next), into.clone());
        tokio::spawn(async move {
            loop {
                let first = next.fetch_add(3, Ordering::SeqCst);
                let events = [load(first), load(first + 1), load(first + 2)];
                let post = Post::batch(&events).from(&format!("198.51.100.{visitor}"));
                match post.try_send(&client, &base).await {
                    Ok(sent) if sent.status == 202 => into.0.lock().unwrap().extend(first..first + 3),
                    Ok(sent) if sent.status == 503 => assert_ne!(sent.header("retry-after"), ""),
                    Ok(sent) => panic!("{sent:?}"),
                    Err(_) => return,
                }
            }
        })
    };
    (0..4).map(pour).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_acknowledged_events_survive_a_kill() {
    let mut plausible = MiniPlausible::away();
    let setup = switched_on(&plausible.url()).await;
    let relay = setup.spawn(EXE).await;
    let acknowledged = Acknowledged::default();
    for batch in 0..20 {
        let numbers = batch * 50..batch * 50 + 50;
        let events: Vec<_> = numbers.clone().map(load).collect();
        let sent = relay
            .try_send(&Post::batch(&events).from(&format!("198.51.100.{batch}")))
            .await
            .unwrap();
        assert_eq!(sent.status, 202, "{sent:?}");
        acknowledged.0.lock().unwrap().extend(numbers);
    }
    relay.kill();
    let relay = setup.spawn(EXE).await;
    assert_eq!(relay.metrics().await.count("events_recovered_total"), 1000);
    plausible.come_back().await;
    within(LONG, "all thousand arrive", async || {
        acknowledged.missing(&plausible).is_empty().then_some(())
    })
    .await;
    within(LONG, "all are booked", async || {
        (relay.metrics().await.count("spool_events") == 0).then_some(())
    })
    .await;
    assert_eq!(
        plausible.count(),
        1000,
        "and none twice, because nothing was under way when it was killed"
    );
    assert_eq!(relay.stop().await.endings(), ["delivered/ 1000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn being_killed_again_and_again_under_load_loses_nothing_acknowledged() {
    let plausible = MiniPlausible::start().await;
    plausible.rule(|_| Answer::Slow(Duration::from_millis(2)));
    let setup = switched_on(&plausible.url()).await;
    let (next, acknowledged) = (Arc::new(AtomicUsize::new(0)), Acknowledged::default());
    for _ in 0..5 {
        let relay = setup.spawn(EXE).await;
        let pouring = pour(&relay, &next, &acknowledged);
        let goal = acknowledged.count() + 150;
        within(LONG, "some are acknowledged", async || {
            (acknowledged.count() >= goal).then_some(())
        })
        .await;
        relay.kill();
        for task in pouring {
            task.await.unwrap();
        }
    }
    let relay = setup.spawn(EXE).await;
    within(LONG, "the spool is empty", async || {
        (relay.metrics().await.count("spool_events") == 0).then_some(())
    })
    .await;
    assert_eq!(
        acknowledged.missing(&plausible),
        [0; 0],
        "acknowledged and never delivered"
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_under_load_ends_in_time_and_keeps_every_202() {
    let plausible = MiniPlausible::start().await;
    plausible.rule(|_| Answer::Slow(Duration::from_millis(50)));
    let setup = switched_on(&plausible.url()).await;
    let mut relay = setup.spawn(EXE).await;
    let (next, acknowledged) = (Arc::new(AtomicUsize::new(0)), Acknowledged::default());
    let pouring = pour(&relay, &next, &acknowledged);
    within(LONG, "some are acknowledged", async || {
        (acknowledged.count() >= 150).then_some(())
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
    for task in pouring {
        task.await.unwrap();
    }
    assert!(
        !setup.data_dir().join("control.sock").exists(),
        "the control socket is left behind"
    );

    plausible.rule(|_| Answer::Accept);
    let relay = setup.start().await;
    relay.drained_within(LONG).await;
    assert_eq!(
        acknowledged.missing(&plausible),
        [0; 0],
        "acknowledged and never delivered"
    );
    relay.stop().await;
    let numbers = plausible.numbers();
    let distinct: BTreeSet<usize> = numbers.iter().copied().collect();
    assert_eq!(
        numbers.len(),
        distinct.len(),
        "an orderly stop delivers nothing twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_while_plausible_hangs_still_ends() {
    let plausible = MiniPlausible::start().await;
    plausible.rule(|_| Answer::Hang);
    let setup = switched_on(&plausible.url())
        .await
        .with("upstream", "timeout_s = 2");
    let mut relay = setup.spawn(EXE).await;
    assert_eq!(
        relay.try_send(&Post::batch(&[load(1)])).await.unwrap().status,
        202
    );
    eventually("it is under way", async || (plausible.count() == 1).then_some(())).await;
    relay.terminate();
    let status = relay.ended(Duration::from_secs(25)).await;
    assert_eq!(status.code(), Some(0), "{}", relay.log());
    plausible.rule(|_| Answer::Accept);
    let relay = setup.start().await;
    relay.drained().await;
    assert_eq!(relay.stop().await.endings(), ["delivered/ 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_relay_on_the_same_data_does_not_start() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url());
    let relay = setup.spawn(EXE).await;
    let second = setup.command(EXE, &["serve"], "").await;
    assert_eq!(second.code, Some(1), "{second:?}");
    let want = format!(
        "another relay is using the data folder {}",
        setup.data_dir().display()
    );
    assert!(second.err.contains(&want), "{second:?}");
    relay.stop().await;
    // The lock ends with its process, however that ended.
    let relay = setup.spawn(EXE).await;
    relay.kill();
    setup.spawn(EXE).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_cannot_be_used_is_named() {
    let setup = Setup::new("http://127.0.0.1:9");
    setup.start().await.stop().await;
    let database = setup.data_dir().join("relay.db");
    let check = async |want: &str| {
        let built = app::Relay::build(setup.config(), Clock::system()).await;
        let error = built.err().unwrap().to_string();
        assert!(error.contains(want) && error.contains("relay.db"), "{error}");
        let done = setup.command(EXE, &["serve"], "").await;
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.err.contains(want), "{done:?}");
    };
    let db = rusqlite::Connection::open(&database).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    db.pragma_update(None, "application_id", 0x4652_0000 + 99)
        .unwrap();
    drop(db);
    check("was written by a newer relay (tables of version 99)").await;
}
