//! A login, from a name and a password to a session.
//!
//! In this order: check the throttle for the source, wait for a turn, read the account's hash, verify the password.
//! So a flood of logins costs no hash and no database query.

use super::devices::Device;
use super::metrics::LoginResult;
use super::password::PASSWORD_BYTES_MAX;
use super::table::{self, Credentials, NAME_BYTES_MAX};
use super::throttle::{Source, Who};
use super::turns::{Overloaded, Turn};
use super::{Accounts, lock};
use crate::hidden::hidden_debug;
use crate::store::StoreError;
use std::time::Duration;

/// A request to log in.
pub struct Attempt {
    /// The account's name, as sent.
    pub name: String,
    /// The password, as sent.
    pub password: String,
    /// The source of the request.
    pub source: Source,
    /// The device that sends it, if known; see [`Accounts::device`].
    pub device: Option<Device>,
}

hidden_debug!(Attempt);

impl Attempt {
    fn who(&self) -> Who<'_> {
        match &self.device {
            Some(device) => Who::Device(device.id()),
            None => Who::Stranger(self.source),
        }
    }
}

/// The result of a successful login. The browser must keep both secret.
pub struct NewSession {
    /// The session's token.
    pub token: String,
    /// The cookie that identifies the device from now on.
    pub device: String,
}

hidden_debug!(NewSession);

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Wrong name or password. The response does not say which.
    #[error("the name or the password is wrong")]
    Wrong,
    /// Too many wrong passwords before this one, which was not checked.
    #[error(
        "too many wrong passwords were tried; try again in {} seconds, or from a browser that has logged in to this account before",
        .0.as_millis().div_ceil(1000)
    )]
    Throttled(Duration),
    /// Too many logins at once.
    #[error("too many logins are in progress; try again in a few seconds")]
    Overloaded,
    /// A database error.
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

/// A failed login, with the fields that are logged.
struct Failed {
    error: LoginError,
    result: LoginResult,
    /// Set only if an account of that name exists.
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
    /// If name and password do not match, or the source has to wait.
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
        // A device is known to one account only.
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

    /// Checks the device again, with the hash that is now in the database. If the password has changed since, for
    /// example by the command line, the device is a stranger.
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

    /// Counts the attempt before the password is checked, because many attempts may arrive at once.
    fn take_guess(&self, attempt: &Attempt) -> Result<(), LoginError> {
        let now = self.clock.now();
        let taken = lock(&self.throttle).take(&attempt.name, attempt.who(), now);
        taken.map_err(LoginError::Throttled)
    }

    fn give_guess_back(&self, attempt: &Attempt) {
        lock(&self.throttle).give_back(&attempt.name, attempt.who());
    }
}

/// A disabled account gets the same response as one that does not exist.
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
