//! Threads on which guests run, so that the async workers never wait for one.
//!
//! A request's events are sent as one job, and its answers return together. Health, metrics and the switch need no
//! guest, so they answer at once however long the queue is.

use crate::hidden::hidden_debug;
use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Minimum number of threads: one slow guest must not block all others.
const THREADS_MIN: usize = 2;
/// Longest time that a job may wait for a thread. After that its sender has given up or is about to: the job ends
/// without running.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// The same while the relay is stopping: jobs end without running, and shutdown waits for no guest.
const WAIT_MAX_STOPPING: Duration = Duration::from_millis(500);

/// Why a job did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRun {
    /// Too many jobs are queued, or this one waited too long.
    #[error("too many requests wait for the policy")]
    Busy,
    /// The job panicked: a bug in the relay.
    #[error("the relay failed while the policy ran")]
    Lost,
}

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads and one queue.
pub struct Threads {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    job_or_end: Condvar,
    queue_max: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Threads that wait for a job.
    idle: usize,
    stopping_since: Option<Instant>,
    is_dropped: bool,
}

hidden_debug!(Threads);

impl Threads {
    /// Starts one thread per processor. With `queue_max` jobs waiting, a further one is refused.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn start(queue_max: usize) -> io::Result<Self> {
        let threads = Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                job_or_end: Condvar::new(),
                queue_max,
            }),
        };
        let processors = thread::available_parallelism().map_or(THREADS_MIN, NonZeroUsize::get);
        for n in 0..processors.max(THREADS_MIN) {
            let shared = Arc::clone(&threads.shared);
            thread::Builder::new()
                .name(format!("policy-{n}"))
                .spawn(move || shared.work())?;
        }
        Ok(threads)
    }

    /// Runs a job on one of the threads and returns its answer. If the caller goes away, the job still runs.
    ///
    /// # Errors
    /// Why the job did not run or did not finish.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotRun> {
        let (answer, answered) = oneshot::channel();
        let (queued, shared) = (Instant::now(), Arc::clone(&self.shared));
        let job = move || {
            let result = match shared.is_too_late(queued) {
                true => Err(NotRun::Busy),
                false => Ok(work()),
            };
            // The request may be gone.
            let _ = answer.send(result);
        };
        self.push(Box::new(job))?;
        answered.await.unwrap_or(Err(NotRun::Lost))
    }

    fn push(&self, job: Job) -> Result<(), NotRun> {
        let mut state = self.shared.lock();
        if state.queue.len() >= self.shared.queue_max {
            return Err(NotRun::Busy);
        }
        state.queue.push_back(job);
        let is_anyone_idle = state.idle > 0;
        drop(state);
        if is_anyone_idle {
            self.shared.job_or_end.notify_one();
        }
        Ok(())
    }

    /// Ends waiting jobs without running them, because the relay is stopping.
    pub fn stop(&self) {
        self.shared.lock().stopping_since.get_or_insert_with(Instant::now);
    }
}

/// The threads end once they have emptied the queue; dropping does not wait for them.
impl Drop for Threads {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopping_since.get_or_insert_with(Instant::now);
        state.is_dropped = true;
        drop(state);
        self.shared.job_or_end.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            // The panic hook has reported it, and the caller finds its answer missing.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                return Some(job);
            }
            if state.is_dropped {
                return None;
            }
            state.idle += 1;
            state = self
                .job_or_end
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn is_too_late(&self, queued: Instant) -> bool {
        let stopping_since = self.lock().stopping_since;
        queued.elapsed() > WAIT_MAX || stopping_since.is_some_and(|since| since.elapsed() > WAIT_MAX_STOPPING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Keeps all threads of a pool busy until the sender is dropped.
    fn occupy(threads: &Arc<Threads>) -> Vec<mpsc::Sender<()>> {
        let count = thread::available_parallelism()
            .map_or(THREADS_MIN, NonZeroUsize::get)
            .max(THREADS_MIN);
        let occupy = |_| {
            let (release, wait) = mpsc::channel::<()>();
            let (begun, has_begun) = mpsc::channel();
            let threads = Arc::clone(threads);
            tokio::spawn(async move {
                let blocks = move || {
                    begun.send(()).unwrap();
                    wait.recv().is_err()
                };
                assert_eq!(threads.run(blocks).await, Ok(true));
            });
            has_begun.recv().unwrap();
            release
        };
        (0..count).map(occupy).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_job_runs_elsewhere_and_its_answer_comes_back() {
        let threads = Threads::start(1).unwrap();
        let name = threads.run(|| thread::current().name().map(str::to_owned)).await;
        assert!(name.unwrap().unwrap().starts_with("policy-"));
        let lost: Result<(), NotRun> = threads.run(|| panic!("a defect")).await;
        assert_eq!(lost, Err(NotRun::Lost));
        for n in 0..100 {
            assert_eq!(threads.run(move || n).await, Ok(n), "after a panic");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_job_that_finds_the_queue_full_is_refused_at_once() {
        let threads = Arc::new(Threads::start(1).unwrap());
        let busy = occupy(&threads);
        let waits = tokio::spawn({
            let threads = Arc::clone(&threads);
            async move { threads.run(|| 1).await }
        });
        while threads.shared.lock().queue.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(threads.run(|| 2).await, Err(NotRun::Busy));
        drop(busy);
        assert_eq!(waits.await.unwrap(), Ok(1));
        assert_eq!(threads.run(|| 3).await, Ok(3));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_job_that_still_waits_when_the_relay_stops_does_not_run() {
        let threads = Arc::new(Threads::start(1).unwrap());
        assert_eq!(threads.run(|| 1).await, Ok(1));
        threads.stop();
        assert_eq!(
            threads.run(|| 2).await,
            Ok(2),
            "there is time for what is in flight"
        );
        threads.shared.lock().stopping_since = Instant::now().checked_sub(WAIT_MAX_STOPPING * 2);
        assert_eq!(threads.run(|| 3).await, Err(NotRun::Busy));
    }
}
