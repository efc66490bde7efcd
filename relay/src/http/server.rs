//! Serves a listener: HTTP/1.1 and HTTP/2, with or without TLS, with limits per connection and a graceful shutdown.

mod connections;
mod line;
mod metrics;
mod protocol;
mod rewound;
mod sending;
mod talk;
pub mod tls;

use crate::http::server::tls::Tls;
use crate::os::malloc;
use axum::extract::Request;
use axum::response::Response;
use connections::{Connection, Connections, Refused};
use ipnet::IpNet;
pub use metrics::{Closed, ConnectionMetrics, Metrics};
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use talk::Talk;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Pause after the operating system refuses a connection (no file descriptors left), and longest pause between two
/// attempts to close a connection while all of them are busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Interval of the search for connections that were idle for a while or do not read, as long as any is open.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// Number of connections whose released memory is worth returning to the system: about 15 MB.
const BURST: usize = 512;
/// A burst is over when, between two looks, only this part of it has released memory.
const QUIET_ONE_IN: usize = 8;

/// The ends of a connection, as a request extension.
#[derive(Clone, Copy)]
pub struct Peer {
    /// The address at the other end.
    pub address: SocketAddr,
    /// The local address that the peer connected to.
    pub reached_at: IpAddr,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Peer(hidden)")
    }
}

/// A response that is being made.
type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// The part of a listener that answers requests. Clones share it.
#[derive(Clone)]
pub struct Service(Arc<dyn Fn(Peer, Request) -> Answering + Send + Sync>);

impl Service {
    /// Answers by a function.
    pub fn by<F: Future<Output = Response> + Send + 'static>(
        answer: impl Fn(Peer, Request) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |peer, request| Box::pin(answer(peer, request))))
    }

    /// Answers by routes below their layers, which find the peer in the request's extensions.
    pub fn new<S>(routes: S) -> Self
    where
        S: tower::Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        Self::by(move |peer, request| route(routes.clone(), peer, request))
    }

    fn answer(&self, peer: Peer, request: Request) -> Answering {
        (self.0)(peer, request)
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
}

/// Answers a request by routes.
pub(super) async fn route<S>(routes: S, peer: Peer, mut request: Request) -> Response
where
    S: tower::Service<Request, Response = Response, Error = Infallible>,
{
    request.extensions_mut().insert(peer);
    let Ok(answer) = routes.oneshot(request).await;
    answer
}

/// The limits of one listener.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Most open connections. At the limit the longest-idle one is closed for a new one; while all of them have a
    /// request in flight, new ones wait in the kernel's queue.
    pub open_max: usize,
    /// Most open connections of one address (IPv6: of one /64). At the limit the client's own longest-idle connection
    /// is closed for a new one; the new one is closed only if all others have a request in flight. 0 means no limit.
    pub per_client_max: usize,
    /// Addresses without `per_client_max`: proxies that bring many clients.
    pub exempt: Vec<IpNet>,
    /// Most idle connections that keep HTTP's buffers. Above it the longest-idle one is asked to rest: on HTTP/1 it
    /// releases its buffers, on HTTP/2 it shuts down gracefully.
    pub awake_max: usize,
    /// Longest time to send a response. After that time, or up to half of it more, the connection is closed: the peer
    /// does not read.
    pub read_within: Duration,
}

impl ConnectionLimits {
    /// The default of a listener: 30 MB at about 30 KB each.
    pub const AWAKE_MAX: usize = 1024;
    /// Static responses have at most 40 KB, of which the kernel takes 16 at once.
    pub const READ_WITHIN: Duration = Duration::from_secs(30);

    /// Limits `asked`, the configured connections per address, to a quarter of `open_max`, but at least one. So
    /// closing the connections of others takes at least four addresses, even if the limit on open files lowers
    /// `open_max`. 0 still means no limit.
    pub fn share(asked: usize, open_max: usize) -> usize {
        asked.min((open_max / 4).max(1))
    }
}

/// A listener and its service.
#[derive(Debug)]
pub struct Front {
    /// The socket that accepts connections.
    pub listener: TcpListener,
    /// The service that answers requests.
    pub service: Service,
    /// The limits on connections.
    pub limits: ConnectionLimits,
    /// TLS, unless the listener speaks plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// The metrics that count connections.
    pub metrics: ConnectionMetrics,
}

impl Front {
    /// Accepts connections until `stop`, then waits for requests in flight.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            listener,
            service,
            limits,
            tls,
            metrics,
        } = self;
        let http = Arc::new(protocol::http());
        let hsts = tls.as_ref().and_then(|tls| tls.hsts());
        let connections = Arc::new(Connections::new(limits, metrics));
        let tending = tokio::spawn(tend(Arc::clone(&connections)));
        let talks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&listener, &connections) => accepted,
                () = stop.cancelled() => break,
            };
            let Some((stream, peer, connection)) = accepted else {
                continue;
            };
            // Fails only if the connection is already gone.
            let Ok(local) = stream.local_addr() else {
                continue;
            };
            let talk = Talk {
                http: Arc::clone(&http),
                service: service.clone(),
                peer: Peer {
                    address: peer,
                    reached_at: local.ip(),
                },
                connection: Arc::new(connection),
                stop: stop.clone(),
                hsts: hsts.clone(),
            };
            talks.spawn(talk.over(stream, tls.clone()));
        }
        drop(listener);
        talks.close();
        talks.wait().await;
        tending.abort();
    }
}

/// Accepts the next connection; `None` if it is refused.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Connections>,
) -> Option<(TcpStream, SocketAddr, Connection)> {
    let (stream, peer) = match listener.accept().await {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::warn!(kind = ?error.kind(), "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            return None;
        }
    };
    loop {
        match connections.admit(peer.ip(), Instant::now()) {
            Ok(connection) => {
                // Responses are small and must not wait for more data.
                let _ = stream.set_nodelay(true);
                return Some((stream, peer, connection));
            }
            Err(Refused::TooManyOfClient) => return None,
            // A connection asked to close does so within moments; a busy one may become idle without closing.
            Err(Refused::Full) => {
                let _ = tokio::time::timeout(ACCEPT_PAUSE, connections.one_left()).await;
            }
        }
    }
}

async fn tend(connections: Arc<Connections>) {
    let mut garbage = Garbage::default();
    loop {
        if !garbage.is_waiting() {
            connections.any().await;
        }
        tokio::time::sleep(TEND_EVERY).await;
        let now = Instant::now();
        connections.close_silent(now);
        connections.rest_silent(now);
        connections.close_unread(now);
        if garbage.is_due(connections.released()) {
            connections.shrink();
            malloc::trim();
        }
    }
}

/// Decides when memory that connections have released goes back to the system: after a burst of them, once it is over.
#[derive(Debug, Default)]
struct Garbage {
    /// Connections that had released their memory when it was last returned, and at the last look.
    returned: usize,
    seen: usize,
}

impl Garbage {
    /// Whether a burst was seen whose memory has not been returned.
    fn is_waiting(&self) -> bool {
        self.seen - self.returned >= BURST
    }

    /// Takes the number of connections that have released their memory so far.
    fn is_due(&mut self, released: usize) -> bool {
        let is_quiet = released - self.seen < BURST / QUIET_ONE_IN;
        self.seen = released;
        let is_due = is_quiet && self.is_waiting();
        if is_due {
            self.returned = released;
        }
        is_due
    }
}

#[cfg(test)]
mod tests;
