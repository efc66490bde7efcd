//! `scrub`: events in, what would leave of them out. For reviewers, and to measure the rules.
//!
//! Each line walks the corridor that `serve` uses, from the parser through the policy and the guard to the
//! request for Plausible. Only the questions before it are left out: whether the switch is on and whether
//! the user agreed. Nothing is stored or sent.

mod explain;

use crate::cli::rules::{Rules, RulesArgs};
use crate::cli::{Outcome, complain};
use crate::clock::Clock;
use crate::config::Plans;
use crate::forward::plausible;
use crate::gate;
use crate::guard::{self, Sender};
use crate::sandbox::Sandbox;
use crate::visitor::Visitors;
use anyhow::{Context, bail};
use axum::http::{HeaderMap, HeaderName};
use relay_event::scrub::Visible;
use relay_event::{Event, wire};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Longest line, in bytes: as long as a request may be, with room for headers. A longer one counts as
/// unreadable, and nothing of it leaves.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Buffer towards files and pipes, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each line of the input is one event with what came along:
  {\"id\": 1, \"event\": {\"name\": \"pageview\", \"url\": \"https://panel.example.com/w/acme\", \"domain\": \"panel.example.com\",
   \"props\": {}}, \"headers\": {\"user-agent\": \"Mozilla/5.0 ...\"}, \"client_ip\": \"203.0.113.7\"}
Each line of the output is the complete request that Plausible would get, or null where the event is dropped:
  {\"id\": 1, \"output\": {\"method\": \"POST\", \"path\": \"/api/event\", \"headers\": {...}, \"body\": {...}}}

Examples:
  feedback-relay scrub events.jsonl --plan plan.toml --explain
  feedback-relay scrub --config relay.toml --site panel.example.com < events.jsonl > leaves.jsonl

Without --plan and --config nothing is listed, and everything passes the detectors and the shape rules, as for a
site whose plan says unmatched = \"scrub\". Whether the switch is on and the user has agreed is not asked here.")]
pub(super) struct ScrubArgs {
    /// The file of events, as JSON lines; standard input without it.
    file: Option<PathBuf>,
    #[command(flatten)]
    rules: RulesArgs,
    /// Take every event as one of this site, whatever its `domain` says.
    #[arg(long, value_name = "DOMAIN")]
    site: Option<String>,
    /// Say on standard error what became of each field, and why.
    #[arg(long)]
    explain: bool,
    /// Say on standard error how long policy and guard took per event.
    #[arg(long)]
    timings: bool,
}

/// One line of the input.
#[derive(Deserialize)]
struct Row<'l> {
    #[serde(borrow, default)]
    id: Option<&'l RawValue>,
    #[serde(borrow)]
    event: &'l RawValue,
    #[serde(default)]
    headers: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    client_ip: Option<String>,
}

/// One line of the output.
#[derive(Serialize)]
struct Answer<'l> {
    id: Option<&'l RawValue>,
    output: Option<Request>,
}

/// The request as Plausible would get it.
struct Request(HeaderName, guard::Scrubbed);

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(address_header, scrubbed) = self;
        let mut request = serializer.serialize_struct("Request", 4)?;
        request.serialize_field("method", "POST")?;
        request.serialize_field("path", plausible::PATH)?;
        request.serialize_field("headers", &Readable(plausible::headers(address_header, scrubbed)))?;
        request.serialize_field("body", &plausible::document(scrubbed))?;
        request.end()
    }
}

/// Headers as a JSON object. Those the relay makes are ASCII.
struct Readable(HeaderMap);

impl Serialize for Readable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        serializer.collect_map(self.0.iter().map(|(name, value)| (name.as_str(), text(value))))
    }
}

/// `scrub`.
pub(super) fn run(args: &ScrubArgs) -> Outcome {
    let rules = args.rules.load()?;
    if let Some(site) = &args.site
        && rules.plan_of(site).is_none()
    {
        bail!(
            "no [[site]] has the domain {site}; there is {}",
            rules.sites().join(", ")
        );
    }
    let scrubber = Scrubber {
        sandbox: Sandbox::load(&rules.wasm, &Plans::in_use(rules.plans()), &rules.limits)?,
        rules,
        site: args.site.clone(),
        visitors: Visitors::new(Clock::system().now()),
        clock: Clock::system(),
        address_header: HeaderName::from_static("x-plausible-ip"),
        explain: args.explain,
        timings: Timings::default(),
    };
    if args.rules.is_unplanned() {
        complain(
            "no --plan and no --config: nothing is listed, so everything is scrubbed (unmatched = \"scrub\")",
        );
    }
    let tally = match &args.file {
        Some(path) => {
            let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            scrubber.scrub_all(BufReader::with_capacity(BUFFER_BYTES, file))?
        }
        None => scrubber.scrub_all(BufReader::with_capacity(BUFFER_BYTES, io::stdin().lock()))?,
    };
    complain(&tally.to_string());
    if args.timings {
        complain(&scrubber.timings.to_string());
    }
    Ok(())
}

