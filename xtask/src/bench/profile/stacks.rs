//! Samples as `perf script` prints them, summed up by room and by function; and strace's counts.

use std::collections::BTreeMap;

/// The room of the policy, whose compiled code has no symbols.
pub(super) const SANDBOX: &str = "sandbox: host and guest";

/// Whose frames belong to which room. The frame closest to the running one that is listed names the room, so that
/// what a room lets a library do is counted for the room that asked last.
const ROOMS: [(&str, &str); 26] = [
    (
        "feedback_relay::guard::Scrubbed::from_bytes",
        "decoding stored events",
    ),
    ("feedback_relay::guard::_::", "decoding stored events"),
    ("feedback_relay::sandbox", SANDBOX),
    ("wasmtime", SANDBOX),
    ("feedback_relay::guard", "guard"),
    ("relay_event::scrub", "guard"),
    ("relay_event::wire", "reading the JSON"),
    ("feedback_relay::visitor", "visitor, User-Agent"),
    ("relay_event::user_agent", "visitor, User-Agent"),
    ("feedback_relay::metrics", "metrics"),
    ("prometheus_client", "metrics"),
    ("feedback_relay::store", "SQLite"),
    ("rusqlite", "SQLite"),
    ("sqlite3", "SQLite"),
    ("feedback_relay::spool", "spool"),
    ("feedback_relay::forward", "forwarding"),
    ("reqwest", "forwarding"),
    ("hyper::client", "forwarding"),
    ("hyper_util::client", "forwarding"),
    ("feedback_relay::corridor", "corridor, gate"),
    ("feedback_relay::gate", "corridor, gate"),
    ("feedback_relay::http", "HTTP: connections in and out"),
    ("hyper", "HTTP: connections in and out"),
    ("axum", "HTTP: connections in and out"),
    ("tokio::runtime", "tokio: scheduling, epoll, wake-ups"),
    ("mio::", "tokio: scheduling, epoll, wake-ups"),
];

/// Samples, by what they fell on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Samples {
    all: usize,
    /// By room: in user mode and in the kernel.
    rooms: BTreeMap<String, (usize, usize)>,
    /// By the function that ran.
    own: BTreeMap<String, usize>,
    /// By each function that was on the stack.
    inclusive: BTreeMap<String, usize>,
}

/// Reads what `perf script --fields comm,ip,sym` prints: a line with the thread's name, a line for each frame from
/// the innermost outwards, an empty line.
pub(super) fn read(text: &str) -> Samples {
    let mut samples = Samples::default();
    for sample in text.split("\n\n") {
        let mut lines = sample.lines().filter(|line| !line.trim().is_empty());
        let Some(thread) = lines.next() else { continue };
        let frames: Vec<(bool, &str)> = lines.filter_map(frame).collect();
        let Some((in_kernel, innermost)) = frames.first() else {
            continue;
        };
        samples.all += 1;
        let room = samples.rooms.entry(room(thread.trim(), &frames)).or_default();
        *(if *in_kernel { &mut room.1 } else { &mut room.0 }) += 1;
        *samples.own.entry((*innermost).to_owned()).or_default() += 1;
        let mut names: Vec<&str> = frames.iter().map(|(_, name)| *name).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            *samples.inclusive.entry(name.to_owned()).or_default() += 1;
        }
    }
    samples
}

/// Whether a frame is the kernel's, and its function without offset and hash.
fn frame(line: &str) -> Option<(bool, &str)> {
    let (address, name) = line.trim().split_once(' ')?;
    let in_kernel = address.len() == 16 && address.starts_with('f');
    let name = name.trim();
    let name = name.split_once("+0x").map_or(name, |(name, _)| name);
    let hash = name
        .rsplit_once("::h")
        .filter(|(_, hash)| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
    Some((in_kernel, hash.map_or(name, |(name, _)| name)))
}

fn room(thread: &str, frames: &[(bool, &str)]) -> String {
    // Compiled guest code has no symbols, and no stack that could be followed further.
    if frames[0] == (false, "[unknown]") {
        return SANDBOX.to_owned();
    }
    let own = frames.iter().filter(|(in_kernel, _)| !in_kernel);
    match room_of(own.map(|(_, name)| *name)) {
        Some(room) => room.to_owned(),
        None => format!("other, in thread {thread}"),
    }
}

/// The room of a function and those that called it, from the innermost outwards.
pub(super) fn room_of<'a>(mut frames: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    let of = |name: &str| ROOMS.iter().find(|(part, _)| name.contains(part));
    frames.find_map(of).map(|(_, room)| *room)
}

