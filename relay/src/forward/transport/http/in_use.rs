//! The upstream's files in use, and their replacement while events flow.
//!
//! Changed files are read and checked as a whole; only then is the target replaced, and each lane reconnects at its
//! next request. If any of them is invalid, the previous content stays in use.

use super::race::System;
use super::target::Target;
use super::{Http, TransportError};
use crate::config::{Loaded, Upstream};
use crate::forward::Metrics;
use crate::metrics::{Counter, Family};
use crate::reload::{Reload, Stamps};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The connection settings in use, with the files they were read from.
#[derive(Debug)]
pub struct InUse {
    http: Http,
    upstream: Upstream,
    state: Mutex<State>,
    reloads: Family<Counter, 1>,
}

#[derive(Debug)]
struct State {
    /// The stamps of the files before they were last read.
    seen: Stamps,
    digests: BTreeMap<&'static str, String>,
    /// Why the last reload failed, if it did.
    trouble: Option<String>,
}

impl InUse {
    /// Reads the files that the relay starts with.
    ///
    /// # Errors
    /// If one cannot be used. The relay does not start then.
    pub fn open(upstream: &Upstream, metrics: &Metrics) -> Result<Self, TransportError> {
        let seen = upstream.files.stamps();
        let loaded = upstream.files.load()?;
        Ok(Self {
            http: Http::with(upstream, &loaded, Arc::new(System))?,
            upstream: upstream.clone(),
            state: Mutex::new(State {
                seen,
                digests: loaded.digests,
                trouble: None,
            }),
            reloads: metrics.upstream_reloads.clone(),
        })
    }

    /// The transport.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The SHA-256 of each file in use, by its setting.
    pub fn digests(&self) -> BTreeMap<&'static str, String> {
        self.lock().digests.clone()
    }

    /// Why the last reload failed; `None` if it did not.
    pub fn last_error(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// Reads the files again, and uses them if they are valid. Returns whether they had changed.
    ///
    /// # Errors
    /// Why they are not used; the previous content stays.
    pub fn take(&self) -> Result<bool, TransportError> {
        self.lock().seen = self.upstream.files.stamps();
        let taken = self
            .upstream
            .files
            .load()
            .map_err(Into::into)
            .and_then(|loaded| self.put(loaded));
        let result = match &taken {
            Ok(false) => None,
            Ok(true) => {
                tracing::info!("the changed files of [upstream] are now in use");
                Some("ok")
            }
            Err(error) => {
                tracing::error!(%error, "the changed files of [upstream] cannot be used; the previous ones stay in use");
                Some("failed")
            }
        };
        if let Some(result) = result {
            self.reloads.with([result]).inc();
        }
        self.lock().trouble = taken.as_ref().err().map(ToString::to_string);
        taken
    }

    /// Also for unchanged files: the system's CAs, read with them, may have changed.
    fn put(&self, loaded: Loaded) -> Result<bool, TransportError> {
        let old = self.http.0.borrow().clone();
        let target = Target::new(
            &self.upstream,
            &loaded,
            Arc::clone(&old.names),
            Arc::clone(&old.peer),
        )?;
        self.http.0.send_replace(Arc::new(target));
        let mut state = self.lock();
        let has_changed = state.digests != loaded.digests;
        state.digests = loaded.digests;
        Ok(has_changed)
    }

    /// Plain values, which a panic elsewhere leaves usable.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reload for InUse {
    fn interval(&self) -> Duration {
        self.upstream.files.reload_interval
    }

    fn seen(&self) -> Stamps {
        self.lock().seen.clone()
    }

    fn look(&self) -> Stamps {
        self.upstream.files.stamps()
    }

    async fn reload(&self) {
        // The result is logged, counted and shown in the health.
        let _ = self.take();
    }
}
