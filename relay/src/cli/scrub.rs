//! `scrub`: reads events and prints the form in which they would leave. For reviewers, and to measure the rules.
//!
//! Each line passes through the same stages as in `serve`, from the parser through the policy and the guard to the
//! request for Plausible. Only the checks before them are skipped: whether the switch is on and whether the user
//! consented. Nothing is stored or sent.

mod explain;
mod tally;

use crate::cli::rules::{Rules, RulesArgs};
use crate::cli::{CommandResult, manage};
use crate::clock::Clock;
use crate::config::{Profile, SitePlan};
use crate::forward::plausible;
use crate::gate;
use crate::guard::{self, Sender};
use crate::policy::sandbox::Sandbox;
use crate::visitor::Visitors;
use anyhow::Context;
use axum::http::{HeaderMap, HeaderName};
use relay_event::scrub::Visible;
use relay_event::{DayValues, Event, Plan, wire};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Instant;
use tally::{Tally, Timings};

/// Longest line, in bytes: the size limit of a request, with room for headers. A longer one counts as unreadable, and
/// nothing of it leaves.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Maximum number of lines per batch.
const BATCH_LINES: usize = 64;
/// Buffer size of files and pipes, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each line of the input is one event with its request's headers and address:
  {\"id\": 1, \"event\": {\"name\": \"pageview\", \"url\": \"https://panel.example.com/w/acme\", \"domain\": \"panel.example.com\",
   \"props\": {}}, \"headers\": {\"user-agent\": \"Mozilla/5.0 ...\"}, \"client_ip\": \"203.0.113.7\"}
Each line of the output is the complete request that Plausible would get, or null if the event is dropped:
  {\"id\": 1, \"output\": {\"method\": \"POST\", \"path\": \"/api/event\", \"headers\": {...}, \"body\": {...}}}

Examples:
  feedback-relay scrub events.jsonl --plan plan.toml --explain
  feedback-relay scrub --config relay.toml --site panel.example.com < events.jsonl > leaves.jsonl

Without --plan and --config no event is listed: everything passes the detectors and the shape rules, as for a
site whose plan says unmatched = \"scrub\". The switch and the user's consent are not checked.")]
pub(super) struct ScrubArgs {
    /// The file of events, as JSON lines. Default: standard input.
    file: Option<PathBuf>,
    #[command(flatten)]
    rules: RulesArgs,
    /// The policy component, instead of the configured or built-in one.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Treat every event as one of this site, whatever its `domain`.
    #[arg(long, value_name = "DOMAIN")]
    site: Option<String>,
    /// Report on standard error what happened to each field, and why.
    #[arg(long)]
    explain: bool,
    /// Report on standard error the time that policy and guard took per event.
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
struct Answer {
    id: Option<Box<RawValue>>,
    output: Option<Request>,
}

/// The request as a server of this kind would receive it, with the visitor's address in this header.
pub(super) struct Request(
    pub(super) Profile,
    pub(super) HeaderName,
    pub(super) guard::Scrubbed,
);

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(profile, address_header, scrubbed) = self;
        let mut request = serializer.serialize_struct("Request", 4)?;
        request.serialize_field("method", "POST")?;
        request.serialize_field("path", plausible::PATH)?;
        request.serialize_field("headers", &Readable(plausible::headers(address_header, scrubbed)))?;
        request.serialize_field("body", &plausible::document(*profile, scrubbed))?;
        request.end()
    }
}

/// Headers as a JSON object. The relay's own headers are ASCII.
struct Readable(HeaderMap);

impl Serialize for Readable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        serializer.collect_map(self.0.iter().map(|(name, value)| (name.as_str(), text(value))))
    }
}

