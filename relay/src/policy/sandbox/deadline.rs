//! Deadlines: how long a guest may run, whatever instructions it chooses.
//!
//! Fuel counts instructions, and some cost little fuel and much time: `resource.new`, `memory.grow 0`, `table.fill`.
//! So a guest also has a budget of processor time. A [`Ticker`] advances the engine's epoch while a guest runs, and
//! at each tick the guest's thread checks its deadline.

use crate::clock::thread_cpu_time;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use wasmtime::Engine;

/// How often a running guest checks its deadline. A tick costs the relay about 10 µs, so at most 0.5 % of a
/// processor, and a guest exceeds its deadline by at most this much.
const TICK: Duration = Duration::from_millis(2);

/// Wall-clock time of a budget, as a multiple of its processor time. A guest that gets less than a twentieth of a
/// processor is cut off here, and that is not the policy's fault.
const WALL_FACTOR: u32 = 20;

/// The processor time that guests may use for one request, or for one start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget(pub(super) Duration);

/// The exceeded limit of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Overdue {
    /// The guest used too much processor time.
    #[error("the guest exceeded its limit of processor time")]
    Cpu,
    /// The machine gave the guest too little of a processor.
    #[error("the guest did not end in time, because the machine is busy")]
    Wall,
}

/// The time at which a guest must stop. Valid only on the thread that created it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    began: Instant,
    began_cpu: Duration,
    budget: Budget,
}

impl Deadline {
    fn of(budget: Budget) -> Self {
        Self {
            began: Instant::now(),
            began_cpu: thread_cpu_time(),
            budget,
        }
    }

    /// Whether the time is up.
    ///
    /// # Errors
    /// The exceeded limit.
    pub(super) fn check(&self) -> Result<(), Overdue> {
        let Budget(cpu) = self.budget;
        // A thread uses no more processor time than wall-clock time, and reading the latter costs no system call.
        let wall = self.began.elapsed();
        if wall < cpu {
            return Ok(());
        }
        if thread_cpu_time().saturating_sub(self.began_cpu) >= cpu {
            return Err(Overdue::Cpu);
        }
        if wall >= cpu * WALL_FACTOR {
            return Err(Overdue::Wall);
        }
        Ok(())
    }
}

/// Advances an engine's epoch while guests run.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    /// Guests that are running now.
    running: AtomicUsize,
    /// Guests started so far.
    begun: AtomicU64,
    is_parked: AtomicBool,
    is_dropped: AtomicBool,
}

impl Ticker {
    /// Starts the thread that ticks. It ends when the ticker is dropped.
    ///
    /// # Errors
    /// The operating system's error, if it cannot start another thread.
    pub(super) fn start(engine: Engine) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let ticking = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("policy-ticker".to_owned())
            .spawn(move || ticking.tick(&engine))?;
        Ok(Self {
            shared,
            thread: thread.thread().clone(),
        })
    }

    /// Begins a run of guests on this thread: the epoch advances until the run is dropped.
    pub(super) fn run(&self, budget: Budget) -> Run<'_> {
        self.shared.running.fetch_add(1, SeqCst);
        self.shared.begun.fetch_add(1, SeqCst);
        if self.shared.is_parked.swap(false, SeqCst) {
            self.thread.unpark();
        }
        Run {
            ticker: self,
            deadline: Deadline::of(budget),
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.is_dropped.store(true, SeqCst);
        self.thread.unpark();
    }
}

impl Shared {
    /// Ticks until the ticker is dropped. Parks once a whole tick has passed without any guest, so that an idle
    /// relay sleeps and a busy one need not wake this thread for each request.
    fn tick(&self, engine: &Engine) {
        let mut begun = 0;
        while !self.is_dropped.load(SeqCst) {
            let before = std::mem::replace(&mut begun, self.begun.load(SeqCst));
            if before == begun && self.running.load(SeqCst) == 0 {
                self.is_parked.store(true, SeqCst);
                // A run that began meanwhile may have seen the ticker awake. Checking again after the store catches
                // it; a run that begins later sees the store and unparks.
                if self.running.load(SeqCst) == 0 && !self.is_dropped.load(SeqCst) {
                    thread::park();
                }
                self.is_parked.store(false, SeqCst);
            }
            thread::sleep(TICK);
            engine.increment_epoch();
        }
    }
}

/// Guests running under one deadline.
pub(super) struct Run<'t> {
    ticker: &'t Ticker,
    pub(super) deadline: Deadline,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.ticker.shared.running.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(budget_ms: u64, work: impl Fn()) -> Result<(), Overdue> {
        let deadline = Deadline::of(Budget(Duration::from_millis(budget_ms)));
        work();
        deadline.check()
    }

    #[test]
    fn time_that_a_thread_only_waits_is_not_held_against_a_guest() {
        let idle = |ms| move || thread::sleep(Duration::from_millis(ms));
        let busy = |ms| {
            move || {
                let until = thread_cpu_time() + Duration::from_millis(ms);
                while thread_cpu_time() < until {}
            }
        };
        assert_eq!(wait(60_000, || ()), Ok(()));
        assert_eq!(wait(10, busy(11)), Err(Overdue::Cpu));
        assert_eq!(wait(10, idle(1)), Ok(()), "within its wall-clock time");
        assert_eq!(wait(1, idle(25)), Err(Overdue::Wall));
    }

    #[test]
    fn the_epoch_advances_while_a_guest_runs_and_stands_still_otherwise() {
        let engine = super::super::engine().unwrap();
        let ticker = Ticker::start(engine).unwrap();
        let parked = || {
            while !ticker.shared.is_parked.load(SeqCst) {
                thread::yield_now();
            }
        };
        parked();
        for _ in 0..3 {
            let run = ticker.run(Budget(Duration::from_secs(1)));
            assert!(!ticker.shared.is_parked.load(SeqCst), "awake");
            drop(run);
            parked();
        }
    }
}
