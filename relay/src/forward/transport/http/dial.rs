//! Makes a connection: resolve the name, race its addresses, shake hands. Each step has its own time and its own
//! causes.

use super::exchange::{Open, Stream};
use super::race::{self, Resolve};
use super::target::{Hop, Target, Tls};
use super::tunnel;
use crate::clock::Moment;
use crate::forward::transport::Cause;
use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// How long to resolve a name. The system's resolver gives the first DNS server 5 seconds (resolv.conf(5)) before it
/// asks the second: a relay must outlast one dead server.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long to connect to any of the addresses.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a proxy may take to connect to the upstream.
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection, ready for requests.
pub(super) struct Dialed {
    pub(super) open: Open,
    /// When the certificate expires that was shown.
    pub(super) certificate_until: Option<Moment>,
}

/// Connects to the upstream, for at most `age_max`.
pub(super) async fn dial(target: &Target, age_max: Duration) -> Result<Dialed, Cause> {
    let stream: Box<dyn Stream> = match &target.proxy {
        None => Box::new(connect(target, &target.host, target.port).await?),
        Some(hop) => through(target, hop).await.map_err(|cause| Cause::Proxy {
            proxy: hop.proxy.to_string(),
            cause: Box::new(cause),
        })?,
    };
    let Some(tls) = &target.tls else {
        return Ok(Dialed {
            open: Open::over_plain(stream, age_max).await?,
            certificate_until: None,
        });
    };
    let (stream, certificate_until) = shake_hands(tls, stream).await?;
    Ok(Dialed {
        open: Open::over_tls(stream, age_max).await?,
        certificate_until,
    })
}

/// A stream to the upstream through a proxy: a tunnel if the upstream speaks TLS, else the proxy itself, which is handed
/// the requests.
async fn through(target: &Target, hop: &Hop) -> Result<Box<dyn Stream>, Cause> {
    let tcp = connect(target, &hop.proxy.host, hop.proxy.port).await?;
    let stream: Box<dyn Stream> = match &hop.tls {
        None => Box::new(tcp),
        Some(tls) => shake_hands(tls, tcp).await?.0,
    };
    if target.tls.is_none() {
        return Ok(stream);
    }
    let tunnel = tunnel::open(stream, &hop.proxy, &target.host, target.port);
    timeout(TUNNEL_TIMEOUT, tunnel)
        .await
        .unwrap_or(Err(Cause::AnswerTimedOut))
}

/// A TCP connection to a host.
async fn connect(target: &Target, host: &str, port: u16) -> Result<TcpStream, Cause> {
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => resolve(&*target.names, host, port).await?,
    };
    let tcp = race::connect(addresses, Instant::now() + CONNECT_TIMEOUT).await?;
    // A request is one small write; waiting for more to send would only delay it. A socket that
    // refuses still works.
    let _ = tcp.set_nodelay(true);
    *target.peer.lock().unwrap_or_else(PoisonError::into_inner) = tcp.peer_addr().ok();
    Ok(tcp)
}

async fn resolve(names: &dyn Resolve, host: &str, port: u16) -> Result<Vec<SocketAddr>, Cause> {
    match timeout(RESOLVE_TIMEOUT, names.resolve(host, port)).await {
        Err(_) => Err(Cause::NameServer(host.to_owned())),
        Ok(Err(error)) => Err(Cause::of_lookup(host, &error)),
        Ok(Ok(found)) if found.is_empty() => Err(Cause::NameUnknown(host.to_owned())),
        Ok(Ok(found)) => Ok(race::order(&found)),
    }
}

/// TLS over a stream, and when the certificate expires that the server showed.
async fn shake_hands(
    (connector, name): &Tls,
    stream: impl Stream + 'static,
) -> Result<(Box<dyn Stream>, Option<Moment>), Cause> {
    let handshake = timeout(HANDSHAKE_TIMEOUT, connector.connect(name.clone(), stream));
    let stream = handshake.await.map_err(|_| Cause::TlsTimedOut)?;
    let stream = stream.map_err(|error| Cause::of_handshake(&error))?;
    let shown = stream.get_ref().1.peer_certificates();
    let until = shown.and_then(|chain| expires(chain.first()?));
    Ok((Box::new(stream), until))
}

/// When a certificate expires; nothing for one that cannot be read, which TLS would not have let through.
fn expires(certificate: &[u8]) -> Option<Moment> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    Some(Moment(seconds.saturating_mul(1000)))
}