/// `scrub`.
pub(super) fn run(args: &ScrubArgs) -> CommandResult {
    let unplanned = || Ok(Plan::unplanned().into());
    let rules = args.rules.load(args.policy.as_deref(), unplanned)?;
    if let (Some(site), Some(config)) = (&args.site, rules.config()) {
        manage::site(config, site)?;
    }
    let scrubber = Scrubber {
        sandbox: rules.sandbox(&rules.compile()?, &rules.plans())?,
        upstream: rules.upstream(),
        rules,
        site: args.site.clone(),
        visitors: Visitors::new(Clock::system().now()),
        clock: Clock::system(),
        explain: args.explain,
        timings: Timings::default(),
    };
    if args.rules.is_empty() {
        complain!(
            "no --plan and no --config: no event is listed, so every event is scrubbed (unmatched = \"scrub\")"
        );
    }
    let tally = match &args.file {
        Some(path) => {
            let file = File::open(path).with_context(|| {
                format!(
                    "cannot read {}; pass a file of JSON lines, or no file to read standard input",
                    path.display()
                )
            })?;
            scrubber.scrub_all(BufReader::with_capacity(BUFFER_BYTES, file))?
        }
        None => scrubber.scrub_all(BufReader::with_capacity(BUFFER_BYTES, io::stdin().lock()))?,
    };
    complain!("{tally}");
    if args.timings {
        complain!("{}", scrubber.timings);
    }
    Ok(())
}

struct Scrubber {
    sandbox: Sandbox,
    rules: Rules,
    /// The kind of the upstream server, and its header for the visitor's address.
    upstream: (Profile, HeaderName),
    site: Option<String>,
    visitors: Visitors,
    clock: Clock,
    explain: bool,
    timings: Timings,
}

/// One line in progress: its current stage, or why nothing of it leaves.
struct Line<T> {
    number: usize,
    id: Option<Box<RawValue>>,
    walk: Result<T, Why>,
}

/// Why nothing of a line leaves. Contains no data of the line.
enum Why {
    Unreadable(String),
    Ended(String),
}

impl From<relay_event::Outcome> for Why {
    fn from(outcome: relay_event::Outcome) -> Self {
        Self::Ended(match outcome.reason() {
            "" => outcome.label().to_owned(),
            reason => format!("{}/{reason}", outcome.label()),
        })
    }
}

impl<T> Line<T> {
    /// Passes the line through the next stage.
    fn then<U>(self, room: impl FnOnce(T) -> Result<U, Why>) -> Line<U> {
        Line {
            number: self.number,
            id: self.id,
            walk: self.walk.and_then(room),
        }
    }
}

/// An event that the policy may see.
struct Entered {
    event: Event,
    visible: Visible,
    site: String,
    sender: Sender,
    plan: SitePlan,
}

impl Scrubber {
    /// Scrubs all lines. Runs each stage on a batch at a time, because the stage's code then stays in the processor's
    /// cache. A batch also ends when the input pauses, so that an interactive user gets an answer.
    fn scrub_all(&self, mut input: BufReader<impl Read>) -> anyhow::Result<Tally> {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
        let mut tally = Tally::default();
        let mut read = 0;
        loop {
            let mut batch = Vec::with_capacity(BATCH_LINES);
            while batch.len() < BATCH_LINES && (batch.is_empty() || !input.buffer().is_empty()) {
                match self.read(&mut input, &mut read)? {
                    Some(line) => batch.push(line),
                    None => break,
                }
            }
            if batch.is_empty() {
                break;
            }
            for line in self.walk(batch) {
                self.write(line, &mut out, &mut tally)?;
            }
            if input.buffer().is_empty() {
                out.flush()?;
            }
        }
        out.flush()?;
        Ok(tally)
    }

