//! One open connection, and one request and its answer over it.

use crate::forward::transport::{ANSWER_BYTES_MAX, Cause};
use axum::http::{Request, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

/// Most bytes of an answer's head, as hyper buffers it; a longer one is no answer.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// How a TLS alert begins (RFC 8446 section 5.1): the answer of a TLS server to plain HTTP.
const ALERT: u8 = 21;

/// A stream to the upstream, TLS or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Driver = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// A connection that was made, and the driver that moves its bytes.
pub(super) struct Open {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` when it has ended.
    driver: Option<Pin<Box<Driver>>>,
    /// Set when a plain connection is answered in TLS.
    alerted: Option<Arc<AtomicBool>>,
    pub(super) idle_since: Instant,
    /// When it is replaced, however busy it is.
    until: Instant,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Open")
    }
}

/// How an exchange failed.
pub(super) enum Broken {
    /// None of the request was written; here it is again.
    Unsent(Box<Request<Full<Bytes>>>),
    /// Some of it may have been.
    Sent(Cause),
}

impl Open {
    /// HTTP/1.1 over a stream, for at most this long.
    pub(super) async fn over_tls(stream: Box<dyn Stream>, age_max: Duration) -> Result<Self, Cause> {
        Self::over(stream, None, age_max).await
    }

    /// HTTP/1.1 over a stream that is not encrypted.
    pub(super) async fn over_plain(stream: Box<dyn Stream>, age_max: Duration) -> Result<Self, Cause> {
        let alerted = Arc::new(AtomicBool::new(false));
        let stream = Box::new(Tap {
            stream,
            alerted: Some(Arc::clone(&alerted)),
        });
        Self::over(stream, Some(alerted), age_max).await
    }

    async fn over(
        stream: Box<dyn Stream>,
        alerted: Option<Arc<AtomicBool>>,
        age_max: Duration,
    ) -> Result<Self, Cause> {
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            // Nothing is written yet, so there is hardly a way to fail.
            .map_err(|_| Cause::BrokenBefore)?;
        let now = Instant::now();
        Ok(Self {
            sender,
            driver: Some(Box::pin(driver)),
            alerted,
            idle_since: now,
            until: now + age_max,
        })
    }

    /// How long it may still be kept when it is not used.
    pub(super) fn left(&self, idle_max: Duration) -> Duration {
        let idle = idle_max.saturating_sub(self.idle_since.elapsed());
        idle.min(self.until.saturating_duration_since(Instant::now()))
    }

    /// One request and its answer, and whether the connection can take another. The deadline is for both head
    /// and body. Once there is a head, the status is answered: a body that stalls, breaks off or is too long
    /// changes nothing but that the connection is not used again.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<(Response<Bytes>, bool), Broken> {
        let head = timeout_at(deadline, self.head(request)).await;
        let (head, mut body) = head
            .unwrap_or(Err(Broken::Sent(Cause::AnswerTimedOut)))?
            .into_parts();
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
            None => Broken::Sent(self.cause(error.error())),
        })
    }

    /// Why there is no answer to a request that was written, at least in part.
    fn cause(&self, error: &hyper::Error) -> Cause {
        let alerted = self.alerted.as_ref();
        if alerted.is_some_and(|alerted| alerted.load(Ordering::Relaxed)) {
            return Cause::TlsPort;
        }
        match error.is_parse() {
            true => Cause::NotHttp,
            false => Cause::of_broken(error),
        }
    }
}

/// Reads a body up to the limit. Returns whether that was all of it.
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
pub(super) async fn driven<D: Future, F: Future>(driver: &mut Option<Pin<Box<D>>>, wanted: F) -> F::Output {
    let mut wanted = pin!(wanted);
    std::future::poll_fn(|cx| {
        if let Some(running) = driver
            && running.as_mut().poll(cx).is_ready()
        {
            // Ended, well or badly: hyper reports it to `wanted`.
            *driver = None;
        }
        wanted.as_mut().poll(cx)
    })
    .await
}

/// Looks at the first byte that arrives.
struct Tap {
    stream: Box<dyn Stream>,
    /// `None` when it has arrived.
    alerted: Option<Arc<AtomicBool>>,
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if let Some(first) = buf.filled().get(before)
            && let Some(alerted) = self.alerted.take()
        {
            alerted.store(*first == ALERT, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
