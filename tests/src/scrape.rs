//! A parsed scrape of `/metrics`, and the conservation law it must satisfy.

use std::collections::BTreeMap;

/// One scrape, by series.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// The scraped text.
    pub text: String,
    series: BTreeMap<String, String>,
}

impl Scrape {
    /// Reads the text of a scrape.
    pub fn parse(text: &str) -> Self {
        let series = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(series, value)| (series.to_owned(), value.to_owned()))
            .collect();
        Self {
            text: text.to_owned(),
            series,
        }
    }

    /// A whole number, by the series' name without the prefix, such as `spool_events`.
    ///
    /// # Panics
    /// If there is no such series: a missing metric fails the test.
    pub fn count(&self, series: &str) -> i64 {
        let name = format!("feedback_relay_{series}");
        let value = self
            .series
            .get(&name)
            .unwrap_or_else(|| panic!("{name} is not among the metrics"));
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no whole number: {value}"))
    }

    /// The number of events that ended in one way.
    pub fn ended(&self, outcome: &str, reason: &str) -> i64 {
        self.count(&format!(
            "events_ended_total{{outcome=\"{outcome}\",reason=\"{reason}\"}}"
        ))
    }

    /// The non-zero endings, such as `denied/bot 2`.
    pub fn endings(&self) -> Vec<String> {
        let labels = |series: &str| {
            let inside = series.strip_prefix("feedback_relay_events_ended_total{outcome=\"")?;
            let (outcome, reason) = inside.strip_suffix("\"}")?.split_once("\",reason=\"")?;
            Some(format!("{outcome}/{reason}"))
        };
        self.series
            .iter()
            .filter(|(_, value)| *value != "0")
            .filter_map(|(series, value)| Some(format!("{} {value}", labels(series)?)))
            .collect()
    }

    /// Requests to Plausible by their result.
    pub fn upstream(&self, result: &str) -> i64 {
        self.count(&format!("upstream_requests_total{{result=\"{result}\"}}"))
    }

    /// Requests to Plausible that it did not accept.
    pub fn upstream_failures(&self) -> i64 {
        let requests = "feedback_relay_upstream_requests_total{";
        let failed = |series: &str| series.starts_with(requests) && !series.contains("\"accepted\"");
        let values = self.series.iter().filter(|(series, _)| failed(series));
        values.filter_map(|(_, value)| value.parse::<i64>().ok()).sum()
    }

    /// Events that were set aside for a while, so that later events went first. 0 if the relay does not export the
    /// metric.
    pub fn set_aside(&self) -> i64 {
        let parked = self.series.get("feedback_relay_upstream_parked_total");
        parked.map_or(0, |value| value.parse().unwrap())
    }

    /// Whether the metrics report the site as on.
    pub fn enabled(&self, site: &str) -> bool {
        self.count(&format!("collection_enabled{{site=\"{site}\"}}")) == 1
    }

    /// Checks that every received event ended exactly once or still waits.
    ///
    /// # Panics
    /// If one was lost or counted twice.
    pub fn assert_conserved(&self) {
        let ended: i64 = self
            .series
            .iter()
            .filter(|(series, _)| series.starts_with("feedback_relay_events_ended_total{"))
            .map(|(_, value)| value.parse::<i64>().unwrap())
            .sum();
        let came = self.count("events_received_total") + self.count("events_recovered_total");
        let kept = self.count("events_in_progress") + self.count("spool_events");
        assert_eq!(came, kept + ended, "events are not conserved:\n{}", self.text);
        assert_eq!(self.count("conservation_difference"), 0, "{}", self.text);
        assert_eq!(self.ended("lost", ""), 0, "an event was lost:\n{}", self.text);
    }
}
