//! Serves a router on a listener: HTTP/1.1 and HTTP/2, with or without TLS, with limits on what a
//! connection may do and an orderly end.

mod connections;
mod protocol;

use crate::host::Host;
use crate::http::body;
use crate::http::problem::Problem;
use crate::http::tls::Tls;
use crate::metrics::door::ConnectionMetrics;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use connections::{Connection, Connections, Refused};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use ipnet::IpNet;
use protocol::Http;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::Service;

/// Pause after the operating system refuses a connection (no file descriptors left), and longest pause
/// between two looks for a connection to close when all of them are busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often connections that were silent for too long are looked for.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// The first byte of a TLS connection: a record of the handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// What somebody reads who speaks plain HTTP to a listener with TLS.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 39\r\n\
    connection: close\r\n\r\nThis listener speaks TLS: use https://\n";

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
pub trait Answers: Clone + Send + Sync + 'static {
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
    /// Most open connections of one address (IPv6: of one /64). Above it a new one is closed at once.
    /// 0 is no limit.
    pub per_client_max: usize,
    /// At `per_client_max` the client's own connection that was silent longest is closed for a new one. The new one is
    /// closed only if a request is under way on each of the others.
    pub replaces_own: bool,
    /// Addresses `per_client_max` does not hold for: proxies that bring many clients.
    pub exempt: Vec<IpNet>,
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
                replaces_own: false,
                exempt: Vec::new(),
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
        let graceful = GracefulShutdown::new();
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
                watcher: graceful.watcher(),
                hsts: hsts.clone(),
            };
            tokio::spawn(talk.over(stream, tls.clone(), stop.clone()));
        }
        drop(listener);
        graceful.shutdown().await;
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
        connections.close_silent(Instant::now());
    }
}

/// One connection and what it needs to be served.
struct Talk<A> {
    http: Arc<Http>,
    answers: A,
    peer: Peer,
    connection: Arc<Connection>,
    watcher: Watcher,
    /// What each answer says of TLS, on a listener that has it.
    hsts: Option<HeaderValue>,
}

impl<A: Answers> Talk<A> {
    /// Serves a connection until either end closes it, or it is told to go. What goes wrong on it is the
    /// other end's affair; events are counted elsewhere.
    async fn over(self, stream: TcpStream, tls: Option<Arc<Tls>>, stop: CancellationToken) {
        let connection = Arc::clone(&self.connection);
        let served = async move {
            let Some(tls) = tls else {
                return self.serve(stream).await;
            };
            let handshake = shake_hands(stream, &tls);
            let stream = tokio::select! {
                stream = handshake => stream,
                () = stop.cancelled() => None,
            };
            match stream {
                Some(stream) => self.serve(stream).await,
                None => self.connection.count_failed_handshake(),
            }
        };
        tokio::select! {
            () = served => {}
            () = connection.told_to_go() => {}
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self {
            http,
            answers,
            peer,
            connection,
            watcher,
            hsts,
        } = self;
        let on_it = Arc::clone(&connection);
        let service = service_fn(move |request: Request<Incoming>| {
            let busy = on_it.begin();
            let problem = if protocol::is_head_too_large(&request) {
                on_it.count_large_head();
                Some(Problem::head_too_large())
            } else {
                Host::of(&request).err().map(Problem::bad_host)
            };
            let answer = match problem {
                Some(problem) => {
                    body::throw_away(Body::new(request.into_body()));
                    Err(problem)
                }
                None => Ok(answers.answer(peer, request.map(Body::new))),
            };
            let hsts = hsts.clone();
            async move {
                let mut answer = match answer {
                    Ok(answer) => answer.await,
                    Err(problem) => problem.into_response(),
                };
                if let Some(hsts) = hsts {
                    answer
                        .headers_mut()
                        .insert(header::STRICT_TRANSPORT_SECURITY, hsts);
                }
                drop(busy);
                Ok::<_, Infallible>(answer)
            }
        });
        let served = watcher
            .watch(http.serve_connection(TokioIo::new(stream), service))
            .await;
        if served.is_err_and(|error| protocol::ended_on_large_head(&*error)) {
            connection.count_large_head();
        }
    }
}

/// The handshake. It has no time limit of its own: a connection without a request is closed as silent.
async fn shake_hands(mut stream: TcpStream, tls: &Tls) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first[0] != TLS_HANDSHAKE {
        // A word for whoever mixed up the scheme. What was sent is taken first, or closing would reset the
        // connection and take the answer with it.
        let _ = stream.try_read(&mut [0; 1024]);
        let _ = stream.write_all(SPEAK_TLS).await;
        let _ = stream.shutdown().await;
        return None;
    }
    tls.acceptor().accept(stream).await.ok()
}
