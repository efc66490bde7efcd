//! The relay under valgrind's callgrind: how many instructions an event takes, by room and by function.

use super::super::contender::Contender;
use super::super::ends::{Sink, Stream};
use super::super::folder;
use super::super::middle::{Programs, Tool};
use super::Profile;
use super::stacks::{SANDBOX, room_of};
use crate::step::{self, say};
use crate::tools;
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Requests before the count, so that what is done once is done.
const WARM_UP: u32 = 200;
/// How long the requests may take. A run that has not sent them by then fails, as less was counted.
const SECONDS_MAX: f64 = 600.0;
/// How many callers tell functions apart: enough to find the room for which a library works.
const CALLERS: u32 = 12;

/// What is installed once for all that is counted.
pub(super) fn require() -> Result<()> {
    tools::debian("valgrind", "valgrind")?;
    tools::debian("callgrind_control", "valgrind")?;
    Ok(())
}

/// Counts the instructions of one contender. One connection sends one request after the other, so that what a group
/// shares under load is paid by each event; the count does not hang on the moment then.
pub(super) fn one(profile: &Profile, programs: &Programs, sink: &Sink, contender: Contender) -> Result<()> {
    let out = folder().join("callgrind.out");
    let programs = programs.under(tool(&out)?);
    let running = programs.start(contender.middle(), sink.address)?;
    let mut stream = Stream::busy(contender.batches(), 1, SECONDS_MAX);
    let mut send = |requests| {
        stream.requests = Some(requests);
        sink.send(running.address, &stream.next(), contender.arrivals())
    };
    send(WARM_UP)?;
    let control = |words: &[&str]| {
        let mut command = Command::new("callgrind_control");
        step::output(command.args(words).arg(running.process.id().to_string()))
    };
    control(&["--instr=on"])?;
    let events = send(profile.requests)?.events;
    control(&["--dump"])?;
    let dump = out.with_extension("out.1");
    let text = fs::read_to_string(&dump).with_context(|| format!("no {}", dump.display()))?;
    fs::remove_file(&dump)?;
    say(&format!("\n# {}\n", contender.name()));
    for line in read(&text).lines(events, profile.top) {
        say(&line);
    }
    Ok(())
}

/// Instructions are counted only when that is switched on. Callgrind follows no program that another begins, and the
/// relay begins itself anew to set up its heap, unless the environment has done that.
fn tool(out: &Path) -> Result<Tool> {
    let out = out.to_str().context("the target folder's name is not UTF-8")?;
    Ok(Tool {
        program: tools::debian("valgrind", "valgrind")?,
        arguments: vec![
            "--tool=callgrind".to_owned(),
            "--instr-atstart=no".to_owned(),
            "--dump-line=no".to_owned(),
            format!("--separate-callers={CALLERS}"),
            format!("--callgrind-out-file={out}"),
        ],
        environment: vec![("MALLOC_ARENA_MAX", "2"), ("MALLOC_TRIM_THRESHOLD_", "1000000")],
    })
}

/// Instructions, by whose they were.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    all: u64,
    rooms: BTreeMap<&'static str, u64>,
    own: BTreeMap<String, u64>,
}

/// Reads callgrind's output: `fn=(number) name'caller'caller`, the name where the number is new, then the costs of that
/// function, a line each, with the instructions in the second column. The line after `calls=` is the cost of somebody
/// called, who has lines of their own.
fn read(text: &str) -> Counts {
    let (mut counts, mut names) = (Counts::default(), HashMap::new());
    let (mut current, mut is_of_called) = ("", false);
    for line in text.lines() {
        if let Some((is_own, compressed)) = line
            .strip_prefix("fn=")
            .map(|rest| (true, rest))
            .or_else(|| line.strip_prefix("cfn=").map(|rest| (false, rest)))
        {
            let (number, name) = compressed.split_once(' ').unwrap_or((compressed, ""));
            let known = *names.entry(number).or_insert(name);
            if is_own {
                current = known;
            }
        } else if line.starts_with("calls=") {
            is_of_called = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
            && !std::mem::take(&mut is_of_called)
        {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok());
            counts.add(current, cost.unwrap_or_default());
        }
    }
    counts
}

