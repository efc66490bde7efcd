//! The real transport: HTTP/1.1 over TCP or TLS, one connection per lane.
//!
//! A lane has one request under way, so it needs no pool and no locks: it drives its own connection, in
//! its own task. No redirect, no compression, no cookie: an answer is handed on as it is.

mod dial;
mod exchange;
mod race;

use super::{Cause, Connection, Transport};
use crate::clock::{self, Moment};
use crate::config::Upstream;
use axum::http::header::{HOST, HeaderValue};
use axum::http::uri::{Authority, Scheme};
use axum::http::{Request, Response, Uri};
use bytes::Bytes;
use exchange::{Broken, Open};
use http_body_util::Full;
use race::{Resolve, System};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// How long a connection may be idle. Shorter than servers usually allow, so that it is hardly ever the
/// server that closes it.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long a connection is used, however busy it is. Then the name is resolved anew, so a Plausible that moved is
/// found within this time while traffic flows. Each connection gets up to a fifth less, at random, so that the lanes do not
/// reconnect together.
const AGE_MAX: Duration = Duration::from_secs(5 * 60);

/// Why there can be no transport.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The address has no host or no known scheme; the configuration does not let such a one through.
    #[error("`upstream.url` is no http or https address")]
    Address,
    /// The system's certificates cannot be used.
    #[error("the certificates that `upstream.url` is checked against cannot be used: {0}")]
    Certificates(#[from] rustls::Error),
}

/// The one upstream, over the network.
#[derive(Clone, Debug)]
pub struct Http(Arc<Target>);

struct Target {
    host: String,
    port: u16,
    host_header: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    answer_timeout: Duration,
    names: Box<dyn Resolve>,
    /// For jitter.
    random: fn() -> u32,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({}:{})", self.host, self.port)
    }
}

impl Http {
    /// A transport to the configured upstream. Nothing is connected yet.
    ///
    /// # Errors
    /// When there are no certificates to check the upstream's with.
    pub fn new(upstream: &Upstream) -> Result<Self, TransportError> {
        Self::with_names(upstream, System)
    }

    fn with_names(upstream: &Upstream, names: impl Resolve + 'static) -> Result<Self, TransportError> {
        let uri: Uri = upstream.url.parse().map_err(|_| TransportError::Address)?;
        let authority = uri.authority().ok_or(TransportError::Address)?;
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let tls = match is_tls {
            true => Some((
                TlsConnector::from(Arc::new(tls_config(upstream)?)),
                ServerName::try_from(host.clone()).map_err(|_| TransportError::Address)?,
            )),
            false => None,
        };
        Ok(Self(Arc::new(Target {
            host_header: host_header(authority)?,
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            host,
            tls,
            answer_timeout: upstream.timeout,
            names: Box::new(names),
            random: clock::random_number,
        })))
    }
}

fn host_header(authority: &Authority) -> Result<HeaderValue, TransportError> {
    HeaderValue::from_str(authority.as_str()).map_err(|_| TransportError::Address)
}

/// Trusts the CA of `upstream.ca_file` and no other where one is given, else what the system trusts.
fn tls_config(upstream: &Upstream) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    if upstream.ca.is_empty() {
        return Ok(builder.with_platform_verifier()?.with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    for certificate in &upstream.ca {
        roots.add(certificate.clone())?;
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl Transport for Http {
    type Connection = HttpConnection;

    fn connection(&self) -> HttpConnection {
        HttpConnection {
            target: Arc::clone(&self.0),
            open: None,
            certificate_until: None,
        }
    }
}

/// One lane's connection; made at the first request, and again whenever it is gone.
#[derive(Debug)]
pub struct HttpConnection {
    target: Arc<Target>,
    open: Option<Open>,
    certificate_until: Option<Moment>,
}

impl HttpConnection {
    /// When the certificate expires that the upstream showed last; nothing without TLS.
    pub fn certificate_until(&self) -> Option<Moment> {
        self.certificate_until
    }
}

impl Connection for HttpConnection {
    async fn send(&mut self, mut request: Request<Bytes>) -> Result<Response<Bytes>, Cause> {
        let target = Arc::clone(&self.target);
        request.headers_mut().insert(HOST, target.host_header.clone());
        self.tidy();
        // Taken out, so that a connection whose answer was not read to its end is never used again.
        let mut kept = self.open.take();
        let mut request = request.map(Full::new);
        loop {
            let is_fresh = kept.is_none();
            let mut open = match kept.take() {
                Some(open) => open,
                None => {
                    let dialed = dial::dial(&target, age_max((target.random)())).await?;
                    self.certificate_until = dialed.certificate_until;
                    dialed.open
                }
            };
            let deadline = Instant::now() + target.answer_timeout;
            match open.exchange(request, deadline).await {
                Ok((answer, is_reusable)) => {
                    if is_reusable {
                        open.idle_since = Instant::now();
                        self.open = Some(open);
                    }
                    return Ok(answer);
                }
                // The server closed an idle connection: no failure, since nothing was sent.
                Err(Broken::Unsent(unsent)) if !is_fresh => request = *unsent,
                Err(Broken::Unsent(_)) => return Err(Cause::BrokenBefore),
                Err(Broken::Sent(cause)) => return Err(cause),
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

/// How long a connection is used that is made now.
fn age_max(random: u32) -> Duration {
    let most = u64::from(u32::MAX);
    let less = (AGE_MAX / 5).as_secs() * u64::from(random) / most;
    AGE_MAX - Duration::from_secs(less)
}

#[cfg(test)]
mod tests;
