//! Local accounts of admins, their passwords and their sessions.

use crate::clock::{self, Clock, Moment};
use crate::store::{Store, StoreError};
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Longest password, in bytes: hashing time must not be the sender's choice.
const PASSWORD_BYTES_MAX: usize = 1024;
/// Longest account name, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Sessions at once. Above it the one idle longest ends.
const SESSIONS_MAX: usize = 1000;
/// Wrong passwords for one name before it has to wait.
const TRIES_FREE: u32 = 5;
/// Longest wait after wrong passwords.
const WAIT_MAX: Duration = Duration::from_secs(900);
/// Names whose wrong passwords are remembered. Above it the oldest memory goes.
const NAMES_MAX: usize = 1000;
/// Passwords checked at once: each takes 19 MiB and tens of milliseconds.
const CHECKS_MAX: usize = 2;

/// Accounts and who is logged in. Sessions live in memory: a restart logs everybody out.
#[derive(Debug)]
pub struct Accounts {
    store: Store,
    clock: Clock,
    idle_max: Duration,
    sessions: Mutex<HashMap<String, Session>>,
    failures: Mutex<HashMap<String, Failures>>,
    checks: Semaphore,
}

#[derive(Debug)]
struct Session {
    name: String,
    used: Moment,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Moment,
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

/// Why an account was not made.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The name.
    #[error("a name has 1 to {NAME_BYTES_MAX} letters, digits, '.', '-', '_' or '@'")]
    Name,
    /// The password.
    #[error("a password has at least {PASSWORD_CHARS_MIN} characters and at most {PASSWORD_BYTES_MAX} bytes")]
    Password,
    /// The name is taken.
    #[error("there is an account {0} already; `user passwd {0}` gives it a new password")]
    Exists(String),
    /// There is no such account.
    #[error("there is no account {0}; `user list` shows them")]
    Unknown(String),
    /// Hashing failed.
    #[error("the password could not be hashed")]
    Hash,
    /// The database.
    #[error("the database cannot be written: {0}")]
    Database(#[from] rusqlite::Error),
}

impl Accounts {
    /// Opens the accounts of a database.
    pub fn new(store: Store, clock: Clock, idle_max: Duration) -> Self {
        Self {
            store,
            clock,
            idle_max,
            sessions: Mutex::default(),
            failures: Mutex::default(),
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
        if let Some(wait) = self.must_wait(name, now) {
            return Err(LoginError::Wait(wait));
        }
        let account = name.to_owned();
        let hash = self
            .store
            .run(move |db| {
                db.query_row(
                    "SELECT password_hash FROM account WHERE name = ?1",
                    [&account],
                    |row| row.get::<_, String>(0),
                )
                .optional()
            })
            .await?;
        let permit = self.checks.acquire().await;
        // Asked again, because many tries may have come at once and waited here.
        if let Some(wait) = self.must_wait(name, now) {
            return Err(LoginError::Wait(wait));
        }
        // An unknown name costs as much time as a known one, so that names cannot be tried out.
        let right =
            tokio::task::spawn_blocking(move || verify(hash.as_deref().unwrap_or(&NOBODY), &password))
                .await
                .unwrap_or(false);
        if !right {
            self.note_failure(name, now);
            return Err(LoginError::Wrong);
        }
        drop(permit);
        lock(&self.failures).remove(name);
        let token = URL_SAFE_NO_PAD.encode(clock::random::<32>());
        let mut sessions = lock(&self.sessions);
        sessions.retain(|_, session| now.since(session.used) < self.idle_max);
        if sessions.len() >= SESSIONS_MAX {
            let oldest = sessions
                .iter()
                .min_by_key(|(_, s)| s.used)
                .map(|(token, _)| token.clone());
            oldest.and_then(|token| sessions.remove(&token));
        }
        sessions.insert(
            token.clone(),
            Session {
                name: name.to_owned(),
                used: now,
            },
        );
        Ok(token)
    }

    /// Who a session belongs to. Using it keeps it alive.
    pub fn session(&self, token: &str) -> Option<String> {
        let now = self.clock.now();
        let mut sessions = lock(&self.sessions);
        let session = sessions
            .get_mut(token)
            .filter(|session| now.since(session.used) < self.idle_max)?;
        session.used = now;
        Some(session.name.clone())
    }

    /// Ends a session.
    pub fn logout(&self, token: &str) {
        lock(&self.sessions).remove(token);
    }

    fn must_wait(&self, name: &str, now: Moment) -> Option<Duration> {
        let failures = *lock(&self.failures).get(name)?;
        let over = failures.count.checked_sub(TRIES_FREE)?;
        let wait = Duration::from_secs(1 << over.min(10)).min(WAIT_MAX);
        wait.checked_sub(now.since(failures.last))
            .filter(|left| !left.is_zero())
    }

    fn note_failure(&self, name: &str, now: Moment) {
        let mut failures = lock(&self.failures);
        if failures.len() >= NAMES_MAX && !failures.contains_key(name) {
            let oldest = failures
                .iter()
                .min_by_key(|(_, f)| f.last)
                .map(|(name, _)| name.clone());
            oldest.and_then(|name| failures.remove(&name));
        }
        let entry = failures
            .entry(name.to_owned())
            .or_insert(Failures { count: 0, last: now });
        *entry = Failures {
            count: entry.count + 1,
            last: now,
        };
    }
}

/// A hash of a random password nobody knows, made as all others are.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| hash(&URL_SAFE_NO_PAD.encode(clock::random::<32>())).unwrap_or_default());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn verify(hash: &str, password: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

/// Argon2id with the crate's defaults, which are OWASP's: 19 MiB, two passes, one lane.
fn hash(password: &str) -> Result<String, AddError> {
    if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(AddError::Password);
    }
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|_| AddError::Hash)
}

/// Makes an account.
///
/// # Errors
/// When name or password break their rules, or the name is taken.
pub fn add(db: &Connection, name: &str, password: &str, now: Moment) -> Result<(), AddError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_@".contains(c);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(plain) {
        return Err(AddError::Name);
    }
    let hash = hash(password)?;
    let added = db.execute(
        "INSERT OR IGNORE INTO account (name, password_hash, created_at) VALUES (?1, ?2, ?3)",
        params![name, hash, now.0],
    )?;
    if added == 0 {
        Err(AddError::Exists(name.to_owned()))
    } else {
        Ok(())
    }
}

/// Gives an account a new password.
///
/// # Errors
/// When the password breaks its rules, or there is no such account.
pub fn change_password(db: &Connection, name: &str, password: &str) -> Result<(), AddError> {
    let hash = hash(password)?;
    let changed = db.execute(
        "UPDATE account SET password_hash = ?2 WHERE name = ?1",
        params![name, hash],
    )?;
    if changed == 0 {
        Err(AddError::Unknown(name.to_owned()))
    } else {
        Ok(())
    }
}

/// All accounts: name and when it was made.
///
/// # Errors
/// SQLite's.
pub fn list(db: &Connection) -> rusqlite::Result<Vec<(String, Moment)>> {
    let mut statement = db.prepare("SELECT name, created_at FROM account ORDER BY name")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, Moment(row.get(1)?))))?;
    rows.collect()
}
