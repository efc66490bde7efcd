//! TLS of a listener: its certificate, and how it is replaced while connections stay open.
//!
//! A changed pair of files is read and checked as a whole; only then do new connections get it. If it is invalid, the
//! previous pair stays in use. Open connections keep the certificate they began with.

mod pair;

pub use pair::{Pair, PairError};

use super::metrics::Metrics;
use crate::clock::{Clock, Timestamp};
use crate::config::TlsFiles;
use crate::reload::{Reload, Stamps};
use axum::http::HeaderValue;
use pair::Look;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

/// A listener's certificate in use.
pub struct Tls {
    listener: &'static str,
    files: TlsFiles,
    clock: Clock,
    /// The stamps of the files before they were last read.
    seen: Mutex<Stamps>,
    current: RwLock<Arc<Pair>>,
    /// Why the last reload failed, if it did.
    last_error: Mutex<Option<String>>,
    metrics: Metrics,
}

/// The certificates of the listeners that have one.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    /// The certificate of the public listener.
    pub public: Option<Arc<Tls>>,
    /// The certificate of the admin listener.
    pub admin: Option<Arc<Tls>>,
}

impl Listeners {
    /// The listeners' certificates, if configured.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Tls>> {
        self.public.iter().chain(&self.admin)
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls({})", self.listener)
    }
}

impl Tls {
    /// Reads the certificate that a listener starts with.
    ///
    /// # Errors
    /// If it is not usable. The relay does not start then.
    pub fn open(
        listener: &'static str,
        files: &TlsFiles,
        metrics: &Metrics,
        clock: &Clock,
    ) -> Result<Self, PairError> {
        let seen = stamps(files);
        let pair = Look::at(files)?.pair(files)?;
        warn_when_expired(listener, &pair, clock);
        metrics.note_expiry(listener, pair.expires_s);
        Ok(Self {
            listener,
            files: files.clone(),
            clock: clock.clone(),
            seen: Mutex::new(seen),
            current: RwLock::new(Arc::new(pair)),
            last_error: Mutex::default(),
            metrics: metrics.clone(),
        })
    }

    /// The acceptor that upgrades a connection to TLS.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current().config))
    }

    /// The pair for new connections.
    pub fn current(&self) -> Arc<Pair> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The listener's section in the configuration.
    pub fn listener(&self) -> &'static str {
        self.listener
    }

    /// Why the last reload failed; `None` if it succeeded.
    pub fn last_error(&self) -> Option<String> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the files again and applies a changed pair if it is valid. Returns whether the pair changed.
    ///
    /// # Errors
    /// Why it was not applied; the previous pair stays in use.
    pub fn reload(&self, clock: &Clock) -> Result<bool, PairError> {
        self.take(clock)
    }

    /// The value of `Strict-Transport-Security` in each response; `None` if the header is not sent.
    pub fn hsts(&self) -> Option<HeaderValue> {
        let seconds = self.files.hsts.as_secs();
        (seconds > 0).then(|| HeaderValue::try_from(format!("max-age={seconds}")).ok())?
    }

    fn take(&self, clock: &Clock) -> Result<bool, PairError> {
        let listener = self.listener;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamps(&self.files);
        let replaced = Look::at(&self.files).and_then(|look| {
            if look.is_of(&self.current()) {
                return Ok(false);
            }
            let pair = look.pair(&self.files)?;
            warn_when_expired(listener, &pair, clock);
            let expires = Timestamp(pair.expires_s.saturating_mul(1000)).rfc3339();
            self.metrics.note_expiry(listener, pair.expires_s);
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
            tracing::info!(listener, expires, "the certificate was replaced");
            Ok(true)
        });
        let last_error = replaced.as_ref().err().map(ToString::to_string);
        let result = match &replaced {
            Ok(false) => None,
            Ok(true) => Some("ok"),
            Err(error) => {
                tracing::error!(listener, %error, "the certificate was not replaced; the previous one stays in use");
                Some("failed")
            }
        };
        if let Some(result) = result {
            self.metrics.tls_reloads.with([result]).inc();
        }
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = last_error;
        replaced
    }
}

/// An expired certificate is served anyway: clients reject it, and report why.
fn warn_when_expired(listener: &str, pair: &Pair, clock: &Clock) {
    if pair.is_expired(clock.now()) {
        tracing::warn!(listener, "the certificate has expired");
    }
}

impl Reload for Tls {
    fn interval(&self) -> Duration {
        self.files.reload_interval
    }

    fn seen(&self) -> Stamps {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn look(&self) -> Stamps {
        stamps(&self.files)
    }

    async fn reload(&self) {
        // The result is logged, counted and shown in health.
        let _ = self.take(&self.clock);
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    Stamps::of([files.cert_file.as_path(), files.key_file.as_path()])
}
