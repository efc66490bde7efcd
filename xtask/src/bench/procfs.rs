//! What a process has used, as Linux tells it in /proc: processor time, memory, open files.

use anyhow::{Context as _, Result};
use std::fs;
use std::time::Duration;

/// What processes use, all of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// Time in user mode and in the kernel, all threads, in seconds.
    pub(super) user_s: f64,
    pub(super) system_s: f64,
    /// Resident memory now, and the most since the peak was last reset, in KiB. Pages that two processes share
    /// count twice.
    pub(super) resident_kib: u64,
    pub(super) peak_kib: u64,
    /// Open file descriptors.
    pub(super) files: usize,
    /// Context switches, of the threads that still run: given up by themselves, and taken away.
    pub(super) yielded: u64,
    pub(super) preempted: u64,
}

impl Usage {
    /// Processor time in seconds.
    pub(super) fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }
}

/// What a process and its children use.
pub(super) fn usage(pid: u32) -> Result<Usage> {
    let tick = 1.0 / rustix::param::clock_ticks_per_second() as f64;
    let mut sum = Usage::default();
    for pid in family(pid)? {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let stat = parse_stat(&read("stat")?).context("/proc/PID/stat is not as expected")?;
        let status = read("status")?;
        sum.user_s += stat.user_ticks as f64 * tick;
        sum.system_s += stat.system_ticks as f64 * tick;
        sum.resident_kib += status_field(&status, "VmRSS").context("no VmRSS")?;
        sum.peak_kib += status_field(&status, "VmHWM").context("no VmHWM")?;
        sum.files += fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end between the listing and the reading.
            let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
            sum.yielded += status_field(&status, "voluntary_ctxt_switches").unwrap_or_default();
            sum.preempted += status_field(&status, "nonvoluntary_ctxt_switches").unwrap_or_default();
        }
    }
    Ok(sum)
}

/// Lets the peak of resident memory begin anew from what is resident now.
pub(super) fn reset_peak(pid: u32) -> Result<()> {
    for pid in family(pid)? {
        fs::write(format!("/proc/{pid}/clear_refs"), "5").context("cannot reset the memory's peak")?;
    }
    Ok(())
}

/// Processes that ran or waited for a core in the last minute, on average.
pub(super) fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let first = text.split(' ').next().and_then(|first| first.parse().ok());
    first.context("/proc/loadavg is not as expected")
}

/// Processor time of a process with one thread, to the nanosecond.
pub(super) fn thread_time(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Ok(Duration::from_nanos(nanoseconds.context("no time in schedstat")?))
}

/// A process and its children.
pub(super) fn family(pid: u32) -> Result<Vec<u32>> {
    let mut all = vec![pid];
    for entry in fs::read_dir("/proc")? {
        let Some(other) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end between the listing and the reading.
        let stat = fs::read_to_string(format!("/proc/{other}/stat")).unwrap_or_default();
        if parse_stat(&stat).is_some_and(|stat| stat.parent == pid) {
            all.push(other);
        }
    }
    Ok(all)
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    user_ticks: u64,
    system_ticks: u64,
}

/// Reads what proc_pid_stat(5) calls fields 4, 14 and 15. A program's name may hold spaces and brackets.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |nth: usize| fields.get(nth - 3)?.parse().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        user_ticks: number(14)?,
        system_ticks: number(15)?,
    })
}

/// A number of /proc/PID/status, in KiB where it is an amount of memory.
fn status_field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Stat, parse_stat, status_field, usage};

    #[test]
    fn times_and_parent_are_read_whatever_the_program_is_called() {
        let check = |name: &str, rest: &str, expected: Option<(u32, u64, u64)>| {
            let expected = expected.map(|(parent, user_ticks, system_ticks)| Stat {
                parent,
                user_ticks,
                system_ticks,
            });
            assert_eq!(
                parse_stat(&format!("42 ({name}) {rest}")),
                expected,
                "{name} {rest}"
            );
        };
        let whole = "S 7 42 42 0 -1 4194304 1 2 3 4 150 75 8 9 20 0 3 0 100 1000 50";
        check("relay", whole, Some((7, 150, 75)));
        check("tokio-rt-worker", whole, Some((7, 150, 75)));
        check("a) b (c", whole, Some((7, 150, 75)));
        check("relay", "S 7 42 42 0 -1 4194304 1 2 3 4 150", None);
        check("relay", "S x 42 42 0 -1 4194304 1 2 3 4 150 75", None);
        check("relay", "", None);
    }

    #[test]
    fn a_field_of_status_is_found_by_its_whole_name() {
        let text = "Name:\trelay\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\nvoluntary_ctxt_switches:\t9\n\
                    nonvoluntary_ctxt_switches:\t4\n";
        let check = |name, expected| assert_eq!(status_field(text, name), expected, "{name}");
        check("VmRSS", Some(10240));
        check("VmHWM", Some(20480));
        check("voluntary_ctxt_switches", Some(9));
        check("nonvoluntary_ctxt_switches", Some(4));
        check("VmR", None);
        check("Name", None);
        check("VmSwap", None);
    }

    #[test]
    fn this_process_uses_memory_and_files() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.resident_kib > 0 && usage.peak_kib >= usage.resident_kib && usage.files > 0);
    }
}
