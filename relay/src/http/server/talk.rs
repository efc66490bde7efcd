//! The life of one connection: TLS, the HTTP version, requests, and rest between them.
//!
//! HTTP's buffers are many times larger than the rest of an idle connection. A connection has them from its first
//! byte on, and releases them when it is asked to rest; then only a socket and a place in the table remain.

use super::Peer;
use super::connections::{Busy, Connection};
use super::protocol::{self, Http};
use super::rewound::{Rewound, Socket};
use super::sending::Sending;
use crate::host::Host;
use crate::http::body;
use crate::http::problem::{Problem, SPEAK_TLS};
use crate::http::server::tls::Tls;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::{Future, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// Longest time to send the last responses when the relay stops or the connection is asked to close or to rest. After
/// that it is closed.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Most bytes that TLS buffers ahead of the socket: one record. Above it writing waits, and the response counts as
/// unsent.
const TLS_BUFFER_BYTES: usize = 16 * 1024;
/// The first byte of a TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// One connection and the data needed to serve it.
pub(super) struct Talk {
    pub(super) http: Arc<Http>,
    pub(super) service: super::Service,
    pub(super) peer: Peer,
    pub(super) connection: Arc<Connection>,
    pub(super) stop: CancellationToken,
    /// The value of `Strict-Transport-Security` in each response, on a listener with TLS.
    pub(super) hsts: Option<HeaderValue>,
}

impl Talk {
    /// Serves a connection until either end closes it, or it is asked to close. Errors end it without a log line:
    /// events are counted elsewhere.
    pub(super) async fn over(self, stream: TcpStream, tls: Option<Arc<Tls>>) {
        tokio::select! {
            () = self.serve(stream, tls) => {}
            () = self.connection.close_requested() => {}
        }
    }

    async fn serve(&self, stream: TcpStream, tls: Option<Arc<Tls>>) {
        tokio::select! {
            _ = stream.readable() => self.connection.wake(),
            () = self.stop.cancelled() => return,
        }
        let Some(tls) = tls else {
            return self.speak(stream).await;
        };
        let shaken = tokio::select! {
            stream = Box::pin(shake_hands(stream, &tls)) => stream,
            () = self.stop.cancelled() => None,
        };
        match shaken {
            Some(stream) => self.speak(Box::new(stream)).await,
            None => self.connection.count_failed_handshake(),
        }
    }

    /// Detects the version of HTTP and serves it.
    async fn speak(&self, stream: impl Socket) {
        let rewound = tokio::select! {
            rewound = Rewound::comparing(stream, protocol::H2_PREFACE) => rewound,
            () = self.stop.cancelled() => return,
        };
        let Ok((mut stream, is_http2)) = rewound else {
            return;
        };
        if is_http2 {
            return Box::pin(self.http2(stream)).await;
        }
        self.connection.can_rest();
        while let Some(mut resting) = Box::pin(self.http1(stream)).await {
            self.connection.has_rested();
            // The bytes already read may contain a whole head; half a head waits for the rest.
            if !resting.has(b"\r\n\r\n") {
                tokio::select! {
                    _ = resting.readable() => {}
                    () = self.stop.cancelled() => {
                        let _ = tokio::time::timeout(END_WITHIN, resting.shutdown()).await;
                        return;
                    }
                }
            }
            self.connection.wake();
            stream = resting;
        }
    }

    /// Serves HTTP/1 until the connection is asked to rest, and then returns it; `None` when it ended.
    async fn http1<S: Socket>(&self, stream: Rewound<S>) -> Option<Rewound<S>> {
        let requests_before = self.connection.requests();
        let mut http = self
            .http
            .http1
            .serve_connection(TokioIo::new(stream), self.service());
        let mut ending = false;
        let ended = loop {
            tokio::select! {
                biased;
                ended = poll_fn(|cx| http.poll_without_shutdown(cx)) => break ended,
                () = self.stop.cancelled(), if !ending => {
                    ending = true;
                    Pin::new(&mut http).graceful_shutdown();
                }
                () = self.connection.rest_requested(), if !ending => {
                    if !self.connection.is_silent() {
                        continue;
                    }
                    // Without a request there is no response to send, and the library still waits for the first
                    // request.
                    if self.connection.requests() == requests_before {
                        return Some(rewound(http.into_parts()));
                    }
                    ending = true;
                    Pin::new(&mut http).graceful_shutdown();
                    let at_once = poll_fn(|cx| Poll::Ready(http.poll_without_shutdown(cx))).await;
                    if matches!(at_once, Poll::Ready(Ok(()))) {
                        return Some(rewound(http.into_parts()));
                    }
                }
                () = tokio::time::sleep(END_WITHIN), if ending => {
                    if self.connection.is_silent() {
                        return None;
                    }
                }
            }
        };
        match ended {
            Ok(()) => drop(http.into_parts().io.into_inner().shutdown().await),
            Err(error) if error.is_parse_too_large() => self.connection.count_large_head(),
            Err(_) => {}
        }
        None
    }

    /// Serves HTTP/2 until the connection ends. It cannot rest, because both ends keep header compression state: it
    /// shuts down gracefully instead, which costs clients no request.
    async fn http2(&self, stream: Rewound<impl Socket>) {
        let mut http = pin!(
            self.http
                .http2
                .serve_connection(TokioIo::new(stream), self.service())
        );
        let mut ending = false;
        loop {
            tokio::select! {
                biased;
                _ = &mut http => return,
                () = self.stop.cancelled(), if !ending => {
                    ending = true;
                    http.as_mut().graceful_shutdown();
                }
                () = self.connection.rest_requested(), if !ending => {
                    if self.connection.is_silent() {
                        ending = true;
                        http.as_mut().graceful_shutdown();
                    }
                }
                () = tokio::time::sleep(END_WITHIN), if ending => {
                    if self.connection.is_silent() {
                        return;
                    }
                }
            }
        }
    }

    fn service(&self) -> Service {
        Service {
            service: self.service.clone(),
            peer: self.peer,
            connection: Arc::clone(&self.connection),
            hsts: self.hsts.clone(),
        }
    }
}

fn rewound<S: Socket, A>(parts: hyper::server::conn::http1::Parts<TokioIo<Rewound<S>>, A>) -> Rewound<S> {
    let mut stream = parts.io.into_inner();
    stream.rewind(&parts.read_buf);
    stream
}

/// Answers the requests of one connection.
struct Service {
    service: super::Service,
    peer: Peer,
    connection: Arc<Connection>,
    hsts: Option<HeaderValue>,
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Sending>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let busy = self.connection.begin();
        let problem = if protocol::is_head_too_large(&request) {
            self.connection.count_large_head();
            Some(Problem::head_too_large())
        } else {
            Host::of(&request).err().map(Problem::bad_host)
        };
        let request = request.map(Body::new);
        let answering = match problem {
            Some(problem) => {
                body::throw_away(request.into_body());
                Box::pin(ready(problem.into_response()))
            }
            None => self.service.answer(self.peer, request),
        };
        Answer {
            answering,
            busy: Some(busy),
            connection: Arc::clone(&self.connection),
            hsts: self.hsts.clone(),
        }
    }
}