struct Scrubber {
    sandbox: Sandbox,
    rules: Rules,
    site: Option<String>,
    visitors: Visitors,
    clock: Clock,
    address_header: HeaderName,
    explain: bool,
    timings: Timings,
}

/// Time spent in the two rooms that decide, over all events.
#[derive(Default)]
struct Timings {
    events: Cell<u32>,
    policy: Cell<Duration>,
    guard: Cell<Duration>,
}

impl std::fmt::Display for Timings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mean =
            |total: &Cell<Duration>| total.get().as_secs_f64() * 1e6 / f64::from(self.events.get().max(1));
        let (policy, guard) = (mean(&self.policy), mean(&self.guard));
        write!(
            f,
            "per event: {policy:.1} µs in the policy's sandbox, {guard:.1} µs in the native guard"
        )
    }
}

/// How many lines ended how.
#[derive(Default)]
struct Tally {
    leave: usize,
    ended: BTreeMap<String, usize>,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dropped: usize = self.ended.values().sum();
        write!(
            f,
            "{} read, {} would leave, {dropped} dropped",
            self.leave + dropped,
            self.leave
        )?;
        for (why, count) in &self.ended {
            write!(f, "; {why}: {count}")?;
        }
        Ok(())
    }
}

impl Timings {
    fn add(&self, policy: Duration, guard: Duration) {
        self.events.set(self.events.get().saturating_add(1));
        self.policy.set(self.policy.get() + policy);
        self.guard.set(self.guard.get() + guard);
    }
}

impl Scrubber {
    fn scrub_all(&self, mut input: impl BufRead) -> anyhow::Result<Tally> {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
        let mut tally = Tally::default();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let cut = !line.ends_with(b"\n") && line.len() as u64 == LINE_BYTES_MAX;
            if cut {
                input.skip_until(b'\n')?;
            } else if line.trim_ascii().is_empty() {
                continue;
            }
            let read = match cut {
                true => Err(format!("longer than {LINE_BYTES_MAX} bytes")),
                // serde's text may quote the line, its place cannot.
                false => serde_json::from_slice::<Row<'_>>(&line)
                    .map_err(|error| format!("not a line of this form, see its column {}", error.column())),
            };
            let result = read.as_ref().map_err(String::clone);
            let result = result.and_then(|row| self.scrub(row, number));
            let output = match result {
                Ok(request) => {
                    tally.leave += 1;
                    Some(request)
                }
                Err(why) => {
                    if self.explain || read.is_err() {
                        complain(&format!("line {number}: dropped: {why}"));
                    }
                    let why = if read.is_ok() {
                        why
                    } else {
                        "unreadable".to_owned()
                    };
                    *tally.ended.entry(why).or_default() += 1;
                    None
                }
            };
            let id = read.as_ref().ok().and_then(|row| row.id);
            serde_json::to_writer(&mut out, &Answer { id, output })?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
        Ok(tally)
    }

    /// Walks one line through the corridor. The error says why nothing of it leaves, and holds nothing of it.
    fn scrub(&self, row: &Row<'_>, number: usize) -> Result<Request, String> {
        let event = wire::parse_plausible(row.event.get().as_bytes()).map_err(|why| why.to_string())?;
        let site = self.site.as_deref().unwrap_or(&event.site);
        let sender = self.sender(row, site).map_err(say_outcome)?;
        let plan = self
            .rules
            .plan_of(site)
            .ok_or_else(|| say_outcome(relay_event::Outcome::UnknownSite))?;
        if plan.category_of(&event.name).is_none() {
            return Err(say_outcome(relay_event::Outcome::UnknownEvent));
        }
        let visible = Visible::of(&event);
        let entered = Instant::now();
        let proposed = self.sandbox.scrub(plan, &visible);
        let scrubbed_at = Instant::now();
        let proved = proposed.and_then(|out| guard::prove(&visible, &event, site, &sender, out, plan));
        self.timings.add(scrubbed_at - entered, scrubbed_at.elapsed());
        let scrubbed = proved.map_err(say_outcome)?;
        if self.explain {
            tell(
                number,
                &event,
                &explain::fates(&visible, &scrubbed, plan),
                &scrubbed,
            );
        }
        Ok(Request(self.address_header.clone(), scrubbed))
    }

    fn sender(&self, row: &Row<'_>, site: &str) -> Result<Sender, relay_event::Outcome> {
        let agent = row
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("user-agent"))
            .and_then(|(_, value)| value.as_str())
            .unwrap_or_default();
        let client = row.client_ip.as_deref().and_then(|ip| ip.trim().parse().ok());
        let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        gate::sender(site, client, agent, &self.visitors, self.clock.now())
    }
}

fn tell(number: usize, event: &Event, fates: &[String], scrubbed: &guard::Scrubbed) {
    let mut text = format!("line {number}:");
    for fate in fates {
        let _ = write!(text, "\n  {fate}");
    }
    if event.site != scrubbed.site() {
        text.push_str("\n  domain: replaced by --site");
    }
    complain(&text);
}

fn say_outcome(outcome: relay_event::Outcome) -> String {
    match outcome.reason() {
        "" => outcome.label().to_owned(),
        reason => format!("{}/{reason}", outcome.label()),
    }
}
