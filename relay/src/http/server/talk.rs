//! The life of one connection: TLS, the version of HTTP, requests, and rest between them.
//!
//! HTTP's buffers are many times what a connection needs that says nothing. A connection has them from its first byte
//! on, and gives them back when it is told to rest; then it is a socket and a place in the table.

use super::connections::{Busy, Connection};
use super::protocol::{self, Http};
use super::rewound::{Rewound, Socket};
use super::sending::Sending;
use super::{Answering, Answers, Peer};
use crate::host::Host;
use crate::http::body;
use crate::http::problem::Problem;
use crate::http::tls::Tls;
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

/// How long a connection may take to send its last answers, if the relay stops or it is told to rest. Then it is closed.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Most bytes that TLS takes ahead of the socket: one record. Above it writing waits, and the answer counts as unsent.
const TLS_BUFFER_BYTES: usize = 16 * 1024;
/// The first byte of a TLS connection: a record of the handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// What a client reads that speaks plain HTTP to a listener with TLS.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 39\r\n\
    connection: close\r\n\r\nThis listener speaks TLS: use https://\n";

/// One connection and what it needs to be served.
pub(super) struct Talk<A> {
    pub(super) http: Arc<Http>,
    pub(super) answers: A,
    pub(super) peer: Peer,
    pub(super) connection: Arc<Connection>,
    pub(super) stop: CancellationToken,
    /// What each answer says of TLS, on a listener that has it.
    pub(super) hsts: Option<HeaderValue>,
}

impl<A: Answers> Talk<A> {
    /// Serves a connection until either end closes it, or it is told to go. Errors end it without a word: events are
    /// counted elsewhere.
    pub(super) async fn over(self, stream: TcpStream, tls: Option<Arc<Tls>>) {
        tokio::select! {
            () = self.serve(stream, tls) => {}
            () = self.connection.told_to_go() => {}
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

    /// Finds out the version of HTTP and speaks it.
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
        while let Some(mut resting) = Box::pin(self.http1(stream)).await {
            // A whole head may lie in what was read; half of one waits for the rest.
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

    /// Speaks HTTP/1 until the connection is told to rest, and then gives it back; `None` when it ended.
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
                () = self.connection.told_to_rest(), if !ending => {
                    if !self.connection.is_silent() {
                        continue;
                    }
                    // Without a request there is no answer to be sent, and the library waits for the first one.
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

    /// Speaks HTTP/2 until the connection ends. It cannot rest, because both ends know of its headers: it is asked
    /// to end instead, which clients do without losing a request.
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
                () = self.connection.told_to_rest(), if !ending => {
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

    fn service(&self) -> Service<A> {
        Service {
            answers: self.answers.clone(),
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
struct Service<A> {
    answers: A,
    peer: Peer,
    connection: Arc<Connection>,
    hsts: Option<HeaderValue>,
}

impl<A: Answers> hyper::service::Service<Request<Incoming>> for Service<A> {
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
        let answering = match problem {
            Some(problem) => {
                body::throw_away(Body::new(request.into_body()));
                Box::pin(ready(problem.into_response()))
            }
            None => self.answers.answer(self.peer, request.map(Body::new)),
        };
        Answer {
            answering,
            busy: Some(busy),
            connection: Arc::clone(&self.connection),
            hsts: self.hsts.clone(),
        }
    }
}

/// A request that is being answered. It is busy until the answer is made; reading it is up to the peer.
struct Answer {
    answering: Answering,
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

/// The handshake. It has no time limit of its own: a connection without a request is closed as silent.
async fn shake_hands(mut stream: TcpStream, tls: &Tls) -> Option<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first[0] != TLS_HANDSHAKE {
        // The request is taken first, or closing would reset the connection and take the answer with it.
        let _ = stream.try_read(&mut [0; 1024]);
        let _ = stream.write_all(SPEAK_TLS).await;
        let _ = stream.shutdown().await;
        return None;
    }
    let accept = (tls.acceptor()).accept_with(stream, |tls| tls.set_buffer_limit(Some(TLS_BUFFER_BYTES)));
    accept.await.ok()
}
