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
use pair::Look;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A listener's certificate in use.
pub struct Tls {
    listener: &'static str,
    files: TlsFiles,
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
        self.take(Look::at(&self.files), clock)
    }

    fn take(&self, look: Result<Look, PairError>, clock: &Clock) -> Result<bool, PairError> {
        let listener = self.listener;
        let replaced = look.and_then(|look| {
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

/// Reloads when it is asked to, and when the files have changed, until the relay stops.
pub async fn watch(tls: Arc<Tls>, clock: Clock, asked: Arc<Notify>, stop: CancellationToken) {
    // What the files held when they were last acted upon, and what they held at the last look.
    let (mut known, mut settling) = (tls.current().fingerprint.clone(), None);
    loop {
        tokio::select! {
            () = tokio::time::sleep(tls.files.look_every) => {
                let look = Look::at(&tls.files);
                let now = look.as_ref().map_or_else(|_| String::new(), |look| look.fingerprint.clone());
                if now == known {
                    settling = None;
                    continue;
                }
                // The files are left alone until two looks find them the same: somebody may still be
                // writing them, or have written only one of the two.
                if settling.as_ref() != Some(&now) {
                    settling = Some(now);
                    continue;
                }
                known = now;
                // What came of it is logged, counted and shown in the health.
                let _ = tls.take(look, &clock);
            }
            () = asked.notified() => {
                let look = Look::at(&tls.files);
                known = look.as_ref().map_or_else(|_| String::new(), |look| look.fingerprint.clone());
                let _ = tls.take(look, &clock);
            }
            () = stop.cancelled() => return,
        }
        settling = None;
    }
}
