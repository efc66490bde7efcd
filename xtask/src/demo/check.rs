//! Walks one event through the running demo without a browser, and proves that it arrived scrubbed.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use ureq::{
    Agent, AsSendBody,
    http::{self, Request},
};

use super::{METRICS_USER, Running, SITE};

/// How long a server on this machine may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long delivery may take.
const DELIVERY_MAX: Duration = Duration::from_secs(20);
/// Polling interval.
const TICK: Duration = Duration::from_millis(200);

/// A complete browser string: a tool's may be counted as a robot and dropped.
const USER_AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";

/// The page as the browser sees it. Workspace and project are customer data.
const PAGE: &str = "http://127.0.0.1:8600/#/w/acme-prod/p/billing-7/tenants";
/// Its origin, which the site lists whatever port the panel has: the check's is only known once the relay runs.
pub(super) const ORIGIN: &str = "http://127.0.0.1:8600";
/// The event's id, as the module draws one. Each demo begins with an empty database, so it is new.
const EVENT_ID: &str = "5e1f0c29a4b84d3f9a6e7d02c18b3f44";
/// The names in it that must not arrive.
const CUSTOMER_DATA: [&str; 2] = ["acme-prod", "billing-7"];
/// The route that must arrive instead.
const ROUTE: &str = "/w/:workspace/p/:project/tenants";

/// Sends one event through the demo panel and waits until it has arrived: at the receiver, or by the relay's metrics if
/// the upstream server is not ours to ask. Returns a summary.
pub(super) fn walk(running: &Running) -> Result<String> {
    send(&running.panel)?;
    let deadline = Instant::now() + DELIVERY_MAX;
    loop {
        let arrived = match &running.receiver {
            Some(receiver) => received(receiver)?,
            None => delivered(&running.admin, &running.metrics_password)?,
        };
        if let Some(arrived) = arrived {
            return Ok(arrived);
        }
        if Instant::now() >= deadline {
            bail!(
                "the event was accepted, but did not arrive within {} s",
                DELIVERY_MAX.as_secs()
            );
        }
        thread::sleep(TICK);
    }
}

/// Sends a request to a server on this machine, and returns the body of an answer with a status of success.
fn ask(request: http::Result<Request<impl AsSendBody>>) -> Result<String> {
    let request = request?;
    let url = request.uri().path().to_owned();
    let agent: Agent = Agent::config_builder()
        // A proxy from the environment cannot reach this machine's loopback.
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER_MAX))
        .build()
        .into();
    let mut answer = agent.run(request).context(url.clone())?;
    let body = answer.body_mut().read_to_string().context(url.clone())?;
    ensure!(answer.status().is_success(), "{url}: {} {body}", answer.status());
    Ok(body)
}

fn get(url: &str) -> Result<String> {
    ask(Request::get(url).body(()))
}

fn send(panel: &str) -> Result<()> {
    // Like a page: requests the configuration, and sends the token that comes with it.
    let config = Request::get(format!("{panel}/feedback/api/config?site={SITE}")).header("Origin", ORIGIN);
    let config = ask(config.body(()))?;
    let config: Value = serde_json::from_str(&config).context("the configuration is not JSON")?;
    let batch = json!({
        "site": SITE,
        "token": config["token"],
        "consent": { "plan": 1, "categories": ["feedback", "usage"] },
        "events": [{ "id": EVENT_ID, "name": "pageview", "url": PAGE }],
    });
    let request = Request::post(format!("{panel}/feedback/api/notes"))
        .header("Content-Type", "text/plain")
        .header("User-Agent", USER_AGENT)
        .header("Origin", ORIGIN);
    let answer = ask(request.body(batch.to_string())).context("the event was not accepted")?;
    let accepted = serde_json::from_str::<Value>(&answer).is_ok_and(|body| body["accepted"] == 1);
    ensure!(accepted, "the event was not accepted: {answer}");
    Ok(())
}

/// The request the receiver took, once it took one.
fn received(receiver: &str) -> Result<Option<String>> {
    let answer = get(&format!("{receiver}/received"))?;
    let requests: Value = serde_json::from_str(&answer).context("the receiver's answer is not JSON")?;
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

/// The relay's count of deliveries in its metrics, once there is one.
fn delivered(admin: &str, password: &str) -> Result<Option<String>> {
    let login = format!("://{METRICS_USER}:{password}@");
    let metrics = get(&format!("{}/metrics", admin.replacen("://", &login, 1)))?;
    Ok(delivery_count(&metrics).map(str::to_owned))
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