impl Samples {
    /// The rooms, then the functions by their own time and by all that they called, in microseconds per event.
    pub(super) fn lines(&self, us_per_event: f64, top: usize) -> Vec<String> {
        let us = |samples: usize| samples as f64 / self.all.max(1) as f64 * us_per_event;
        let mut lines = vec![
            format!("{} samples; µs per event", self.all),
            "     all    user  kernel  room".to_owned(),
        ];
        let mut rooms: Vec<_> = self.rooms.iter().collect();
        rooms.sort_by_key(|(_, (user, kernel))| std::cmp::Reverse(user + kernel));
        lines.extend(rooms.iter().map(|(room, (user, kernel))| {
            format!(
                "{:>8.2}{:>8.2}{:>8.2}  {room}",
                us(user + kernel),
                us(*user),
                us(*kernel)
            )
        }));
        for (title, functions) in [("own", &self.own), ("inclusive", &self.inclusive)] {
            lines.push(format!("\n{title:>8}  function"));
            let mut functions: Vec<_> = functions.iter().collect();
            functions.sort_by_key(|(_, samples)| std::cmp::Reverse(**samples));
            let shown = functions.iter().take(top);
            lines.extend(shown.map(|(name, samples)| format!("{:>8.2}  {name}", us(**samples))));
        }
        lines
    }
}

/// Calls and how often they were made, from strace's summary, the most frequent first.
pub(super) fn calls(text: &str) -> Vec<(String, u64)> {
    let mut calls: Vec<(String, u64)> = text
        .lines()
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            // % time, seconds, usecs/call, calls, sometimes errors, syscall
            let (first, call) = (columns.first()?, columns.last()?);
            first.parse::<f64>().ok()?;
            Some(((*call).to_owned(), columns.get(3)?.parse().ok()?))
        })
        .collect();
    calls.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    calls
}

#[cfg(test)]
mod tests {
    use super::{calls, read};

    #[test]
    fn a_sample_belongs_to_the_closest_room_that_is_listed() {
        let check = |stack: &str, room: &str, expected: (usize, usize)| {
            let samples = read(stack);
            assert_eq!(samples.rooms.get(room), Some(&expected), "{stack}\n{samples:?}");
        };
        let user = "tokio-rt-worker \n\t    5590 memcpy+0x10\n\t    5591 feedback_relay::guard::prove::h0123456789abcdef+0x4\n\
                    \t    5592 feedback_relay::corridor::walk\n\n";
        check(user, "guard", (1, 0));
        let kernel = "store \n\tffffffff81000000 do_fsync\n\t    5591 sqlite3VdbeExec\n\n";
        check(kernel, "SQLite", (0, 1));
        check(
            "tokio-rt-worker \n\t 7f00 [unknown]\n\n",
            "sandbox: host and guest",
            (1, 0),
        );
        check("store \n\t 5590 memcpy\n\n", "other, in thread store", (1, 0));
        check(&format!("{user}{user}"), "guard", (2, 0));
    }

    #[test]
    fn a_function_counts_once_in_a_stack_and_loses_offset_and_hash() {
        let samples =
            read("a \n\t 1 f::h0123456789abcdef+0x1\n\t 2 g::hash+0x2\n\t 3 f::h0123456789abcdef+0x9\n\n");
        assert_eq!(samples.own.get("f"), Some(&1));
        assert_eq!(samples.inclusive.get("f"), Some(&1));
        assert_eq!(samples.inclusive.get("g::hash"), Some(&1));
        let lines = samples.lines(40.0, 1);
        assert!(lines.iter().any(|line| line == "   40.00  f"), "{lines:?}");
    }

    #[test]
    fn nothing_was_sampled() {
        assert_eq!(read("").lines(40.0, 1).len(), 4);
    }

    #[test]
    fn calls_are_counted_with_and_without_errors() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n \
                    60.00    0.000600           1       600           write\n \
                    40.00    0.000400           1       900        12 futex\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.001000           1      1500        12 total\n";
        let expected = [("total", 1500), ("futex", 900), ("write", 600)];
        assert_eq!(calls(text), expected.map(|(call, n)| (call.to_owned(), n)));
        assert!(calls("").is_empty());
    }
}
