//! A login, from a name and a password to a session.
//!
//! In this order: may this source try at all, is it its turn, what is the account's hash, is the password right. So a
//! flood of logins costs no hash and asks the database nothing.

use super::devices::Device;
use super::password::PASSWORD_BYTES_MAX;
use super::table::{self, Credentials, NAME_BYTES_MAX};
use super::throttle::{Source, Who};
use super::turns::{Overloaded, Turn};
use super::{Accounts, lock};
use crate::metrics::logins::LoginResult;
use crate::store::StoreError;
use std::time::Duration;

/// Who wants to log in.
pub struct Attempt {
    /// The account's name, as sent.
    pub name: String,
    /// The password, as sent.
    pub password: String,
    /// Where it comes from.
    pub source: Source,
    /// The device that it comes from, if that is known; see [`Accounts::device`].
    pub device: Option<Device>,
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attempt(hidden)")
    }
}

impl Attempt {
    fn who(&self) -> Who<'_> {
        match &self.device {
            Some(device) => Who::Device(device.id()),
            None => Who::Stranger(self.source),
        }
    }
}

/// What a successful login gives. Both are secrets of the browser's.
pub struct NewSession {
    /// The session's token.
    pub token: String,
    /// The cookie by which the device is known from now on.
    pub device: String,
}

impl std::fmt::Debug for NewSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewSession(hidden)")
    }
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Wrong name or password. The answer does not say which.
    #[error("the name or the password is wrong")]
    Wrong,
    /// Too many wrong passwords before this one, which was not looked at.
    #[error(
        "too many wrong passwords were tried; try again in {} seconds, or from a browser that has logged in to this account before",
        .0.as_millis().div_ceil(1000)
    )]
    Throttled(Duration),
    /// Too many logins at once.
    #[error("too many logins are under way; try again in a few seconds")]
    Overloaded,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Overloaded> for LoginError {
    fn from(_: Overloaded) -> Self {
        Self::Overloaded
    }
}

impl LoginError {
    fn result(&self) -> LoginResult {
        match self {
            Self::Wrong => LoginResult::Wrong,
            Self::Throttled(_) => LoginResult::Throttled,
            Self::Overloaded => LoginResult::Overloaded,
            Self::Store(_) => LoginResult::Unavailable,
        }
    }
}

/// A login that failed, and what is logged of it.
struct Failed {
    error: LoginError,
    result: LoginResult,
    /// If there is one of that name.
    account: Option<String>,
}

impl<E: Into<LoginError>> From<E> for Failed {
    fn from(error: E) -> Self {
        let error = error.into();
        Self {
            result: error.result(),
            error,
            account: None,
        }
    }
}

impl Accounts {
    /// Checks a password and begins a session.
    ///
    /// # Errors
    /// When they do not match, or the source has to wait.
    pub async fn login(&self, attempt: Attempt) -> Result<NewSession, LoginError> {
        match self.try_login(attempt).await {
            Ok(logged_in) => Ok(logged_in),
            Err(failed) => {
                let (account, now) = (failed.account.as_deref(), self.clock.now());
                self.journal.failed(failed.result, account, now);
                Err(failed.error)
            }
        }
    }

    async fn try_login(&self, mut attempt: Attempt) -> Result<NewSession, Failed> {
        if attempt.name.len() > NAME_BYTES_MAX || attempt.password.len() > PASSWORD_BYTES_MAX {
            return Err(LoginError::Wrong.into());
        }
        // A device is known to one account.
        attempt.device = attempt.device.filter(|device| device.name() == attempt.name);
        let may_try = lock(&self.throttle).check(&attempt.name, attempt.who(), self.clock.now());
        may_try.map_err(LoginError::Throttled)?;
        let turn = self.turn(&attempt).await?;
        self.take_guess(&attempt)?;
        let account = attempt.name.clone();
        let asked = self.store.run(move |db| table::credentials(db, &account)).await;
        let known = asked.inspect_err(|_| self.give_guess_back(&attempt))?;
        let hash = known.as_ref().map(|known| known.password_hash.clone());
        self.recognise(&mut attempt, hash.as_deref())?;
        let password = std::mem::take(&mut attempt.password);
        let is_right = self.hashers.verify(hash, password, turn).await;
        match known {
            Some(known) if is_right && !known.is_disabled => Ok(self.begin(&attempt, &known)),
            known => Err(wrong(attempt.name, known.as_ref())),
        }
    }

    /// Looks at the device once more, by the hash that the database has now. One whose password was changed since, as on
    /// the command line, is a stranger.
    fn recognise(&self, attempt: &mut Attempt, hash: Option<&str>) -> Result<(), LoginError> {
        if let Some(hash) = hash {
            self.devices.learn(&attempt.name, hash);
        }
        let is_known = |device: &Device| hash.is_some_and(|hash| device.is_of(hash));
        if attempt.device.as_ref().is_none_or(is_known) {
            return Ok(());
        }
        self.give_guess_back(attempt);
        attempt.device = None;
        self.take_guess(attempt)
    }

    fn begin(&self, attempt: &Attempt, known: &Credentials) -> NewSession {
        let (name, now) = (attempt.name.as_str(), self.clock.now());
        lock(&self.throttle).was_right(name, attempt.who());
        self.journal.succeeded(name, attempt.device.is_some());
        NewSession {
            token: self.sessions.begin(name, known.version, now),
            device: self.devices.issue(name, &known.password_hash, now),
        }
    }

    async fn turn(&self, attempt: &Attempt) -> Result<Turn, Overloaded> {
        let stranger = attempt.device.is_none().then_some(attempt.source);
        self.turns.wait(stranger).await
    }

    /// Counts the attempt before the password is looked at, because many may come at once.
    fn take_guess(&self, attempt: &Attempt) -> Result<(), LoginError> {
        let now = self.clock.now();
        let taken = lock(&self.throttle).take(&attempt.name, attempt.who(), now);
        taken.map_err(LoginError::Throttled)
    }

    fn give_guess_back(&self, attempt: &Attempt) {
        lock(&self.throttle).give_back(&attempt.name, attempt.who());
    }
}

/// A disabled account is answered as a made-up one is.
fn wrong(name: String, known: Option<&Credentials>) -> Failed {
    let result = match known {
        Some(known) if known.is_disabled => LoginResult::Disabled,
        _ => LoginResult::Wrong,
    };
    Failed {
        error: LoginError::Wrong,
        result,
        account: known.map(|_| name),
    }
}
