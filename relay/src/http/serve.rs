//! Serves a router on a listener: HTTP/1.1 and HTTP/2, with or without TLS, with limits on what a
//! connection may do and an orderly end.

mod connections;
mod protocol;
mod rewound;
mod sending;
mod talk;

use crate::http::tls::Tls;
use crate::metrics::door::ConnectionMetrics;
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use connections::{Connection, Connections, Refused};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use talk::Talk;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

/// Pause after the operating system refuses a connection (no file descriptors left), and longest pause
/// between two looks for a connection to close when all of them are busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often connections that were silent for too long, or do not read, are looked for.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// The address at the other end of the connection, as a request extension.
#[derive(Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Peer(hidden)")
    }
}

/// An answer on its way.
pub type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// What answers the requests of a listener.
pub trait Answers: Clone + Send + Sync + Unpin + 'static {
    /// The same for a connection that came in at this address of ours.
    #[must_use]
    fn reached_at(&self, _local: IpAddr) -> Self {
        self.clone()
    }

    /// Answers one request.
    fn answer(&self, peer: Peer, request: Request) -> Answering;
}

impl Answers for Router {
    fn answer(&self, peer: Peer, mut request: Request) -> Answering {
        request.extensions_mut().insert(peer);
        let answer = self.clone().call(request);
        Box::pin(async move {
            match answer.await {
                Ok(answer) => answer,
                Err(never) => match never {},
            }
        })
    }
}

/// What one listener allows.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Most open connections. Above it the one that was silent longest is closed for a new one; while a
    /// request is under way on every one of them, new ones wait in the kernel's queue.
    pub open_max: usize,
    /// Most open connections of one address (IPv6: of one /64). Above it the client's own that was silent longest is
    /// closed for a new one; the new one is closed only if a request is under way on each of the others. 0 is no limit.
    pub per_client_max: usize,
    /// Addresses `per_client_max` does not hold for: proxies that bring many clients.
    pub exempt: Vec<IpNet>,
    /// Most silent connections that keep HTTP's buffers. Above it the one silent longest is told to rest: on HTTP/1
    /// it gives them back, on HTTP/2 it is asked to end.
    pub awake_max: usize,
    /// How long an answer may take to be sent. After that, or half of it more, its connection is closed: the peer does
    /// not read.
    pub read_within: Duration,
}

impl ConnectionLimits {
    /// As many as a listener allows by default: 30 MB at about 30 KB each.
    pub const AWAKE_MAX: usize = 1024;
    /// Static answers have 40 KB at most, of which the kernel takes 16 at once.
    pub const READ_WITHIN: Duration = Duration::from_secs(30);

    /// How many of `open_max` connections one address may have that is asked to have at most so many: never more than a
    /// quarter of what may be open, at least one. So it takes four addresses to close connections of others, also where
    /// the limit on open files lowers `open_max`. 0 stays no limit.
    pub fn share(asked: usize, open_max: usize) -> usize {
        asked.min((open_max / 4).max(1))
    }
}

/// A listener and what it serves.
#[derive(Debug)]
pub struct Front<A> {
    /// Where connections come in.
    pub listener: TcpListener,
    /// What answers their requests.
    pub answers: A,
    /// How many there may be.
    pub limits: ConnectionLimits,
    /// TLS, unless the listener speaks plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// Where connections are counted.
    pub metrics: ConnectionMetrics,
}

impl<A: Answers> Front<A> {
    /// A listener of plain HTTP that counts for itself, as the demonstration's servers need it.
    pub fn plain(listener: TcpListener, answers: A, open_max: usize) -> Self {
        Self {
            listener,
            answers,
            limits: ConnectionLimits {
                open_max,
                per_client_max: 0,
                exempt: Vec::new(),
                awake_max: ConnectionLimits::AWAKE_MAX,
                read_within: ConnectionLimits::READ_WITHIN,
            },
            tls: None,
            metrics: ConnectionMetrics::default(),
        }
    }

    /// Accepts until `stop`, then waits for requests under way.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            listener,
            answers,
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
            // Fails only if the connection is gone already.
            let Ok(local) = stream.local_addr() else {
                continue;
            };
            let talk = Talk {
                http: Arc::clone(&http),
                answers: answers.reached_at(local.ip()),
                peer: Peer(peer),
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

/// The next connection that may stay; `None` for one that may not.
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
                // Answers are small and must not wait for more to be sent.
                let _ = stream.set_nodelay(true);
                return Some((stream, peer, connection));
            }
            Err(Refused::TooManyOfClient) => return None,
            // One that is told to go is gone in a moment; one that is busy may fall silent without going.
            Err(Refused::Full) => {
                let _ = tokio::time::timeout(ACCEPT_PAUSE, connections.one_left()).await;
            }
        }
    }
}

async fn tend(connections: Arc<Connections>) {
    loop {
        tokio::time::sleep(TEND_EVERY).await;
        let now = Instant::now();
        connections.close_silent(now);
        connections.close_unread(now);
    }
}

#[cfg(test)]
mod tests;
