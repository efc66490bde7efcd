//! Answers that are being sent: which connections hold answers that the peer does not read.
//!
//! An answer counts as unsent from the moment it is made until its last byte is in the kernel's buffer. HTTP/2 holds
//! it back while the peer gives no window, both versions while the peer does not read from the socket.

use super::connections::Line;
use axum::body::{Body, Bytes};
use bytes::Buf;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

/// Answers are counted by the period in which they were made: this one, the last, and the one before.
const PERIODS: usize = 3;

/// How many answers a connection has not sent, by the period in which they were made.
#[derive(Debug, Default)]
pub(super) struct Unsent([AtomicUsize; PERIODS]);

impl Unsent {
    /// All of them.
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|period| period.load(Ordering::Relaxed)).sum()
    }

    /// Whether any is older than two whole periods, asked when `next` is about to begin.
    pub(super) fn is_overdue(&self, next: usize) -> bool {
        self.0[next % PERIODS].load(Ordering::Relaxed) > 0
    }
}

/// An answer, or a piece of one, that is not sent until this is dropped.
#[derive(Debug)]
struct Hold {
    line: Arc<Line>,
    period: usize,
}

impl Hold {
    fn new(line: &Arc<Line>, period: usize) -> Self {
        line.unsent.0[period % PERIODS].fetch_add(1, Ordering::Relaxed);
        Self {
            line: Arc::clone(line),
            period,
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.line.unsent.0[self.period % PERIODS].fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer that is being sent.
#[derive(Debug)]
pub(super) struct Sending {
    body: Body,
    /// `None` once the last piece has it, and for an answer without a body.
    hold: Option<Hold>,
}

impl Sending {
    /// A body that was made in this period.
    pub(super) fn new(body: Body, line: &Arc<Line>, period: usize) -> Self {
        let has_body = !hyper::body::Body::is_end_stream(&body);
        Self {
            body,
            hold: has_body.then(|| Hold::new(line, period)),
        }
    }
}

impl hyper::body::Body for Sending {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let is_last = frame.is_none() || self.body.is_end_stream();
        let hold = match &self.hold {
            Some(_) if is_last => self.hold.take(),
            Some(hold) => Some(Hold::new(&hold.line, hold.period)),
            None => None,
        };
        Poll::Ready(
            frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| Piece { bytes, _hold: hold }))),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A piece of an answer. The HTTP libraries drop it when they have written it.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    _hold: Option<Hold>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        self.bytes.copy_to_bytes(len)
    }
}
