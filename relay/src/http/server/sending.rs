//! Responses that are being sent: tracks which connections hold responses that the peer does not read.
//!
//! A response counts as unsent from its creation until its last byte is in the kernel's buffer. HTTP/2 delays it
//! while the peer grants no window, both versions while the peer does not read from the socket.

use super::line::Line;
use axum::body::{Body, Bytes};
use bytes::Buf;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Keeps a response, or a piece of one, counted as unsent until this is dropped.
#[derive(Debug)]
struct Hold {
    line: Arc<Line>,
    period: usize,
}

impl Hold {
    fn new(line: &Arc<Line>, period: usize) -> Self {
        line.unsent.add(period);
        Self {
            line: Arc::clone(line),
            period,
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.line.unsent.remove(self.period);
    }
}

/// The body of a response that is being sent.
#[derive(Debug)]
pub(super) struct Sending {
    body: Body,
    /// `None` once the last piece has taken it, and for a response without a body.
    hold: Option<Hold>,
}

impl Sending {
    /// A body that was created in this period.
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

/// A piece of a response. The HTTP libraries drop it once they have written it.
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
