//! Threads that hash passwords, so that hashing blocks neither the async workers nor the database.

use super::password::{NOBODY, verify};
use super::turns::{HASHES_MAX, Turn};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// The nice value of these threads: beside a busy corridor they get a tenth of a processor.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// A handle to the threads. They end when the last handle is dropped.
#[derive(Debug)]
pub(super) struct Hashers(SyncSender<Job>);

struct Job {
    hash: Option<String>,
    password: String,
    /// Released when the hash is done, even if the client has disconnected.
    turn: Turn,
    answer: oneshot::Sender<bool>,
}

impl Hashers {
    /// Starts the threads.
    ///
    /// # Errors
    /// An I/O error when the operating system cannot start another thread.
    pub(super) fn start() -> std::io::Result<Self> {
        // Each job holds a turn, so the queue never holds more jobs than this.
        let (sender, jobs) = sync_channel(HASHES_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        for n in 0..HASHES_MAX {
            let jobs = Arc::clone(&jobs);
            std::thread::Builder::new()
                .name(format!("hash-{n}"))
                .spawn(move || serve(&jobs))?;
        }
        Ok(Self(sender))
    }

    /// Whether a password matches a hash. An account that does not exist (`None`) takes as long, so that response
    /// times do not reveal names.
    pub(super) async fn verify(&self, hash: Option<String>, password: String, turn: Turn) -> bool {
        let (answer, answered) = oneshot::channel();
        let job = Job {
            hash,
            password,
            turn,
            answer,
        };
        // Fails only if the threads are gone: then no password matches.
        self.0.try_send(job).is_ok() && answered.await.unwrap_or(false)
    }
}

fn serve(jobs: &Mutex<Receiver<Job>>) {
    give_way();
    loop {
        let Ok(job) = super::lock(jobs).recv() else {
            return;
        };
        if !job.answer.is_closed() {
            let right = verify(job.hash.as_deref().unwrap_or(&NOBODY), &job.password) && job.hash.is_some();
            // Fails if the client has disconnected.
            let _ = job.answer.send(right);
        }
        drop(job.turn);
    }
}

/// On Linux each thread has its own priority.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "cannot lower the priority of the threads that hash passwords");
    }
}