/// A request that is being answered. It is busy until the response is made; the peer decides when to read it.
struct Answer {
    answering: super::Answering,
    busy: Option<Busy>,
    connection: Arc<Connection>,
    hsts: Option<HeaderValue>,
}

impl Future for Answer {
    type Output = Result<Response<Sending>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = ready!(self.answering.as_mut().poll(cx));
        self.busy = None;
        if let Some(hsts) = self.hsts.take() {
            answer
                .headers_mut()
                .insert(header::STRICT_TRANSPORT_SECURITY, hsts);
        }
        Poll::Ready(Ok(answer.map(|body| self.connection.sending(body))))
    }
}

/// The TLS handshake. It has no timeout of its own: a connection without a request is closed as idle.
async fn shake_hands(mut stream: TcpStream, tls: &Tls) -> Option<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first[0] != TLS_HANDSHAKE {
        // The request is read first: otherwise closing would reset the connection and discard the response.
        let _ = stream.try_read(&mut [0; 1024]);
        let _ = stream.write_all(SPEAK_TLS).await;
        let _ = stream.shutdown().await;
        return None;
    }
    let accept = (tls.acceptor()).accept_with(stream, |tls| tls.set_buffer_limit(Some(TLS_BUFFER_BYTES)));
    accept.await.ok()
}
