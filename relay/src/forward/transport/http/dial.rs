//! Opens a connection: resolves the name, races its addresses, performs the TLS handshake. Each step has its own time
//! limit and causes.

use super::exchange::{Open, Stream};
use super::race::{self, Resolve};
use super::target::{Hop, Target, Tls};
use super::tunnel;
use crate::clock::Timestamp;
use crate::forward::transport::Cause;
use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Time limit for resolving a name. The system's resolver gives the first DNS server 5 seconds (resolv.conf(5)) before
/// it asks the second: a relay must survive one dead server.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(8);
/// Time limit for connecting to any of the addresses.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for a proxy to connect to the upstream.
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to the upstream, for at most `age_max`. Also returns when the server's certificate expires.
pub(super) async fn dial(target: &Target, age_max: Duration) -> Result<(Open, Option<Timestamp>), Cause> {
    let stream: Box<dyn Stream> = match &target.proxy {
        None => Box::new(connect(target, &target.host, target.port).await?),
        Some(hop) => through(target, hop)
            .await
            .map_err(|cause| Cause::Proxy(hop.proxy.to_string(), Box::new(cause)))?,
    };
    let (stream, certificate_until) = match &target.tls {
        Some(tls) => shake_hands(tls, stream).await?,
        None => (stream, None),
    };
    Ok((
        Open::over(stream, target.tls.is_none(), age_max),
        certificate_until,
    ))
}

/// A stream to the upstream through a proxy: a tunnel if the upstream uses TLS, otherwise the proxy itself, which
/// receives the requests.
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
    // A request is one small write; waiting for more data would only delay it. A socket that refuses the option still
    // works.
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

/// TLS over a stream, and the expiry of the server's certificate.
async fn shake_hands(
    (connector, name): &Tls,
    stream: impl Stream + 'static,
) -> Result<(Box<dyn Stream>, Option<Timestamp>), Cause> {
    let handshake = timeout(HANDSHAKE_TIMEOUT, connector.connect(name.clone(), stream));
    let stream = handshake.await.map_err(|_| Cause::TlsTimedOut)?;
    let stream = stream.map_err(|error| Cause::of_handshake(&error))?;
    let shown = stream.get_ref().1.peer_certificates();
    let until = shown.and_then(|chain| expires(chain.first()?));
    Ok((Box::new(stream), until))
}

/// When a certificate expires; nothing for one that cannot be parsed, which TLS would have rejected.
fn expires(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    Some(Timestamp(seconds.saturating_mul(1000)))
}
