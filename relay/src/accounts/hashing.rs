//! Threads that hash passwords, so that neither the async workers nor the database wait for one.

use super::password::{NOBODY, verify};
use super::turns::{HASHES_MAX, Turn};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// How much the threads give way to the relay's others (nice): beside a busy corridor they have a tenth of a processor.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// The threads. They end with the last handle.
#[derive(Debug)]
pub(super) struct Hashers(SyncSender<Job>);

struct Job {
    hash: Option<String>,
    password: String,
    /// Given back when the hash is done, even if the client went away meanwhile.
    turn: Turn,
    answer: oneshot::Sender<bool>,
}

impl Hashers {
    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system's, when it has no thread left.
    pub(super) fn start() -> std::io::Result<Self> {
        // A job has a turn, so there are never more than this.
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

    /// Whether a password belongs to a hash. An account that does not exist, `None`, takes as long, so that names cannot be
    /// found out.
    pub(super) async fn verify(&self, hash: Option<String>, password: String, turn: Turn) -> bool {
        let (answer, answered) = oneshot::channel();
        let job = Job {
            hash,
            password,
            turn,
            answer,
        };
        // Fails only if the threads are gone: then no password is right.
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
            // Fails if the client went away meanwhile.
            let _ = job.answer.send(right);
        }
        drop(job.turn);
    }
}

/// On Linux a thread has a priority of its own.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "threads that hash passwords keep the ordinary priority");
    }
}
