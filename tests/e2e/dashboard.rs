//! Conservation up to the dashboard: delivered counts are compared with the counts that the server shows.

use crate::{EXE, LONG};
use feedback_relay::clock::{Clock, Timestamp};
use feedback_tests::{MiniPlausible, Post, Relay, SITE, Scrape, Server, Setup, load, stays, within};
use serde_json::Value;
use std::time::Duration;

/// The key of the Stats API.
const KEY: &str = "a key of the Stats API";
/// Events in a batch.
const BATCH: usize = 100;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn setup(plausible: &MiniPlausible) -> Setup {
    plausible.has_stats(KEY);
    Setup::new(&plausible.url())
        .with_a_small_policy()
        .with("upstream", &format!("stats_key = \"{KEY}\""))
        .with("upstream", "stats_interval_s = 1")
}

/// Delivers this many `Load` events.
async fn deliver(relay: &Relay, events: usize) {
    for first in (0..events).step_by(BATCH) {
        let batch: Vec<Value> = (first..first + BATCH).map(load).collect();
        relay.accept(&batch).await;
    }
    relay.drained_within(LONG).await;
}

/// Delivered events of a name that the dashboard lacks; `None` while the number is unknown.
fn difference(metrics: &Scrape, event: &str, day: &str) -> Option<i64> {
    let series =
        format!("feedback_relay_dashboard_difference{{site=\"{SITE}\",event=\"{event}\",day=\"{day}\"}} ");
    let line = metrics.text.lines().find_map(|line| line.strip_prefix(&series));
    line.map(|value| value.parse().unwrap())
}

/// Health's word for the dashboard, and its details for the site.
async fn health(relay: &Relay) -> (String, Value) {
    let health = relay.health().await.json();
    let dashboard = &health["components"]["dashboard"];
    let status = dashboard["status"].as_str().unwrap().to_owned();
    (status, dashboard["details"]["sites"][SITE].clone())
}

