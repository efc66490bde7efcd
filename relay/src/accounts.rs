//! Local accounts of admins, their passwords and their sessions.

mod failures;
mod password;
mod sessions;
mod table;

pub use password::PASSWORD_CHARS_MIN;
pub use table::{AddError, add, change_password, list};

use crate::clock::Clock;
use crate::store::{Store, StoreError};
use failures::Failures;
use password::{NOBODY, PASSWORD_BYTES_MAX, verify};
use sessions::Sessions;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::NAME_BYTES_MAX;
use tokio::sync::Semaphore;

/// Passwords checked at once: each takes 19 MiB and tens of milliseconds.
const CHECKS_MAX: usize = 2;

/// Accounts and who is logged in.
#[derive(Debug)]
pub struct Accounts {
    store: Store,
    clock: Clock,
    sessions: Sessions,
    failures: Failures,
    checks: Semaphore,
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Wrong name or password; which of them is not told.
    #[error("the name or the password is wrong")]
    Wrong,
    /// Too many wrong passwords for this name.
    #[error("too many wrong passwords; try again in {} seconds", .0.as_secs())]
    Wait(Duration),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// Opens the accounts of a database.
    pub fn new(store: Store, clock: Clock, idle_max: Duration) -> Self {
        Self {
            store,
            clock,
            sessions: Sessions::new(idle_max),
            failures: Failures::default(),
            checks: Semaphore::new(CHECKS_MAX),
        }
    }

    /// Checks a password and begins a session: its secret token.
    ///
    /// # Errors
    /// When they do not match, or the name has to wait.
    pub async fn login(&self, name: &str, password: String) -> Result<String, LoginError> {
        if name.len() > NAME_BYTES_MAX || password.len() > PASSWORD_BYTES_MAX {
            return Err(LoginError::Wrong);
        }
        let now = self.clock.now();
        if let Some(wait) = self.failures.must_wait(name, now) {
            return Err(LoginError::Wait(wait));
        }
        let account = name.to_owned();
        let hash = self
            .store
            .run(move |db| table::password_hash(db, &account))
            .await?;
        let permit = self.checks.acquire().await;
        // Asked again, because many tries may have come at once and waited here.
        if let Some(wait) = self.failures.must_wait(name, now) {
            return Err(LoginError::Wait(wait));
        }
        // An unknown name costs as much time as a known one, so that names cannot be tried out.
        let right =
            tokio::task::spawn_blocking(move || verify(hash.as_deref().unwrap_or(&NOBODY), &password))
                .await
                .unwrap_or(false);
        if !right {
            self.failures.note(name, now);
            return Err(LoginError::Wrong);
        }
        drop(permit);
        self.failures.forget(name);
        Ok(self.sessions.begin(name, now))
    }

    /// Who a session belongs to. Using it keeps it alive.
    pub fn session(&self, token: &str) -> Option<String> {
        self.sessions.whose(token, self.clock.now())
    }

    /// Ends a session.
    pub fn logout(&self, token: &str) {
        self.sessions.end(token);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
