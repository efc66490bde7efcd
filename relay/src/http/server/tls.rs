//! TLS of a listener: its certificate, and the replacement of it while connections go on.
//!
//! A changed pair of files is read and checked as a whole; only then do new connections get it. Whatever
//! is wrong with it, the pair before goes on serving. Open connections keep what they began with.

mod pair;

pub use pair::{Pair, PairError};

use crate::clock::{Clock, Moment};
use crate::config::TlsFiles;
use crate::metrics::ResultLabel;
use crate::metrics::door::{DoorMetrics, ListenerLabel};
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
    /// The files as they were before they were last read.
    seen: Mutex<Stamps>,
    current: RwLock<Arc<Pair>>,
    /// Why the last reload failed, if it did.
    trouble: Mutex<Option<String>>,
    expiry: prometheus_client::metrics::gauge::Gauge,
    reloads:
        prometheus_client::metrics::family::Family<ResultLabel, prometheus_client::metrics::counter::Counter>,
}

/// The certificates of both listeners, where they have one.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    /// Of the listener browsers reach.
    pub public: Option<Arc<Tls>>,
    /// Of the listener of admins and monitoring.
    pub admin: Option<Arc<Tls>>,
}

impl Listeners {
    /// Those that have a certificate.
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
    /// Reads the certificate a listener starts with.
    ///
    /// # Errors
    /// When it is not usable. The relay does not start then.
    pub fn open(
        listener: &'static str,
        files: &TlsFiles,
        metrics: &DoorMetrics,
        clock: &Clock,
    ) -> Result<Self, PairError> {
        let seen = stamps(files);
        let pair = Look::at(files)?.pair(files)?;
        warn_when_expired(listener, &pair, clock);
        let expiry = metrics
            .certificate_expiry
            .get_or_create(&ListenerLabel { listener })
            .clone();
        expiry.set(pair.expires_s);
        Ok(Self {
            listener,
            files: files.clone(),
            clock: clock.clone(),
            seen: Mutex::new(seen),
            current: RwLock::new(Arc::new(pair)),
            trouble: Mutex::default(),
            expiry,
            reloads: metrics.certificate_reloads.clone(),
        })
    }

    /// What makes a TLS connection of an accepted one.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current().config))
    }

    /// The pair that new connections get.
    pub fn current(&self) -> Arc<Pair> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The listener's section in the configuration.
    pub fn listener(&self) -> &'static str {
        self.listener
    }

    /// Why the last reload failed; `None` when it did not.
    pub fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the files again and puts a changed pair to use when it is fit. Says whether it was changed.
    ///
    /// # Errors
    /// Why it was not put to use; the pair before goes on serving.
    pub fn reload(&self, clock: &Clock) -> Result<bool, PairError> {
        self.take(clock)
    }

    /// What `Strict-Transport-Security` says in each answer; `None` for nothing.
    pub fn hsts(&self) -> Option<HeaderValue> {
        let seconds = self.files.hsts.as_secs();
        (seconds > 0).then(|| HeaderValue::try_from(format!("max-age={seconds}")).ok())?
    }

    /// How often the files are looked at.
    pub fn look_every(&self) -> Duration {
        self.files.look_every
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
            let expires = Moment(pair.expires_s.saturating_mul(1000)).rfc3339();
            self.expiry.set(pair.expires_s);
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
            tracing::info!(listener, expires, "another certificate is in use");
            Ok(true)
        });
        let trouble = replaced.as_ref().err().map(ToString::to_string);
        let result = match &replaced {
            Ok(false) => None,
            Ok(true) => Some("ok"),
            Err(error) => {
                tracing::error!(listener, %error, "the certificate was not replaced; the one before goes on serving");
                Some("failed")
            }
        };
        if let Some(result) = result {
            self.reloads.get_or_create(&ResultLabel { result }).inc();
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        replaced
    }
}

/// An expired certificate is shown all the same: whoever connects will say no to it, and say why.
fn warn_when_expired(listener: &str, pair: &Pair, clock: &Clock) {
    if pair.is_expired(clock.now()) {
        tracing::warn!(listener, "the certificate has expired");
    }
}

impl Reload for Tls {
    fn seen(&self) -> Stamps {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn look(&self) -> Stamps {
        stamps(&self.files)
    }

    async fn reload(&self) {
        // The result is logged, counted and shown in the health.
        let _ = self.take(&self.clock);
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    Stamps::of([files.cert_file.as_path(), files.key_file.as_path()])
}
