//! The interface between the forwarder and the network: a request goes in, an answer or a typed cause comes out. The
//! implementation is [`http`], or a script in simulations.

pub mod cause;
pub mod http;

pub use cause::Cause;

use axum::http::{Request, Response};
use bytes::Bytes;
use std::time::Duration;

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
    /// Sends requests without waiting for the answers in between (pipelining, RFC 9112 section 9.3.2). The server answers
    /// them in order. `ended` gets the result of each in this order, the body up to [`ANSWER_BYTES_MAX`], and the time
    /// since it was sent. Cancel safe: when it is dropped midway the connection is closed, and the requests may have been
    /// sent.
    fn send_all(
        &mut self,
        requests: Vec<Request<Bytes>>,
        ended: impl FnMut(Result<Response<Bytes>, Cause>, Duration) + Send,
    ) -> impl Future<Output = ()> + Send;

    /// Sends one request and reads its answer. Cancel safe like [`Connection::send_all`].
    ///
    /// # Errors
    /// When there is no answer; the cause says whether the upstream can have seen the request.
    fn send(
        &mut self,
        request: Request<Bytes>,
    ) -> impl Future<Output = Result<Response<Bytes>, Cause>> + Send {
        async {
            // Replaced, because each request ends once.
            let mut end = Err(Cause::BrokenBefore);
            self.send_all(vec![request], |answer, _| end = answer).await;
            end
        }
    }

    /// Closes a connection that has been idle for too long. Returns how long an open one may remain idle.
    fn tidy(&mut self) -> Option<Duration>;
}
