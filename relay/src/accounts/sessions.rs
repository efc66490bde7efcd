//! Who is logged in.

use super::lock;
use super::table::{self, Version};
use crate::clock::{self, Moment};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::Connection;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// Sessions of one account. Above it the one idle longest ends.
const SESSIONS_PER_ACCOUNT_MAX: usize = 16;
/// Sessions of all accounts. Above it the one idle longest ends.
const SESSIONS_MAX: usize = 1000;

/// How long sessions last.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// Without use.
    pub idle: Duration,
    /// However much they are used.
    pub longest: Duration,
}

/// All sessions, by their secret tokens. They live in memory: a restart ends all of them, and no backup of the
/// database brings one back.
#[derive(Debug)]
pub(super) struct Sessions {
    lifetime: Lifetime,
    open: Mutex<HashMap<String, Session>>,
}

#[derive(Debug)]
struct Session {
    name: String,
    version: Version,
    began: Moment,
    used: Moment,
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
    /// Whether the account still is as it was at the login: not removed or disabled, with the same password.
    ///
    /// # Errors
    /// SQLite's.
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

    /// Begins a session: its secret token.
    pub(super) fn begin(&self, name: &str, version: Version, now: Moment) -> String {
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

    /// Who a session belongs to, unless it is over by the clock. Whether the account is still what it was has to be
    /// asked of the database.
    pub(super) fn find(&self, token: &str, now: Moment) -> Option<LoggedIn> {
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

    /// Notes that the user of a session did something.
    pub(super) fn used(&self, token: &str, now: Moment) {
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
    fn is_open(&self, lifetime: Lifetime, now: Moment) -> bool {
        now.since(self.used) < lifetime.idle && now.since(self.began) < lifetime.longest
    }
}

/// Ends the one idle longest of the sessions `of` picks, if there are `max` of them.
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
        table::add(db, "alice", PASSWORD, Moment(0)).unwrap();
        let version = table::credentials(db, "alice").unwrap().unwrap().version;
        let token = sessions.begin("alice", version, Moment(0));
        sessions.find(&token, Moment(0)).unwrap()
    }

    #[test]
    fn every_change_of_an_account_ends_its_sessions_for_good() {
        type Change = fn(&Connection) -> Result<(), table::AccountError>;
        let check = |what: &str, changes: &[Change], want: bool| {
            let db = store::open_in_memory().unwrap();
            let admin = with_session(&db, &Sessions::new(LIFETIME));
            assert!(admin.holds(&db).unwrap());
            changes.iter().for_each(|change| change(&db).unwrap());
            assert_eq!(admin.holds(&db).unwrap(), want, "{what}");
        };
        let disable: Change = |db| table::disable(db, "alice", Moment(1));
        let enable: Change = |db| table::enable(db, "alice");
        let remove: Change = |db| table::remove(db, "alice");
        let passwd: Change = |db| table::change_password(db, "alice", PASSWORD);
        let add: Change = |db| table::add(db, "alice", PASSWORD, Moment(0));
        let other: Change = |db| table::add(db, "bob", PASSWORD, Moment(0));
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
        let at = |s: i64| Moment(s * 1000);
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
        let begin = |name, ms| sessions.begin(name, admin.version, Moment(ms));
        let bobs: Vec<String> = (1..=17).map(|ms| begin("bob", ms)).collect();
        let open = bobs
            .iter()
            .filter(|token| sessions.find(token, Moment(20)).is_some())
            .count();
        assert_eq!(open, SESSIONS_PER_ACCOUNT_MAX);
        assert!(
            sessions.find(&bobs[0], Moment(20)).is_none(),
            "the one idle longest"
        );
        assert!(sessions.find(&admin.token, Moment(20)).is_some());
    }
}
