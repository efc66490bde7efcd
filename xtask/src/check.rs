//! Walks one event through the running demo without a browser, and proves that it arrived scrubbed.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{demo, http, random::random_hex};

/// How long delivery may take.
const DELIVERY_MAX: Duration = Duration::from_secs(20);
/// How often to look.
const TICK: Duration = Duration::from_millis(200);

/// A complete browser string: what looks like a tool may be counted as a robot and dropped.
const USER_AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";

/// The page as the browser sees it. Workspace and project are customer data.
const PAGE: &str = "http://127.0.0.1:8600/#/w/acme-prod/p/billing-7/tenants";
/// Its origin, which the site lists whatever port the panel has: the check's is only known once the relay runs.
pub(crate) const ORIGIN: &str = "http://127.0.0.1:8600";
/// The names in it that must not arrive.
const CUSTOMER_DATA: [&str; 2] = ["acme-prod", "billing-7"];
/// What must arrive instead.
const ROUTE: &str = "/w/:workspace/p/:project/tenants";

/// Where the arrival can be seen.
#[derive(Debug)]
pub(crate) enum Proof<'a> {
    /// In what the receiver took.
    Receiver { address: &'a str },
    /// In the relay's metrics only, because the upstream server is not ours to ask.
    Metrics {
        admin: &'a str,
        username: &'a str,
        password: &'a str,
    },
}

/// Sends one event through the demo panel and waits until it has arrived. Gives what can be said about it.
pub(crate) fn walk(panel: &str, proof: &Proof<'_>) -> Result<String> {
    send(panel)?;
    let deadline = Instant::now() + DELIVERY_MAX;
    loop {
        let arrived = match proof {
            Proof::Receiver { address } => received(address)?,
            Proof::Metrics {
                admin,
                username,
                password,
            } => delivered(admin, username, password)?,
        };
        if let Some(arrived) = arrived {
            return Ok(arrived);
        }
        if Instant::now() >= deadline {
            bail!(
                "the event was accepted, but did not arrive in {} s",
                DELIVERY_MAX.as_secs()
            );
        }
        thread::sleep(TICK);
    }
}

fn send(panel: &str) -> Result<()> {
    // As a page does: it asks for the configuration, and sends the token that comes with it.
    let config = http::get(
        &format!("{panel}/feedback/api/config?site={}", demo::SITE),
        &[("Origin", ORIGIN)],
    )?;
    let config: Value = serde_json::from_str(&config.body).context("the configuration is no JSON")?;
    let batch = json!({
        "site": demo::SITE,
        "token": config["token"],
        "consent": { "plan": 1, "categories": ["feedback", "usage"] },
        "events": [{ "id": random_hex(16)?, "name": "pageview", "url": PAGE }],
    });
    let answer = http::post(
        &format!("{panel}/feedback/api/notes"),
        &[
            ("Content-Type", "text/plain"),
            ("User-Agent", USER_AGENT),
            ("Origin", ORIGIN),
        ],
        &batch.to_string(),
    )?;
    let accepted = serde_json::from_str::<Value>(&answer.body).is_ok_and(|body| body["accepted"] == 1);
    ensure!(
        answer.status == 202 && accepted,
        "the event was not accepted: {} {}",
        answer.status,
        answer.body
    );
    Ok(())
}

/// The request the receiver took, once it took one.
fn received(receiver: &str) -> Result<Option<String>> {
    let answer = http::get(&format!("{receiver}/received"), &[])?;
    ensure!(
        answer.status == 200,
        "the receiver answered {}: {}",
        answer.status,
        answer.body
    );
    let requests: Value = serde_json::from_str(&answer.body).context("the receiver's answer is no JSON")?;
    if requests.as_array().is_none_or(Vec::is_empty) {
        return Ok(None);
    }
    let shown = serde_json::to_string_pretty(&requests)?;
    inspect(&shown).with_context(|| format!("the receiver got:\n{shown}"))?;
    Ok(Some(shown))
}

/// Fails unless the page's route arrived, and its customer data did not.
fn inspect(received: &str) -> Result<()> {
    for name in CUSTOMER_DATA {
        ensure!(!received.contains(name), "customer data got through: {name}");
    }
    ensure!(received.contains(ROUTE), "the route {ROUTE} is missing");
    Ok(())
}

/// What the relay's metrics say, once they count a delivery.
fn delivered(admin: &str, username: &str, password: &str) -> Result<Option<String>> {
    let credentials = STANDARD.encode(format!("{username}:{password}"));
    let answer = http::get(
        &format!("{admin}/metrics"),
        &[("Authorization", &format!("Basic {credentials}"))],
    )?;
    ensure!(
        answer.status == 200,
        "the metrics answered {}: {}",
        answer.status,
        answer.body
    );
    Ok(delivery_count(&answer.body).map(str::to_owned))
}

/// The sample that counts deliveries, if it counts any.
fn delivery_count(metrics: &str) -> Option<&str> {
    metrics.lines().find(|line| {
        line.strip_prefix("feedback_relay_events_ended_total{")
            .and_then(|sample| sample.rsplit_once("} "))
            .filter(|(labels, _)| labels.split(',').any(|label| label == r#"outcome="delivered""#))
            .and_then(|(_, value)| value.split(' ').next()?.parse::<f64>().ok())
            .is_some_and(|value| value >= 1.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_scrubbed_page_passes() {
        let rows = [
            (
                r#"{"url":"https://panel.example.com/w/:workspace/p/:project/tenants"}"#,
                true,
            ),
            (
                r#"{"url":"https://panel.example.com/w/acme-prod/p/:project/tenants"}"#,
                false,
            ),
            (
                r#"{"url":"/w/:workspace/p/:project/tenants","referrer":"billing-7"}"#,
                false,
            ),
            (r#"{"url":"https://panel.example.com/other"}"#, false),
        ];
        for (received, passes) in rows {
            assert_eq!(inspect(received).is_ok(), passes, "{received}");
        }
    }

    #[test]
    fn deliveries_are_found_among_the_metrics() {
        let rows = [
            (
                r#"feedback_relay_events_ended_total{outcome="delivered"} 1"#,
                true,
            ),
            (
                r#"feedback_relay_events_ended_total{site="a",outcome="delivered",reason=""} 3.0 1700000000"#,
                true,
            ),
            (
                r#"feedback_relay_events_ended_total{outcome="delivered"} 0"#,
                false,
            ),
            (
                r#"feedback_relay_events_ended_total{outcome="rejected"} 1"#,
                false,
            ),
            (
                r#"feedback_relay_events_received_total{outcome="delivered"} 1"#,
                false,
            ),
            (r#"# TYPE feedback_relay_events_ended counter"#, false),
            ("", false),
        ];
        for (line, counts) in rows {
            let metrics = format!("# HELP x y\n{line}\n# EOF\n");
            assert_eq!(delivery_count(&metrics), counts.then_some(line), "{line}");
        }
    }
}
