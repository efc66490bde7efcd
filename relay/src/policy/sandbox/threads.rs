//! Threads on which guests run, so that the async workers never wait for one.
//!
//! A request's events are one job, which also hands them to the store's writer. Health, metrics and the switch need no
//! guest, so they answer at once however long the queue is.

use crate::hidden::hidden_debug;
use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Minimum number of threads: one slow guest must not block all others.
const THREADS_MIN: usize = 2;
/// Longest time that a job may wait for a thread. After that its sender has given up or is about to: the job ends
/// without running.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// The same while the relay is stopping: jobs end without running, and shutdown waits for no guest.
const WAIT_MAX_STOPPING: Duration = Duration::from_millis(500);

/// A job was not run in time: too many are queued, or it waited too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// A job, and when it was queued.
type Queued = (Instant, Box<dyn FnOnce(Result<(), Busy>) + Send>);

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
    queue: VecDeque<Queued>,
    /// Threads that wait for a job.
    idle: usize,
    stopping_since: Option<Instant>,
    is_dropped: bool,
}

hidden_debug!(Threads);

impl Threads {
    /// Starts one thread per processor. With `queue_max` jobs waiting, a further one is refused. Needs a runtime.
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
            let (shared, runtime) = (Arc::clone(&threads.shared), Handle::current());
            thread::Builder::new()
                .name(format!("policy-{n}"))
                .spawn(move || {
                    // A job may spawn tasks.
                    let _runtime = runtime.enter();
                    shared.work();
                })?;
        }
        Ok(threads)
    }

    /// Runs a job on one of the threads, whatever happens to the caller. A job that is not run in time is called with
    /// [`Busy`], so that it can end what it holds: on a thread, or here if the queue is full. If it panics, it is dropped.
    pub fn run(&self, job: impl FnOnce(Result<(), Busy>) + Send + 'static) {
        let mut state = self.shared.lock();
        if state.queue.len() >= self.shared.queue_max {
            drop(state);
            return job(Err(Busy));
        }
        state.queue.push_back((Instant::now(), Box::new(job)));
        let is_anyone_idle = state.idle > 0;
        drop(state);
        if is_anyone_idle {
            self.shared.job_or_end.notify_one();
        }
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
        let mut state = self.lock();
        loop {
            if let Some((queued, job)) = state.queue.pop_front() {
                let may_run = state.may_run(queued);
                drop(state);
                // The panic hook has reported it, and the caller finds its answer missing.
                let _ = catch_unwind(AssertUnwindSafe(|| job(may_run)));
                state = self.lock();
                continue;
            }
            if state.is_dropped {
                return;
            }
            state.idle += 1;
            state = self
                .job_or_end
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

impl State {
    fn may_run(&self, queued: Instant) -> Result<(), Busy> {
        let is_stopping = (self.stopping_since).is_some_and(|since| since.elapsed() > WAIT_MAX_STOPPING);
        match is_stopping || queued.elapsed() > WAIT_MAX {
            true => Err(Busy),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio::sync::oneshot;

    /// Runs a job and waits for its answer; `None` if it panicked.
    async fn answer<T: Send + 'static>(
        threads: &Threads,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<Result<T, Busy>> {
        let (answer, answered) = oneshot::channel();
        threads.run(move |may_run| {
            let _ = answer.send(may_run.map(|()| work()));
        });
        answered.await.ok()
    }

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
                assert_eq!(answer(&threads, blocks).await, Some(Ok(true)));
            });
            has_begun.recv().unwrap();
            release
        };
        (0..count).map(occupy).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_job_runs_elsewhere_and_its_answer_comes_back() {
        let threads = Threads::start(1).unwrap();
        let name = answer(&threads, || thread::current().name().map(str::to_owned)).await;
        assert!(name.unwrap().unwrap().unwrap().starts_with("policy-"));
        let lost = answer(&threads, || -> () { panic!("a defect") }).await;
        assert_eq!(lost, None);
        for n in 0..100 {
            assert_eq!(answer(&threads, move || n).await, Some(Ok(n)), "after a panic");
        }
        let spawned = answer(&threads, || tokio::spawn(async { 1 })).await;
        assert_eq!(spawned.unwrap().unwrap().await.unwrap(), 1, "a job spawns tasks");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_job_that_finds_the_queue_full_is_refused_at_once() {
        let threads = Arc::new(Threads::start(1).unwrap());
        let busy = occupy(&threads);
        let waits = tokio::spawn({
            let threads = Arc::clone(&threads);
            async move { answer(&threads, || 1).await }
        });
        while threads.shared.lock().queue.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(answer(&threads, || 2).await, Some(Err(Busy)));
        drop(busy);
        assert_eq!(waits.await.unwrap(), Some(Ok(1)));
        assert_eq!(answer(&threads, || 3).await, Some(Ok(3)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_job_that_still_waits_when_the_relay_stops_does_not_run() {
        let threads = Arc::new(Threads::start(1).unwrap());
        assert_eq!(answer(&threads, || 1).await, Some(Ok(1)));
        threads.stop();
        assert_eq!(
            answer(&threads, || 2).await,
            Some(Ok(2)),
            "there is time for what is in flight"
        );
        threads.shared.lock().stopping_since = Instant::now().checked_sub(WAIT_MAX_STOPPING * 2);
        assert_eq!(answer(&threads, || 3).await, Some(Err(Busy)));
    }
}
