//! The interface between the forwarder and the network: a request goes in, an answer or a typed cause comes out. The
//! implementation is [`http`], or a script in simulations.

pub mod cause;
pub mod http;

pub use cause::Cause;

use axum::http::{Request, Response};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::Instant;

/// Limit of the bytes that are read of an answer's body. Plausible answers two; a longer body is cut here, and its
/// connection is closed.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Gives connections to one upstream.
pub trait Transport: Send + Sync + 'static {
    /// A connection.
    type Connection: Connection;

    /// A connection that is not open yet: nothing is sent before the first request.
    fn connection(&self) -> Self::Connection;
}

/// A way to the upstream, kept open between requests.
pub trait Connection: Send + 'static {
    /// Sends a request and reads its answer, the body up to [`ANSWER_BYTES_MAX`]. Cancel safe: when it is
    /// dropped midway the connection is closed, and the request may have been sent.
    ///
    /// # Errors
    /// When there is no answer; the cause says whether the upstream can have seen the request.
    fn send(
        &mut self,
        request: Request<Bytes>,
    ) -> impl Future<Output = Result<Response<Bytes>, Cause>> + Send;

    /// Sends requests, if it can without waiting for the answers in between (pipelining, RFC 9112 section 9.3.2). The
    /// server answers them in order. `ended` gets the result of each in this order, and the time since it was sent.
    /// Cancel safe like [`Connection::send`], of each request.
    fn send_all(
        &mut self,
        requests: Vec<Request<Bytes>>,
        mut ended: impl FnMut(Result<Response<Bytes>, Cause>, Duration) + Send,
    ) -> impl Future<Output = ()> + Send {
        async move {
            for request in requests {
                let started = Instant::now();
                ended(self.send(request).await, started.elapsed());
            }
        }
    }

    /// Closes a connection that has been idle for too long. Returns how long an open one may remain idle.
    fn tidy(&mut self) -> Option<Duration>;
}
