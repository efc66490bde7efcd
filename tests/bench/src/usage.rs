//! Processor time, memory, awakenings and open files of processes, and core affinity.

use anyhow::{Context as _, Result};
use procfs::process::{ClearRefs, Process, all_processes};
use procfs::{Current as _, LoadAverage};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::time::Duration;

/// The core of the process under test.
pub(crate) const MIDDLE_CORE: usize = 0;
/// The core of generator and sink.
pub(crate) const ENDS_CORE: usize = 1;

/// Pins this thread, and the threads and processes that it starts afterwards, to one core.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("cannot choose core {core}"))
}

/// Lets this thread, and what it starts afterwards, run on every core.
pub(crate) fn pin_to_all() -> Result<()> {
    let mut cores = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|core| cores.set(core));
    sched_setaffinity(None, &cores).context("cannot choose all cores")
}

/// Allows this process as many open files as the system permits.
pub(crate) fn allow_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}

/// Sums over a process and its children.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Time in user mode and in the kernel, all threads, in seconds.
    pub(crate) cpu_s: f64,
    /// Resident memory now, and the most since the peak was last reset, in KiB. Pages that two processes share
    /// count twice.
    pub(crate) resident_kib: u64,
    pub(crate) peak_kib: u64,
    /// Open file descriptors.
    pub(crate) files: usize,
}

impl Usage {
    fn add(&mut self, process: &Process) -> Result<()> {
        let (stat, status) = (process.stat()?, process.status()?);
        let files = process.fd_count()?;
        let (resident, peak) = (
            status.vmrss.context("no VmRSS")?,
            status.vmhwm.context("no VmHWM")?,
        );
        self.cpu_s += (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
        self.resident_kib += resident;
        self.peak_kib += peak;
        self.files += files;
        Ok(())
    }
}

/// The usage of a process and its children.
pub(crate) fn usage(pid: u32) -> Result<Usage> {
    let mut sum = Usage::default();
    sum.add(&process(pid)?)?;
    for child in children(pid)? {
        // It may have ended meanwhile.
        let _ = sum.add(&child);
    }
    Ok(sum)
}

/// Resident memory of a process and its children now, in KiB. Pages that they share count once.
pub(crate) fn together_kib(pid: u32) -> Result<u64> {
    let share = |process: &Process| -> Result<u64> {
        let maps = process.smaps_rollup()?.memory_map_rollup;
        let bytes = maps
            .iter()
            .filter_map(|map| map.extension.map.get("Pss"))
            .sum::<u64>();
        Ok(bytes / 1024)
    };
    // A child may have ended meanwhile.
    let children = children(pid)?;
    Ok(share(&process(pid)?)? + children.iter().flat_map(share).sum::<u64>())
}

/// How often each thread of a process and its children went to sleep, and therefore was woken, since its start.
#[derive(Debug, PartialEq)]
pub(crate) struct Awakenings(BTreeMap<i32, u64>);

impl Awakenings {
    /// The counts of all threads there are.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut threads = BTreeMap::new();
        for process in std::iter::once(process(pid)?).chain(children(pid)?) {
            let tasks = process.tasks()?.flatten();
            threads.extend(
                tasks.filter_map(|task| Some((task.tid, task.status().ok()?.voluntary_ctxt_switches?))),
            );
        }
        Ok(Self(threads))
    }

    /// Awakenings of all threads since an earlier count. A thread that started later counts from its start. What one did that
    /// has ended meanwhile is unknown and counts as none.
    pub(crate) fn since(&self, before: &Self) -> u64 {
        let earlier = |thread| before.0.get(thread).copied().unwrap_or(0);
        // A later thread may have the number of one that has ended.
        self.0
            .iter()
            .map(|(thread, now)| now.saturating_sub(earlier(thread)))
            .sum()
    }
}

/// Resets the peak of resident memory to the current value.
pub(crate) fn reset_peak(pid: u32) -> Result<()> {
    for process in std::iter::once(process(pid)?).chain(children(pid)?) {
        process
            .clear_refs(ClearRefs::PeakRSS)
            .context("cannot reset the memory's peak")?;
    }
    Ok(())
}

/// The load average over one minute: processes that run or wait for a core.
pub(crate) fn load_average() -> Result<f32> {
    Ok(LoadAverage::current()?.one)
}

/// Processor time of this process: of generator and sink, because nothing else in it works while a stream is sent.
pub(crate) fn own_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::ProcessCPUTime).try_into()?)
}

fn process(pid: u32) -> Result<Process> {
    Ok(Process::new(i32::try_from(pid)?)?)
}

fn children(pid: u32) -> Result<Vec<Process>> {
    let id = i32::try_from(pid)?;
    // A process may end between the listing and the reading.
    let is_child = |process: &Process| process.stat().is_ok_and(|stat| stat.ppid == id);
    Ok(all_processes()?.flatten().filter(is_child).collect())
}

#[cfg(test)]
mod tests {
    use super::{Awakenings, allow_files, own_time, together_kib, usage};
    use std::time::Duration;

    #[test]
    fn this_process_uses_memory_files_and_time() {
        let id = std::process::id();
        let before = usage(id).unwrap();
        assert!(before.resident_kib > 0 && before.peak_kib >= before.resident_kib && before.files > 0);
        let together = together_kib(id).unwrap();
        // Other tests run in this process and allocate: the peak is read after the value that it bounds.
        let after = usage(id).unwrap();
        assert!(together > 0 && together <= after.peak_kib, "{together} {after:?}");
        assert!(!own_time().unwrap().is_zero());
        allow_files().unwrap();
    }

    #[test]
    fn a_thread_that_sleeps_is_woken() {
        let before = Awakenings::of(std::process::id()).unwrap();
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let _ = gone.recv_timeout(Duration::from_millis(1));
        drop(go);
        assert!(Awakenings::of(std::process::id()).unwrap().since(&before) > 0);
    }

    #[test]
    fn awakenings_are_counted_for_each_thread() {
        let check = |before: &[(i32, u64)], after: &[(i32, u64)], want: u64| {
            let [before, after] = [before, after].map(|counts| Awakenings(counts.iter().copied().collect()));
            assert_eq!(after.since(&before), want, "{before:?} {after:?}");
        };
        check(&[(1, 5), (2, 7)], &[(1, 5), (2, 7)], 0);
        check(&[(1, 5), (2, 7)], &[(1, 6), (2, 9)], 3);
        check(&[(1, 5), (2, 900)], &[(1, 8)], 3);
        check(&[(1, 5)], &[(1, 6), (3, 4)], 5);
        check(&[(1, 5), (2, 900)], &[(1, 6), (2, 4)], 1);
    }
}