    /// Reads the next line that is not blank and parses it. `None` at the end.
    fn read(&self, input: &mut impl BufRead, number: &mut usize) -> io::Result<Option<Line<Entered>>> {
        let mut line = Vec::with_capacity(1024);
        while line.trim_ascii().is_empty() {
            line.clear();
            if input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            *number += 1;
        }
        let number = *number;
        if !line.ends_with(b"\n") && line.len() as u64 == LINE_BYTES_MAX {
            input.skip_until(b'\n')?;
            let why = Why::Unreadable(format!("longer than {LINE_BYTES_MAX} bytes"));
            return Ok(Some(Line {
                number,
                id: None,
                walk: Err(why),
            }));
        }
        let row: Result<Row<'_>, _> = serde_json::from_slice(&line);
        let id = row.as_ref().ok().and_then(|row| row.id).map(ToOwned::to_owned);
        let walk = match row {
            Ok(row) => self.enter(&row),
            // serde's message may quote the line; its position cannot.
            Err(error) => Err(Why::Unreadable(format!(
                "not a valid input line, see column {}",
                error.column()
            ))),
        };
        Ok(Some(Line { number, id, walk }))
    }

    /// Runs the parser and the gate.
    fn enter(&self, row: &Row<'_>) -> Result<Entered, Why> {
        use relay_event::Outcome::{UnknownEvent, UnknownSite};
        let event = wire::parse_plausible(row.event.get().as_bytes());
        let event = event.map_err(|why| Why::Ended(why.to_string()))?;
        let site = self.site.clone().unwrap_or_else(|| event.site.clone());
        let sender = self.sender(row, &site)?;
        let plan = self.rules.plan_of(&site).ok_or(UnknownSite)?.clone();
        plan.category_of(&event.name).ok_or(UnknownEvent)?;
        if let Some(outcome) = self.upstream.0.leaves_out(&event.name) {
            return Err(outcome.into());
        }
        Ok(Entered {
            visible: Visible::of(&event, &plan),
            event,
            site,
            sender,
            plan,
        })
    }

    /// Runs a batch through sandbox and guard.
    fn walk(&self, batch: Vec<Line<Entered>>) -> Vec<Line<guard::Scrubbed>> {
        let events = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        self.timings
            .events
            .set(self.timings.events.get().saturating_add(events));
        let started = Instant::now();
        let propose = |entered: Entered| {
            let proposed = self.sandbox.scrub(&entered.plan, &entered.visible)?;
            Ok((entered, proposed))
        };
        let proposed: Vec<_> = batch.into_iter().map(|line| line.then(propose)).collect();
        Timings::add(&self.timings.policy, started);
        let started = Instant::now();
        let prove = |line: Line<(Entered, Visible)>| {
            let number = line.number;
            line.then(|(entered, proposed)| {
                let Entered {
                    event,
                    visible,
                    site,
                    sender,
                    plan,
                } = &entered;
                let scrubbed = guard::prove(visible, event, site, sender, proposed, plan)?;
                if self.explain {
                    tell(number, event, &explain::fates(event, &scrubbed, plan), &scrubbed);
                }
                Ok(scrubbed)
            })
        };
        let proved = proposed.into_iter().map(prove).collect();
        Timings::add(&self.timings.guard, started);
        proved
    }

    /// Writes a line's answer and counts it.
    fn write(&self, line: Line<guard::Scrubbed>, out: &mut impl Write, tally: &mut Tally) -> io::Result<()> {
        let output = match line.walk {
            Ok(scrubbed) => {
                tally.leave += 1;
                let (profile, address_header) = self.upstream.clone();
                Some(Request(profile, address_header, scrubbed))
            }
            Err(why) => {
                let (reason, text, is_read) = match why {
                    Why::Ended(why) => (why.clone(), why, true),
                    Why::Unreadable(why) => ("unreadable".to_owned(), why, false),
                };
                if self.explain || !is_read {
                    complain!("line {}: dropped: {text}", line.number);
                }
                *tally.ended.entry(reason).or_default() += 1;
                None
            }
        };
        serde_json::to_writer(&mut *out, &Answer { id: line.id, output })?;
        out.write_all(b"\n")
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
        let now = self.clock.now();
        let values = DayValues::default();
        let (visitor, sender) = gate::sender(site, client, agent, values, &self.visitors, now)?;
        self.visitors.note(visitor, now);
        Ok(sender)
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
    complain!("{text}");
}