impl Counts {
    fn add(&mut self, name: &str, cost: u64) {
        let function = name.split('\'').next().unwrap_or_default();
        // What wasmtime compiled has no name but its address, or none at all.
        let is_compiled = function.starts_with("0x") || function == "???";
        let room = match is_compiled {
            true => SANDBOX,
            false => room_of(name.split('\'')).unwrap_or("other"),
        };
        let function = if is_compiled { "compiled policy" } else { function };
        self.all += cost;
        *self.rooms.entry(room).or_default() += cost;
        *self.own.entry(function.to_owned()).or_default() += cost;
    }

    /// The rooms, then the functions, in instructions per event.
    fn lines(&self, events: f64, top: usize) -> Vec<String> {
        let each = |count: u64| count as f64 / events;
        let mut lines = vec![
            format!("{:.0} instructions per event in user mode", each(self.all)),
            "instr.  room".to_owned(),
        ];
        let mut rooms: Vec<_> = self.rooms.iter().collect();
        rooms.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        lines.extend(
            rooms
                .iter()
                .map(|(room, count)| format!("{:>6.0}  {room}", each(**count))),
        );
        lines.push("\ninstr.  function".to_owned());
        let mut functions: Vec<_> = self.own.iter().collect();
        functions.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let shown = functions.iter().take(top);
        lines.extend(shown.map(|(name, count)| format!("{:>6.0}  {name}", each(**count))));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::{SANDBOX, read};

    #[test]
    fn instructions_belong_to_the_closest_room_among_the_callers() {
        let check = |text: &str, room: &str, function: &str, expected: u64| {
            let counts = read(text);
            assert_eq!(counts.rooms.get(room), Some(&expected), "{text}\n{counts:?}");
            assert_eq!(counts.own.get(function), Some(&expected), "{text}\n{counts:?}");
            assert_eq!(counts.all, expected, "{text}");
        };
        check(
            "events: Ir\nfn=(1) memcpy'feedback_relay::guard::prove'feedback_relay::corridor::walk\n0 7\n+2 3\n",
            "guard",
            "memcpy",
            10,
        );
        check("fn=(1) sqlite3Step\n* 4\n", "SQLite", "sqlite3Step", 4);
        check("fn=(1) memcpy\n0 4\n", "other", "memcpy", 4);
        check("fn=(1) 0x00000000053f2a40\n0 4\n", SANDBOX, "compiled policy", 4);
        check("fn=(1) ???'wasmtime::call\n0 4\n", SANDBOX, "compiled policy", 4);
    }

    #[test]
    fn a_name_is_told_once_and_what_is_called_counts_for_itself() {
        let counts = read(
            "fn=(1) sqlite3Step\n0 5\ncfn=(2) memcpy'sqlite3Step\ncalls=1 0\n0 100\n0 1\n\nfn=(2)\n0 100\n\nfn=(1)\n0 2\n",
        );
        assert_eq!((counts.all, counts.rooms["SQLite"]), (108, 108));
        assert_eq!((counts.own["sqlite3Step"], counts.own["memcpy"]), (8, 100));
        let lines = counts.lines(4.0, 1);
        assert!(
            lines.contains(&"27 instructions per event in user mode".to_owned()),
            "{lines:?}"
        );
        assert!(lines.contains(&"    25  memcpy".to_owned()), "{lines:?}");
        assert!(
            !lines.iter().any(|line| line.ends_with("sqlite3Step")),
            "{lines:?}"
        );
    }

    #[test]
    fn nothing_was_counted() {
        assert_eq!(read("").all, 0);
    }
}
