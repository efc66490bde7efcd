//! Who is logged in.

use super::lock;
use crate::clock::{self, Moment};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// Sessions at once. Above it the one idle longest ends.
const SESSIONS_MAX: usize = 1000;

/// All sessions, by their secret tokens. They live in memory: a restart logs everybody out.
#[derive(Debug)]
pub(super) struct Sessions {
    idle_max: Duration,
    open: Mutex<HashMap<String, Session>>,
}

#[derive(Debug)]
struct Session {
    name: String,
    used: Moment,
}

impl Sessions {
    pub(super) fn new(idle_max: Duration) -> Self {
        Self {
            idle_max,
            open: Mutex::default(),
        }
    }

    /// Begins a session: its secret token.
    pub(super) fn begin(&self, name: &str, now: Moment) -> String {
        let token = URL_SAFE_NO_PAD.encode(clock::random::<32>());
        let mut sessions = lock(&self.open);
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
        token
    }

    /// Who a session belongs to. Using it keeps it alive.
    pub(super) fn whose(&self, token: &str, now: Moment) -> Option<String> {
        let mut sessions = lock(&self.open);
        let session = sessions
            .get_mut(token)
            .filter(|session| now.since(session.used) < self.idle_max)?;
        session.used = now;
        Some(session.name.clone())
    }

    /// Ends a session.
    pub(super) fn end(&self, token: &str) {
        lock(&self.open).remove(token);
    }
}
