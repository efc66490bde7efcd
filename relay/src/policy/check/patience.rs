//! Bounds a whole check: a policy that takes milliseconds per event fails the check instead of running for minutes.

use crate::clock::thread_cpu_time;
use std::cell::Cell;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Processor time of a check, all plans together. The built-in policy takes 0.9 s for one plan in a debug build. At
/// the limit the policy is not usable: [`Impatient::Slow`].
pub const CPU_MAX: Duration = Duration::from_secs(20);
/// Wall-clock time of a check, however busy the machine is. At the limit there is no verdict: [`Impatient::Busy`].
pub const WALL_MAX: Duration = Duration::from_secs(120);

/// Why a check was cut short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impatient {
    /// The policy is slow.
    #[error(
        "the policy is too slow: it answered {0} calls within {limit} s of processor time, {1} ms each",
        limit = CPU_MAX.as_secs()
    )]
    Slow(usize, String),
    /// The machine is busy. Not the policy's fault.
    #[error("the policy could not be checked to the end, because the machine is too busy")]
    Busy,
    /// The relay is stopping.
    #[error("the policy was not checked, because the relay is stopping")]
    Stopped,
}

/// The time limits of a check. Must stay on the thread that created it.
#[derive(Debug)]
pub struct Patience {
    cpu_max: Duration,
    cpu: Duration,
    started: Instant,
    calls: Cell<usize>,
    stop: CancellationToken,
}

impl Patience {
    /// Starts the limits now; they also end when the relay stops.
    pub fn begin(stop: CancellationToken) -> Self {
        Self::of(CPU_MAX, stop)
    }

    pub(super) fn of(cpu_max: Duration, stop: CancellationToken) -> Self {
        Self {
            cpu_max,
            cpu: thread_cpu_time(),
            started: Instant::now(),
            calls: Cell::new(0),
            stop,
        }
    }

    /// Whether to continue after one more call.
    ///
    /// # Errors
    /// Why the check must stop.
    pub fn call(&self) -> Result<(), Impatient> {
        let calls = self.calls.get() + 1;
        self.calls.set(calls);
        let cpu = thread_cpu_time().saturating_sub(self.cpu);
        match () {
            () if self.stop.is_cancelled() => Err(Impatient::Stopped),
            () if cpu > self.cpu_max => {
                let each = cpu.as_secs_f64() * 1e3 / calls as f64;
                Err(Impatient::Slow(calls, format!("{each:.1}")))
            }
            () if self.started.elapsed() > WALL_MAX => Err(Impatient::Busy),
            () => Ok(()),
        }
    }
}
