//! One open connection, and one request and its answer over it.

use crate::forward::transport::{ANSWER_BYTES_MAX, Cause};
use axum::http::{Request, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_util::io::InspectReader;

/// Limit of an answer's head in hyper's buffer, in bytes; a longer one is an error.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The first byte of a TLS alert (RFC 8446 section 5.1): a TLS server's answer to plain HTTP.
const ALERT: u8 = 21;

/// A stream to the upstream, TLS or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Driver = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// An open connection, and the driver that moves its bytes.
pub(super) struct Open {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    driver: Option<Pin<Box<Driver>>>,
    /// Set if a plain connection is answered in TLS.
    alerted: Arc<AtomicBool>,
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
    /// None of the request was written; it is returned here.
    Unsent(Box<Request<Full<Bytes>>>),
    /// Some of it may have been.
    Sent(Cause),
}

impl Open {
    /// HTTP/1.1 over a stream, for at most this long. A plain one is not encrypted.
    pub(super) async fn over(
        stream: Box<dyn Stream>,
        is_plain: bool,
        age_max: Duration,
    ) -> Result<Self, Cause> {
        let alerted = Arc::new(AtomicBool::new(false));
        let stream = match is_plain {
            true => watch_for_alert(stream, Arc::clone(&alerted)),
            false => stream,
        };
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

    /// How long it may still be kept idle.
    pub(super) fn left(&self, idle_max: Duration) -> Duration {
        let idle = idle_max.saturating_sub(self.idle_since.elapsed());
        idle.min(self.until.saturating_duration_since(Instant::now()))
    }

    /// Sends one request and reads its answer; also returns whether the connection can be reused. The deadline covers
    /// head and body. Once there is a head, the status is returned: a body that stalls, breaks off or is too long only
    /// prevents reuse of the connection.
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
        // Detects that the server closed it meanwhile, before anything is written.
        if driven(driver, std::future::poll_fn(|cx| sender.poll_ready(cx)))
            .await
            .is_err()
        {
            return Err(Broken::Unsent(Box::new(request)));
        }
        let sent = driven(driver, sender.try_send_request(request)).await;
        // hyper returns a request only if it never began to write it.
        sent.map_err(|mut error| match error.take_message() {
            Some(request) => Broken::Unsent(Box::new(request)),
            None => Broken::Sent(self.cause(error.error())),
        })
    }

    /// Why a request that was written, at least in part, has no answer.
    fn cause(&self, error: &hyper::Error) -> Cause {
        if self.alerted.load(Ordering::Relaxed) {
            return Cause::TlsPort;
        }
        match error.is_parse() {
            true => Cause::NotHttp,
            false => Cause::of_broken(error),
        }
    }
}

/// Notes whether the first byte that arrives begins a TLS alert.
fn watch_for_alert(stream: Box<dyn Stream>, alerted: Arc<AtomicBool>) -> Box<dyn Stream> {
    let mut is_first = true;
    Box::new(InspectReader::new(stream, move |read: &[u8]| {
        if let Some(byte) = read.first()
            && std::mem::take(&mut is_first)
        {
            alerted.store(*byte == ALERT, Ordering::Relaxed);
        }
    }))
}

/// Reads a body up to the limit. Returns whether it is complete.
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

/// Waits for a future that needs the connection to be driven.
pub(super) async fn driven<D: Future, F: Future>(driver: &mut Option<Pin<Box<D>>>, wanted: F) -> F::Output {
    let mut wanted = pin!(wanted);
    std::future::poll_fn(|cx| {
        if let Some(running) = driver
            && running.as_mut().poll(cx).is_ready()
        {
            // Ended, with or without an error: hyper reports it to `wanted`.
            *driver = None;
        }
        wanted.as_mut().poll(cx)
    })
    .await
}
