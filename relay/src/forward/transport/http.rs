//! The real transport: HTTP/1.1 over TCP or TLS, one connection per lane.
//!
//! A lane has one request under way, so it needs no pool and no locks: it drives its own connection, in
//! its own task. No proxy, no redirect, no compression, no cookie: what is answered is handed on as it is.

use super::{ANSWER_BYTES_MAX, Connection, Failure, Transport};
use crate::clock::Moment;
use crate::config::Upstream;
use axum::http::header::{HOST, HeaderValue};
use axum::http::uri::{Authority, Scheme};
use axum::http::{Request, Response, Uri};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

/// How long to establish a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may be idle. Shorter than what servers allow, so that it is hardly ever the
/// server that closes it.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Most bytes of an answer's head, as hyper buffers it; a longer one is no answer.
const HEAD_BYTES_MAX: usize = 32 * 1024;

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
    async fn send(&mut self, mut request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
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
                    let (open, certificate_until) = connect(&target).await?;
                    self.certificate_until = certificate_until;
                    open
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
                Err(Broken::Unsent(_)) => return Err(Failure::NotSent),
                Err(Broken::Sent(failure)) => return Err(failure),
            }
        }
    }

    fn tidy(&mut self) -> Option<Duration> {
        let left = IDLE_MAX.saturating_sub(self.open.as_ref()?.idle_since.elapsed());
        if left.is_zero() {
            self.open = None;
            return None;
        }
        Some(left)
    }
}

/// A stream to the upstream, TLS or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// When a certificate expires; nothing for one that cannot be read, which TLS would not have let through.
fn expires(certificate: &[u8]) -> Option<Moment> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    Some(Moment(seconds.saturating_mul(1000)))
}

/// A connection, and when the certificate expires that was shown.
async fn connect(target: &Target) -> Result<(Open, Option<Moment>), Failure> {
    let connecting = async {
        let tcp = TcpStream::connect((target.host.as_str(), target.port))
            .await
            .map_err(|_| Failure::Unreachable)?;
        // A request is one small write; waiting for more to send would only delay it. A socket that
        // refuses still works.
        let _ = tcp.set_nodelay(true);
        let mut certificate_until = None;
        let stream: Box<dyn Stream> = match &target.tls {
            None => Box::new(tcp),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), tcp).await;
                let stream = stream.map_err(|_| Failure::Tls)?;
                let shown = stream.get_ref().1.peer_certificates();
                certificate_until = shown.and_then(|chain| expires(chain.first()?));
                Box::new(stream)
            }
        };
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Failure::NotSent)?;
        let open = Open {
            sender,
            driver: Some(Box::pin(driver)),
            idle_since: Instant::now(),
        };
        Ok((open, certificate_until))
    };
    timeout(CONNECT_TIMEOUT, connecting)
        .await
        .unwrap_or(Err(Failure::Unreachable))
}

type Driver = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// A connection that was made, and what moves its bytes.
struct Open {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` when it has ended.
    driver: Option<Pin<Box<Driver>>>,
    idle_since: Instant,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Open")
    }
}

/// How an exchange failed.
enum Broken {
    /// None of the request was written; here it is again.
    Unsent(Box<Request<Full<Bytes>>>),
    /// Some of it may have been.
    Sent(Failure),
}

impl Open {
    /// One request and its answer, and whether the connection can take another. The deadline is for both head
    /// and body. Once there is a head, the status is answered: a body that stalls, breaks off or is too long
    /// changes nothing but that the connection is not used again.
    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<(Response<Bytes>, bool), Broken> {
        let head = timeout_at(deadline, self.head(request)).await;
        let (head, mut body) = head.unwrap_or(Err(Broken::Sent(Failure::TimedOut)))?.into_parts();
        let mut whole = BytesMut::new();
        let reading = driven(&mut self.driver, read(&mut body, &mut whole));
        let is_whole = timeout_at(deadline, reading).await.unwrap_or(false);
        let answer = Response::from_parts(head, whole.freeze());
        Ok((answer, is_whole && self.driver.is_some()))
    }

    /// Sends a request and waits for the head of its answer.
    async fn head(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Broken> {
        let Self { sender, driver, .. } = self;
        // Sees that the server closed it meanwhile, before anything is written.
        if driven(driver, std::future::poll_fn(|cx| sender.poll_ready(cx)))
            .await
            .is_err()
        {
            return Err(Broken::Unsent(Box::new(request)));
        }
        let sent = driven(driver, sender.try_send_request(request)).await;
        // hyper hands a request back only when it never began to write it.
        sent.map_err(|mut error| match error.take_message() {
            Some(request) => Broken::Unsent(Box::new(request)),
            None if error.error().is_parse() => Broken::Sent(Failure::NotHttp),
            None => Broken::Sent(Failure::Unknown),
        })
    }
}

/// Reads a body up to the limit, and tells whether that was all of it.
async fn read(body: &mut Incoming, into: &mut BytesMut) -> bool {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let Ok(data) = frame.into_data() else { continue };
        let left = ANSWER_BYTES_MAX - into.len();
        into.extend_from_slice(&data[..data.len().min(left)]);
        if data.len() > left {
            return false;
        }
    }
    true
}

/// Waits for something that needs the connection to move.
async fn driven<F: Future>(driver: &mut Option<Pin<Box<Driver>>>, wanted: F) -> F::Output {
    let mut wanted = pin!(wanted);
    std::future::poll_fn(|cx| {
        if let Some(running) = driver
            && running.as_mut().poll(cx).is_ready()
        {
            // Ended, well or badly: whoever waits on it is told by hyper.
            *driver = None;
        }
        wanted.as_mut().poll(cx)
    })
    .await
}

#[cfg(test)]
mod tests;