/// Waits for this number of comparisons that began after the call.
async fn compared(relay: &Relay, times: i64) {
    let series = "dashboard_checks_total{result=\"ok\"}";
    let before = relay.metrics().await.count(series);
    within(LONG, "the dashboard was compared", async || {
        (relay.metrics().await.count(series) >= before + times).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_that_shows_every_delivered_event_differs_by_nothing() {
    let plausible = MiniPlausible::start().await;
    let setup = setup(&plausible);
    let relay = setup.start_on().await;
    deliver(&relay, 1000).await;
    // The round in progress may have begun earlier.
    compared(&relay, 3).await;
    let metrics = relay.metrics().await;
    for event in ["Load", "pageview", "other"] {
        assert_eq!(difference(&metrics, event, "today"), Some(0), "{}", metrics.text);
    }
    assert_eq!(plausible.counted(SITE, "Load"), 1000);
    let (status, site) = health(&relay).await;
    assert_eq!(status, "UP", "{site}");
    assert!(site["checkedAt"].is_string(), "{site}");
    relay.stop().await;
    // The counts survive a restart.
    let relay = setup.start().await;
    deliver(&relay, 100).await;
    compared(&relay, 3).await;
    let metrics = relay.metrics().await;
    assert_eq!(difference(&metrics, "Load", "today"), Some(0), "{}", metrics.text);
    assert_eq!(plausible.counted(SITE, "Load"), 1100);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loses_one_event_in_a_thousand_is_found() {
    let plausible = MiniPlausible::start().await;
    plausible.loses_one_in(1000);
    let relay = setup(&plausible).start_on().await;
    deliver(&relay, 2000).await;
    within(LONG, "the loss is found", async || {
        let (status, _) = health(&relay).await;
        (status == "OUT_OF_SERVICE").then_some(())
    })
    .await;
    let metrics = relay.metrics().await;
    assert_eq!(difference(&metrics, "Load", "today"), Some(2), "{}", metrics.text);
    assert_eq!(
        difference(&metrics, "pageview", "today"),
        Some(0),
        "{}",
        metrics.text
    );
    let (_, site) = health(&relay).await;
    assert_eq!(site["differences"]["today"]["Load"], 2, "{site}");
    assert_eq!(
        relay.get_admin("/actuator/health/readiness").await.status,
        200,
        "it takes events all the same"
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_event_that_is_missing_and_nothing_of_its_content() {
    let plausible = MiniPlausible::start().await;
    plausible.loses_one_in(10);
    let setup = setup(&plausible).switched_on(EXE).await;
    let relay = setup.spawn(EXE).await;
    let batch: Vec<Value> = (0..BATCH).map(load).collect();
    let sent = relay.try_send(&Post::batch(&batch)).await.unwrap();
    assert_eq!(sent.status, 202, "{}", sent.text);
    within(LONG, "the log says it", async || {
        let log = relay.log();
        let says = "the dashboard shows fewer events than were delivered";
        let line = log.lines().find(|line| line.contains(says))?;
        assert!(line.contains("Load") && line.contains("missing=10"), "{line}");
        assert!(!log.contains(KEY), "{log}");
        Some(())
    })
    .await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_that_cannot_be_read_is_not_called_well() {
    let check = async |server: Server, lines: &[&str], key: Option<&str>, why: &str| {
        let plausible = MiniPlausible::start().await;
        plausible.speaks(server);
        let mut setup = setup(&plausible);
        if let Some(key) = key {
            plausible.has_stats(key);
        }
        if lines.contains(&"no key") {
            setup = setup.without("upstream", "stats_key");
        }
        for line in lines.iter().filter(|line| **line != "no key") {
            setup = setup.with("upstream", line);
        }
        let relay = setup.start_on().await;
        within(LONG, why, async || {
            let (status, site) = health(&relay).await;
            let says = site["notChecked"].as_str().unwrap_or_default().contains(why);
            (status == "UNKNOWN" && says).then_some(())
        })
        .await;
        let metrics = relay.metrics().await;
        assert!(
            !metrics.text.contains("dashboard_difference{"),
            "what is not known is no number: {}",
            metrics.text
        );
        relay.stop().await;
    };
    use Server::{PlausibleCe, Vince};
    check(PlausibleCe, &["no key"], None, "no Stats API key is configured").await;
    check(PlausibleCe, &[], Some("another key"), "refuses the key").await;
    check(
        Vince,
        &["profile = \"vince\""],
        None,
        "cannot count events by name",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_while_the_site_is_off() {
    let plausible = MiniPlausible::start().await;
    let relay = setup(&plausible).start().await;
    stays(Duration::from_secs(7), "nothing is asked", async || {
        plausible.connections() == 0
    })
    .await;
    relay.turn(true).await;
    compared(&relay, 1).await;
    assert!(plausible.queries() > 0);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn yesterday_is_compared_after_midnight_and_by_doctor_without_a_relay() {
    let plausible = MiniPlausible::start().await;
    let today = Clock::system().now().utc_day();
    let clock = Clock::standing_at(Timestamp((today - 1) * DAY_MS + DAY_MS / 2));
    plausible.goes_by(&clock);
    plausible.loses_one_in(50);
    let setup = setup(&plausible).with_clock(&clock);
    let relay = setup.start_on().await;
    deliver(&relay, 100).await;
    clock.set(Timestamp(today * DAY_MS + DAY_MS / 4));
    within(LONG, "yesterday was compared", async || {
        match difference(&relay.metrics().await, "Load", "yesterday") {
            // Unknown, or still the comparison of the day before, of which nothing is missing.
            None | Some(0) => None,
            Some(missing) => {
                assert_eq!(missing, 2);
                Some(())
            }
        }
    })
    .await;
    relay.stop().await;
    let told = setup.command(EXE, &["doctor"], "").await;
    let says = "events delivered yesterday are missing: 2 of 100 `Load`";
    assert!(told.out.contains(says), "{told:?}");
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(!told.out.contains(KEY), "{told:?}");
}
