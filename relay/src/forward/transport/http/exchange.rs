//! One open connection: requests go out one after the other, and their answers come back in order.

use super::answers::{After, Answers, NotHttp};
use super::encoded::Encoded;
use crate::forward::transport::Cause;
use axum::http::Response;
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_util::io::poll_read_buf;

/// Bytes that one read asks for: many answers of Plausible's.
const READ_BYTES: usize = 8 * 1024;
/// The first byte of a TLS alert (RFC 8446 section 5.1): a TLS server's answer to plain HTTP.
const ALERT: u8 = 21;

/// A stream to the upstream, TLS or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// An open connection.
pub(super) struct Open {
    stream: Box<dyn Stream>,
    input: BytesMut,
    answers: Answers,
    is_plain: bool,
    /// Nothing has arrived yet.
    is_unread: bool,
    /// A plain connection was answered in TLS.
    is_alerted: bool,
    pub(super) idle_since: Instant,
    /// When it is replaced, however busy it is.
    until: Instant,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Open")
    }
}

/// The end of an exchange, after the answers that were given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Every request was answered.
    Answered { is_reusable: bool },
    /// The server has not processed the others: it closed the idle connection before them, or announced with its last
    /// answer that it closes.
    Unprocessed,
    /// The others have no answer. The first `sent` of them were sent, in whole or in part.
    Broken { cause: Cause, sent: usize },
}

/// A step of an exchange.
enum Step {
    /// Bytes have arrived.
    Read,
    /// The server has closed the connection.
    End,
    Failed(io::Error),
}

impl Open {
    /// HTTP/1.1 over a stream, for at most this long. A plain one is not encrypted.
    pub(super) fn over(stream: Box<dyn Stream>, is_plain: bool, age_max: Duration) -> Self {
        let now = Instant::now();
        Self {
            stream,
            input: BytesMut::new(),
            answers: Answers::default(),
            is_plain,
            is_unread: true,
            is_alerted: false,
            idle_since: now,
            until: now + age_max,
        }
    }

    /// How long it may still be kept idle.
    pub(super) fn left(&self, idle_max: Duration) -> Duration {
        let idle = idle_max.saturating_sub(self.idle_since.elapsed());
        idle.min(self.until.saturating_duration_since(Instant::now()))
    }

    /// Sends requests without waiting for answers in between, and passes each answer on with the time it took. Each
    /// answer has `timeout` from the one before it; the deadline covers head and body. Once there is a head, the status
    /// is an answer: a body that stalls, breaks off or is too long only ends the use of the connection.
    pub(super) async fn exchange(
        &mut self,
        requests: &Encoded,
        timeout: Duration,
        mut answered: impl FnMut(Response<Bytes>, Duration),
    ) -> Ended {
        let (started, count) = (Instant::now(), requests.ends.len());
        let (mut deadline, mut written, mut done) = (started + timeout, 0, 0);
        if self.is_closed().await {
            return Ended::Unprocessed;
        }
        while done < count {
            let step = timeout_at(
                deadline,
                poll_fn(|cx| self.step(cx, &requests.bytes, &mut written)),
            )
            .await;
            let ends = match &step {
                Ok(Step::Read) => None,
                Ok(Step::End) => Some(Cause::BrokenAfter),
                Ok(Step::Failed(error)) => Some(Cause::of_broken(error)),
                Err(_) => Some(Cause::AnswerTimedOut),
            };
            let now = Instant::now();
            let mut after = After::Open;
            while done < count && after == After::Open {
                let next = match self.answers.next(&mut self.input) {
                    Ok(None) if ends.is_some() => self.answers.end(),
                    Ok(next) => next,
                    Err(NotHttp) => return self.broken(requests, done, written, Cause::NotHttp),
                };
                let Some((answer, follows)) = next else { break };
                answered(answer, now - started);
                (done, after, deadline) = (done + 1, follows, now + timeout);
            }
            match after {
                _ if done == count => {
                    let is_reusable = after == After::Open && ends.is_none() && self.input.is_empty();
                    return Ended::Answered { is_reusable };
                }
                After::Open => {}
                After::Closes => return Ended::Unprocessed,
                After::Lost => return self.broken(requests, done, written, Cause::BrokenAfter),
            }
            if let Some(cause) = ends {
                return self.broken(requests, done, written, cause);
            }
        }
        Ended::Answered { is_reusable: true }
    }

    /// Whether the server has closed the connection while it was idle, or sent what was not asked for. Costs a system call
    /// only if something has arrived.
    async fn is_closed(&mut self) -> bool {
        let look = poll_fn(|cx| Poll::Ready(self.read(cx)));
        look.await.is_ready()
    }

    /// Writes what is left, and reads what has arrived: a server may stop reading until its answers are read.
    fn step(&mut self, cx: &mut Context<'_>, out: &[u8], written: &mut usize) -> Poll<Step> {
        let mut failed = None;
        while *written < out.len() && failed.is_none() {
            match Pin::new(&mut self.stream).poll_write(cx, &out[*written..]) {
                Poll::Ready(Ok(0)) => failed = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(bytes)) => *written += bytes,
                Poll::Ready(Err(error)) => failed = Some(error),
                Poll::Pending => break,
            }
        }
        if failed.is_none()
            && let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            failed = Some(error);
        }
        // A server that stopped reading may have answered before.
        match (self.read(cx), failed) {
            (Poll::Ready(Step::Read), _) => Poll::Ready(Step::Read),
            (_, Some(error)) => Poll::Ready(Step::Failed(error)),
            (step, None) => step,
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.input.reserve(READ_BYTES);
        let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input);
        Poll::Ready(match ready!(read) {
            Ok(0) => Step::End,
            Ok(_) => {
                let is_first = std::mem::take(&mut self.is_unread) && self.is_plain;
                self.is_alerted |= is_first && self.input[0] == ALERT;
                Step::Read
            }
            Err(error) => Step::Failed(error),
        })
    }

    /// The end of an exchange with requests that have no answer.
    fn broken(&self, requests: &Encoded, done: usize, written: usize, cause: Cause) -> Ended {
        let begins = |at: usize| at.checked_sub(1).map_or(0, |before| requests.ends[before]);
        let sent = (done..requests.ends.len())
            .take_while(|at| begins(*at) < written)
            .count();
        let cause = if self.is_alerted { Cause::TlsPort } else { cause };
        Ended::Broken { cause, sent }
    }
}
