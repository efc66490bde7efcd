//! The seam between the forwarder and the network: a request goes in, an answer or a typed cause comes
//! out. Behind it is [`http`], or in simulations a script.

pub mod cause;
pub mod http;

pub use cause::Cause;

use axum::http::{Request, Response};
use bytes::Bytes;
use std::time::Duration;

/// Most bytes of an answer's body that are read. Plausible answers two; what is longer is cut here and
/// costs the connection.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Gives connections to one upstream.
pub trait Transport: Send + Sync + 'static {
    /// What one lane sends over.
    type Connection: Connection;

    /// A connection that is not made yet: nothing goes out before the first request.
    fn connection(&self) -> Self::Connection;
}

/// One lane's way to the upstream: one request at a time, kept open between requests.
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

    /// Closes what has been idle for too long. Gives back how long what is open may still be idle.
    fn tidy(&mut self) -> Option<Duration>;
}
