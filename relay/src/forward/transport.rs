//! The seam between the forwarder and the network: a request goes in, an answer or a typed failure comes
//! out. Behind it is [`http`], or in simulations a script.

pub mod http;

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
    /// When there is no answer; the failure says whether the upstream can have seen the request.
    fn send(
        &mut self,
        request: Request<Bytes>,
    ) -> impl Future<Output = Result<Response<Bytes>, Failure>> + Send;

    /// Closes what has been idle for too long. Gives back how long what is open may still be idle.
    fn tidy(&mut self) -> Option<Duration>;
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection could be made: nobody listens, the name is unknown, or it took too long.
    Unreachable,
    /// A connection was made, but the TLS handshake failed: the certificate is not trusted, has expired or
    /// is for another name.
    Tls,
    /// The connection broke before any of the request was written.
    NotSent,
    /// It was sent, at least in part, and the connection broke before there was an answer.
    Unknown,
    /// It was sent, and no answer came in time.
    TimedOut,
    /// It was sent, and what came back is not HTTP.
    NotHttp,
}

impl Failure {
    /// Whether the upstream may have taken the request all the same.
    pub fn may_have_arrived(self) -> bool {
        match self {
            Self::Unreachable | Self::Tls | Self::NotSent => false,
            Self::Unknown | Self::TimedOut | Self::NotHttp => true,
        }
    }

    /// The failure in words, for logs and for people.
    pub fn explain(self) -> &'static str {
        match self {
            Self::Unreachable => "no connection could be made",
            Self::Tls => "the TLS handshake failed; is the certificate valid, and its CA trusted?",
            Self::NotSent => "the connection broke before anything was sent",
            Self::Unknown => "the connection broke before there was an answer",
            Self::TimedOut => "no answer came in time",
            Self::NotHttp => "what answers does not speak HTTP",
        }
    }
}
