//! The real transport: HTTP/1.1 over TCP or TLS.
//!
//! A connection sends several requests before it reads their answers, which a general client does not do: so it writes
//! them itself and reads answers with `httparse`. No redirects, compression or cookies: an answer is returned unchanged.

mod answers;
mod dial;
mod encoded;
mod exchange;
mod in_use;
mod race;
mod target;
mod tunnel;

pub use in_use::InUse;

use super::{Cause, Connection, Transport};
use crate::clock::Timestamp;
use crate::config::{FileError, Loaded, Upstream};
use axum::http::{Request, Response};
use bytes::Bytes;
use exchange::{Ended, Open};
use race::{Resolve, System};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use target::Target;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a connection may be idle. Shorter than the usual limit of servers, so that the server rarely closes it
/// first.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long a connection is used, however busy it is. Then the name is resolved again, so a Plausible that moved is
/// found within this time while traffic flows. Each connection gets up to a fifth less, at random, so that the lanes do
/// not reconnect together.
const AGE_MAX: Duration = Duration::from_secs(5 * 60);

/// Why there can be no transport.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The address has no host or no known scheme; the configuration rejects such addresses.
    #[error("`upstream.url` is not an http or https address")]
    Address,
    /// The system's certificates cannot be used.
    #[error("the CA certificates for `upstream.url` cannot be used: {0}")]
    Certificates(#[from] rustls::Error),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The one upstream, over the network. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Http(Arc<watch::Sender<Arc<Target>>>);

impl Http {
    /// A transport to the configured upstream, with the files as they are now. Nothing is connected yet.
    ///
    /// # Errors
    /// If a file or a certificate cannot be used.
    pub fn new(upstream: &Upstream) -> Result<Self, TransportError> {
        Self::with(upstream, &upstream.files.load()?, Arc::new(System))
    }

    fn with(upstream: &Upstream, loaded: &Loaded, names: Arc<dyn Resolve>) -> Result<Self, TransportError> {
        let target = Target::new(upstream, loaded, names, Arc::default())?;
        Ok(Self(Arc::new(watch::Sender::new(Arc::new(target)))))
    }

    /// The address of the last connection that was made: Plausible's, or the proxy's.
    pub fn peer(&self) -> Option<SocketAddr> {
        let target = self.0.borrow();
        *target.peer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Http {
    type Connection = HttpConnection;

    fn connection(&self) -> HttpConnection {
        let mut targets = self.0.subscribe();
        let target = Arc::clone(&targets.borrow_and_update());
        HttpConnection {
            targets,
            target,
            open: None,
            certificate_until: None,
        }
    }
}

/// A connection; opened at the first request, and again whenever it is gone.
#[derive(Debug)]
pub struct HttpConnection {
    targets: watch::Receiver<Arc<Target>>,
    target: Arc<Target>,
    open: Option<Open>,
    certificate_until: Option<Timestamp>,
}

impl HttpConnection {
    /// When the upstream's last certificate expires; nothing without TLS.
    pub fn certificate_until(&self) -> Option<Timestamp> {
        self.certificate_until
    }

    async fn dial(&mut self, target: &Target) -> Result<Open, Cause> {
        let (open, until) = dial::dial(target, age_max((target.random)())).await?;
        self.certificate_until = until;
        Ok(open)
    }
}

impl Connection for HttpConnection {
    async fn send_all(
        &mut self,
        requests: Vec<Request<Bytes>>,
        mut ended: impl FnMut(Result<Response<Bytes>, Cause>, Duration) + Send,
    ) {
        // Fails when no target can follow any more.
        if self.targets.has_changed().unwrap_or(false) {
            self.target = Arc::clone(&self.targets.borrow_and_update());
            self.open = None;
        }
        self.tidy();
        let target = Arc::clone(&self.target);
        let (started, mut left) = (Instant::now(), requests.as_slice());
        while !left.is_empty() {
            // Taken out, so that a connection whose answers were not read completely is never reused.
            let kept = self.open.take();
            let is_fresh = kept.is_none();
            let mut open = match kept {
                Some(open) => open,
                None => match self.dial(&target).await {
                    Ok(open) => open,
                    Err(cause) => return fail(left, &cause, started, &mut ended),
                },
            };
            let (before, encoded) = (left.len(), target.encode(left));
            let end = open.exchange(&encoded, target.answer_timeout, |answer, took| {
                left = &left[1..];
                ended(Ok(answer), took);
            });
            match end.await {
                Ended::Answered { is_reusable: false } => {}
                Ended::Answered { is_reusable: true } => {
                    open.idle_since = Instant::now();
                    self.open = Some(open);
                }
                // The rest goes out on another connection, unless this one did nothing.
                Ended::Unprocessed if !is_fresh || left.len() < before => {}
                Ended::Unprocessed => return fail(left, &Cause::BrokenBefore, started, &mut ended),
                Ended::Broken { cause, sent } => {
                    let (sent, unsent) = left.split_at(sent);
                    fail(sent, &cause, started, &mut ended);
                    return fail(unsent, &Cause::BrokenBefore, started, &mut ended);
                }
            }
        }
    }

    fn tidy(&mut self) -> Option<Duration> {
        let left = self.open.as_ref()?.left(IDLE_MAX);
        if left.is_zero() {
            self.open = None;
            return None;
        }
        Some(left)
    }
}

/// Reports the same cause for each of some requests.
fn fail(
    requests: &[Request<Bytes>],
    cause: &Cause,
    started: Instant,
    ended: &mut impl FnMut(Result<Response<Bytes>, Cause>, Duration),
) {
    for _ in requests {
        ended(Err(cause.clone()), started.elapsed());
    }
}

/// How long a new connection is used.
fn age_max(random: u32) -> Duration {
    let most = u64::from(u32::MAX);
    let less = (AGE_MAX / 5).as_secs() * u64::from(random) / most;
    AGE_MAX - Duration::from_secs(less)
}

#[cfg(test)]
mod tests;
