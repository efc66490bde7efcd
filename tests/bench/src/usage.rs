//! Processor time, memory and open files of processes, and core affinity.

use anyhow::{Context as _, Result};
use procfs::process::{ClearRefs, Process, all_processes};
use procfs::{Current as _, LoadAverage};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
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

/// The usage of a process and its children.
pub(crate) fn usage(pid: u32) -> Result<Usage> {
    let mut sum = Usage::default();
    for process in family(pid)? {
        let (stat, status) = (process.stat()?, process.status()?);
        sum.cpu_s += (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
        sum.resident_kib += status.vmrss.context("no VmRSS")?;
        sum.peak_kib += status.vmhwm.context("no VmHWM")?;
        sum.files += process.fd_count()?;
    }
    Ok(sum)
}

/// Resets the peak of resident memory to the current value.
pub(crate) fn reset_peak(pid: u32) -> Result<()> {
    for process in family(pid)? {
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

/// A process, and its children.
fn family(pid: u32) -> Result<Vec<Process>> {
    let id = i32::try_from(pid)?;
    // A process may end between the listing and the reading.
    let is_child = |process: &Process| process.stat().is_ok_and(|stat| stat.ppid == id);
    let children = all_processes()?.flatten().filter(is_child);
    Ok(std::iter::once(Process::new(id)?).chain(children).collect())
}

#[cfg(test)]
mod tests {
    use super::{own_time, usage};

    #[test]
    fn this_process_uses_memory_files_and_time() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.resident_kib > 0 && usage.peak_kib >= usage.resident_kib && usage.files > 0);
        assert!(!own_time().unwrap().is_zero());
    }
}
