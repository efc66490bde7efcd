//! The open sessions.

use super::lock;
use super::table::{self, Version};
use crate::clock::{self, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::Connection;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// Most sessions of one account. At the limit the longest-idle session ends.
const SESSIONS_PER_ACCOUNT_MAX: usize = 16;
/// Most sessions of all accounts. At the limit the longest-idle session ends.
const SESSIONS_MAX: usize = 1000;

/// How long sessions last.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// Longest time without use.
    pub idle: Duration,
    /// Longest time in total, regardless of use.
    pub longest: Duration,
}

/// All sessions, by their secret tokens. They live in memory: a restart ends all of them, and no backup of the
/// database restores one.
#[derive(Debug)]
pub(super) struct Sessions {
    lifetime: Lifetime,
    open: Mutex<HashMap<String, Session>>,
}

#[derive(Debug)]
struct Session {
    name: String,
    version: Version,
    began: Timestamp,
    used: Timestamp,
}

/// An account with a session.
#[derive(Clone)]
pub struct LoggedIn {
    /// The account's name.
    pub name: String,
    pub(super) token: String,
    version: Version,
}

impl std::fmt::Debug for LoggedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoggedIn({})", self.name)
    }
}

impl LoggedIn {
    /// Whether the account is unchanged since the login: not removed or disabled, with the same password.
    ///
    /// # Errors
    /// An SQLite error.
    pub fn holds(&self, db: &Connection) -> rusqlite::Result<bool> {
        let account = table::credentials(db, &self.name)?;
        Ok(account.is_some_and(|account| !account.is_disabled && account.version == self.version))
    }
}

impl Sessions {
    pub(super) fn new(lifetime: Lifetime) -> Self {
        Self {
            lifetime,
            open: Mutex::default(),
        }
    }

    /// Begins a session and returns its secret token.
    pub(super) fn begin(&self, name: &str, version: Version, now: Timestamp) -> String {
        let token = URL_SAFE_NO_PAD.encode(clock::random::<32>());
        let mut open = lock(&self.open);
        open.retain(|_, session| session.is_open(self.lifetime, now));
        make_room(&mut open, SESSIONS_PER_ACCOUNT_MAX, |session| {
            session.name == name
        });
        make_room(&mut open, SESSIONS_MAX, |_| true);
        let session = Session {
            name: name.to_owned(),
            version,
            began: now,
            used: now,
        };
        open.insert(token.clone(), session);
        token
    }

    /// Returns the owner of a session that has not expired. The caller has to check in the database that the account
    /// is unchanged.
    pub(super) fn find(&self, token: &str, now: Timestamp) -> Option<LoggedIn> {
        let open = lock(&self.open);
        let session = open
            .get(token)
            .filter(|session| session.is_open(self.lifetime, now))?;
        Some(LoggedIn {
            name: session.name.clone(),
            token: token.to_owned(),
            version: session.version,
        })
    }

    /// Records that the user of a session did something.
    pub(super) fn used(&self, token: &str, now: Timestamp) {
        if let Some(session) = lock(&self.open).get_mut(token) {
            session.used = now;
        }
    }

    /// Ends a session.
    pub(super) fn end(&self, token: &str) {
        lock(&self.open).remove(token);
    }
}

impl Session {
    fn is_open(&self, lifetime: Lifetime, now: Timestamp) -> bool {
        now.since(self.used) < lifetime.idle && now.since(self.began) < lifetime.longest
    }
}

/// If `of` selects at least `max` sessions, ends the longest-idle one of them.
fn make_room(open: &mut HashMap<String, Session>, max: usize, of: impl Fn(&Session) -> bool) {
    let picked = || open.iter().filter(|(_, session)| of(session));
    if picked().count() < max {
        return;
    }
    let idlest = picked()
        .min_by_key(|(_, session)| session.used)
        .map(|(token, _)| token.clone());
    idlest.and_then(|token| open.remove(&token));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    const LIFETIME: Lifetime = Lifetime {
        idle: Duration::from_secs(60),
        longest: Duration::from_secs(300),
    };
    const PASSWORD: &str = "correct horse battery";

    /// An account and its session.
    fn with_session(db: &Connection, sessions: &Sessions) -> LoggedIn {
        table::add(db, "alice", PASSWORD, Timestamp(0)).unwrap();
        let version = table::credentials(db, "alice").unwrap().unwrap().version;
        let token = sessions.begin("alice", version, Timestamp(0));
        sessions.find(&token, Timestamp(0)).unwrap()
    }

    #[test]
    fn every_change_of_an_account_ends_its_sessions_for_good() {
        type Change = fn(&Connection) -> Result<(), crate::accounts::AccountError>;
        let check = |what: &str, changes: &[Change], want: bool| {
            let db = store::open_in_memory().unwrap();
            let admin = with_session(&db, &Sessions::new(LIFETIME));
            assert!(admin.holds(&db).unwrap());
            changes.iter().for_each(|change| change(&db).unwrap());
            assert_eq!(admin.holds(&db).unwrap(), want, "{what}");
        };
        let disable: Change = |db| table::disable(db, "alice", Timestamp(1));
        let enable: Change = |db| table::enable(db, "alice");
        let remove: Change = |db| table::remove(db, "alice");
        let passwd: Change = |db| table::change_password(db, "alice", PASSWORD);
        let add: Change = |db| table::add(db, "alice", PASSWORD, Timestamp(0));
        let other: Change = |db| table::add(db, "bob", PASSWORD, Timestamp(0));
        check("nothing", &[], true);
        check("another account", &[other], true);
        check("the same password again", &[passwd], false);
        check("disabled", &[disable], false);
        check("disabled and enabled", &[disable, enable], false);
        check("enabled, which it was", &[enable], true);
        check("removed", &[remove], false);
        check("removed and made again", &[remove, add], false);
    }

    #[test]
    fn a_session_ends_when_it_is_idle_and_at_its_longest() {
        let sessions = Sessions::new(LIFETIME);
        let db = store::open_in_memory().unwrap();
        let admin = with_session(&db, &sessions);
        let at = |s: i64| Timestamp(s * 1000);
        let is_open = |s| sessions.find(&admin.token, at(s)).is_some();
        assert!(is_open(59));
        assert!(!is_open(60), "finding it is no use of it");
        for s in (50..=250).step_by(50) {
            sessions.used(&admin.token, at(s));
        }
        assert!(is_open(299));
        assert!(!is_open(300));
        sessions.used(&admin.token, at(299));
        assert!(!is_open(300), "however much it is used");
        sessions.end(&admin.token);
        assert!(!is_open(0));
    }

    #[test]
    fn an_account_has_a_bounded_number_of_sessions_and_takes_none_of_others() {
        let sessions = Sessions::new(LIFETIME);
        let db = store::open_in_memory().unwrap();
        let admin = with_session(&db, &sessions);
        let begin = |name, ms| sessions.begin(name, admin.version, Timestamp(ms));
        let bobs: Vec<String> = (1..=17).map(|ms| begin("bob", ms)).collect();
        let open = bobs
            .iter()
            .filter(|token| sessions.find(token, Timestamp(20)).is_some())
            .count();
        assert_eq!(open, SESSIONS_PER_ACCOUNT_MAX);
        assert!(
            sessions.find(&bobs[0], Timestamp(20)).is_none(),
            "the one idle longest"
        );
        assert!(sessions.find(&admin.token, Timestamp(20)).is_some());
    }
}
