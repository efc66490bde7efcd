//! The switch: once "off" has been acknowledged, nothing is sent.

mod disk;

use crate::EXE;
use feedback_tests::{Answer, MiniPlausible, Post, SITE, Setup, eventually, load, stays};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_until_somebody_switches_it_on() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start().await;
    let enabled = async || relay.get("/api/config?site=panel.example.com").await.json()["enabled"].clone();
    assert_eq!(enabled().await, false);
    for n in 0..50 {
        let sent = relay.send(&Post::batch(&[load(n)])).await;
        assert_eq!((sent.status, sent.problem().as_str()), (403, "switched_off"));
    }
    stays(Duration::from_secs(1), "no connection is made", async || {
        plausible.connections() == 0
    })
    .await;
    assert!(!relay.metrics().await.enabled(SITE));

    relay.turn(true).await;
    assert_eq!(enabled().await, true);
    relay.accept(&[load(50)]).await;
    relay.drained().await;
    assert_eq!(plausible.numbers(), [50]);
    let scrape = relay.stop().await;
    assert!(scrape.enabled(SITE));
    assert_eq!(scrape.endings(), ["delivered/ 1", "denied/switched_off 50"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn switching_off_purges_a_thousand_events_while_plausible_hangs() {
    let plausible = MiniPlausible::start().await;
    plausible.rule(|_| Answer::Hang);
    let relay = Setup::new(&plausible.url()).start_on().await;
    for batch in 0..10 {
        let events: Vec<_> = (batch * 100..batch * 100 + 100).map(load).collect();
        let sent = relay
            .send(&Post::batch(&events).from(&format!("198.51.100.{batch}")))
            .await;
        assert_eq!(sent.status, 202);
    }
    eventually("some are in flight", async || {
        (plausible.count() > 0).then_some(())
    })
    .await;
    let start = Instant::now();
    let purged = relay.turn(false).await;
    let took = start.elapsed();
    let sent = plausible.count();
    assert!(took < Duration::from_secs(6), "off took {took:?}");
    plausible.rule(|_| Answer::Accept);
    stays(Duration::from_secs(1), "nothing leaves after off", async || {
        plausible.count() == sent
    })
    .await;
    assert_eq!(purged, 1000);
    let scrape = relay.stop().await;
    assert_eq!(
        (scrape.count("spool_events"), scrape.count("spool_bytes")),
        (0, 0)
    );
    assert_eq!(scrape.endings(), ["purged/ 1000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_purged_does_not_come_back_when_it_is_switched_on_again() {
    let plausible = MiniPlausible::start().await;
    plausible.rule(|_| Answer::Status(500, &[], ""));
    let relay = Setup::new(&plausible.url()).start_on().await;
    let events: Vec<_> = (0..20).map(load).collect();
    relay.accept(&events).await;
    eventually("a lane holds them", async || {
        (plausible.count() > 0).then_some(())
    })
    .await;
    assert_eq!(relay.turn(false).await, 20);
    plausible.rule(|_| Answer::Accept);
    let before = plausible.count();
    relay.turn(true).await;
    relay.accept(&[load(20)]).await;
    relay.drained().await;
    stays(Duration::from_secs(1), "the purged ones do not", async || {
        plausible.count() == before + 1
    })
    .await;
    assert_eq!(relay.stop().await.endings(), ["delivered/ 1", "purged/ 20"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plausible_that_was_away_is_not_asked_whether_it_is_back_once_it_is_off() {
    let mut plausible = MiniPlausible::away();
    let relay = Setup::new(&plausible.url()).start_on().await;
    relay.accept(&(0..20).map(load).collect::<Vec<_>>()).await;
    eventually("it is noticed", async || {
        let open = relay.metrics().await.count("upstream_breaker{state=\"open\"}");
        (open == 1).then_some(())
    })
    .await;
    relay.turn(false).await;
    plausible.come_back().await;
    stays(Duration::from_secs(3), "no connection is made", async || {
        plausible.connections() == 0
    })
    .await;
    relay.turn(true).await;
    relay.accept(&[load(20)]).await;
    relay.drained_within(Duration::from_secs(60)).await;
    assert_eq!(plausible.numbers(), [20]);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn once_off_has_been_answered_nothing_is_taken_and_nothing_arrives() {
    let plausible = MiniPlausible::start().await;
    // Longer on the way than recording the switch takes: an event sent without permission would arrive late.
    plausible.latency(Duration::from_millis(20));
    let relay = Arc::new(Setup::new(&plausible.url()).start_on().await);
    let (done, accepted, refused) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut posters = Vec::new();
    for poster in 0..4 {
        let (relay, done) = (Arc::clone(&relay), Arc::clone(&done));
        let (accepted, refused) = (Arc::clone(&accepted), Arc::clone(&refused));
        posters.push(tokio::spawn(async move {
            let mut taken = Vec::new();
            while !done.load(Ordering::SeqCst) {
                let start = Instant::now();
                let post = Post::batch(&[load(1), load(2), load(3)]).from(&format!("198.51.100.{poster}"));
                if relay.send(&post).await.status == 202 {
                    taken.push((start, Instant::now()));
                    accepted.fetch_add(1, Ordering::SeqCst);
                } else {
                    refused.fetch_add(1, Ordering::SeqCst);
                }
            }
            taken
        }));
    }
    let more = async |counter: &AtomicUsize, count: usize| {
        let goal = counter.load(Ordering::SeqCst) + count;
        eventually("the posters go on", async || {
            (counter.load(Ordering::SeqCst) >= goal).then_some(())
        })
        .await;
    };
    let mut dark = Vec::new();
    for _ in 0..20 {
        let before = plausible.arrivals().len();
        more(&accepted, 5).await;
        eventually("some arrive, and more are on their way", async || {
            (plausible.arrivals().len() > before + 2).then_some(())
        })
        .await;
        relay.turn(false).await;
        let off = Instant::now();
        more(&refused, 20).await;
        dark.push((off, Instant::now()));
        relay.turn(true).await;
    }
    done.store(true, Ordering::SeqCst);
    for poster in posters {
        for (start, end) in poster.await.unwrap() {
            let inside = dark.iter().any(|(off, on)| *off < start && end < *on);
            assert!(!inside, "a request was taken while it was off");
        }
    }
    for arrival in plausible.arrivals() {
        let inside = dark.iter().any(|(off, on)| *off < arrival.at && arrival.at < *on);
        assert!(!inside, "an event arrived while it was off");
    }
    Arc::into_inner(relay).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_turns_the_switch_of_a_running_and_of_a_stopped_relay() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url()).with_site("domain = \"panel.example.com/sub\"");
    let switch = async |arguments: &[&str]| {
        let done = setup.command(EXE, &[&["switch"], arguments].concat(), "").await;
        assert_eq!(done.code, Some(0), "{done:?}");
        done.out
    };
    let on = ["on", "--site", SITE];
    let status = ["status", "--site", SITE];
    assert_eq!(switch(&status).await, "panel.example.com: off");
    assert_eq!(switch(&on).await, "panel.example.com: collection is on");
    assert!(switch(&status).await.starts_with("panel.example.com: on, set 20"));

    let relay = setup.spawn(EXE).await;
    let post = async |n: usize| relay.try_send(&Post::batch(&[load(n)])).await.unwrap().status;
    assert_eq!(
        post(1).await,
        202,
        "what was switched on while it was stopped is on"
    );
    eventually("it leaves", async || (plausible.count() == 1).then_some(())).await;
    plausible.rule(|_| Answer::Hang);
    assert_eq!(post(2).await, 202);
    let off = switch(&["off", "--site", SITE]).await;
    assert_eq!(
        off,
        "panel.example.com: collection is off; 1 waiting event(s) were purged"
    );
    assert_eq!(post(3).await, 403);
    assert!(switch(&status).await.ends_with("by cli"));
    assert_eq!(switch(&on).await, "panel.example.com: collection is on");
    // A Plausible site's domain may include a path.
    let sub = "panel.example.com/sub";
    assert_eq!(
        switch(&["on", "--site", sub]).await,
        "panel.example.com/sub: collection is on"
    );
    let unknown = setup
        .command(EXE, &["switch", "on", "--site", "other.example.com"], "")
        .await;
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown
            .err
            .contains("no [[site]] has the domain other.example.com"),
        "{unknown:?}"
    );
    relay.stop().await;
    let all = switch(&["status"]).await;
    assert_eq!(
        all.lines().filter(|line| line.contains(": on, set")).count(),
        2,
        "{all}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_lock_purges_waiting_events_and_cannot_be_overridden() {
    let mut plausible = MiniPlausible::away();
    let setup = Setup::new(&plausible.url());
    let relay = setup.start_on().await;
    relay.accept(&[load(1), load(2)]).await;
    assert_eq!(relay.stop().await.count("spool_events"), 2);
    plausible.come_back().await;

    let locked = setup.clone().with("", "operator_lock = true");
    let relay = locked.start().await;
    let scrape = relay.metrics().await;
    assert_eq!(
        (scrape.count("events_recovered_total"), scrape.ended("purged", "")),
        (2, 2)
    );
    assert!(!scrape.enabled(SITE));
    assert!(relay.app().switches.set(SITE, true, "test").await.is_err());
    let sent = relay.send(&Post::batch(&[load(3)])).await;
    assert_eq!((sent.status, sent.problem().as_str()), (403, "operator_lock"));
    let done = locked.command(EXE, &["switch", "on", "--site", SITE], "").await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.err.contains("operator_lock"), "{done:?}");
    let done = locked.command(EXE, &["switch", "status"], "").await;
    assert!(
        done.out
            .starts_with("panel.example.com: off (locked by the operator)"),
        "{done:?}"
    );
    stays(Duration::from_millis(500), "no connection is made", async || {
        plausible.connections() == 0
    })
    .await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_switch_stands_as_it_was_after_a_restart() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url());
    for on in [true, false, true] {
        let relay = setup.start().await;
        relay.turn(on).await;
        relay.stop().await;
        let relay = setup.start().await;
        let sent = relay.send(&Post::batch(&[load(1)])).await;
        assert_eq!(sent.status == 202, on, "{sent:?}");
        assert_eq!(relay.metrics().await.enabled(SITE), on);
        relay.stop().await;
    }
}
