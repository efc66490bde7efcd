//! Limits for HTTP/1.1 and HTTP/2: a builder for each with every limit, made once per listener.

use axum::http::{HeaderName, HeaderValue, Request};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::time::Duration;

/// The first bytes of an HTTP/2 connection, whether the version was negotiated in TLS or known beforehand.
pub(super) const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest wait for the first request head, from the start of the connection, including the TLS handshake. After that
/// the connection is closed.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest idle time between two requests, until the next head has arrived completely. After that the connection is
/// closed. Longer than web servers keep a connection to the relay (nginx: 60 s), so that they close first and no
/// request meets a closing connection.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Most headers of an HTTP/1 request. Above it: 431. In HTTP/2 only the size is limited.
const HEADERS_MAX: usize = 128;
/// Largest request head, in bytes, plus 32 bytes per header. Above it: 431, which is counted. Most of a large head is
/// cookies of the page's host, which the relay does not read: logins in front of whole hosts set 16 KiB and more, and
/// that must not cost an event. In HTTP/1 it also bounds the read-ahead of pipelined requests, to within one read.
const HEAD_BYTES_MAX: usize = 80 * 1024;
/// Above this the HTTP/2 library itself answers 431 and reports nothing. Up to it the relay answers and counts.
const H2_HEAD_BYTES_MAX: u32 = 256 * 1024;
/// Added for each header when the size of a head is computed, as in HTTP/2 (RFC 9113, section 6.5.2).
const HEADER_EXTRA: usize = 32;

/// Most concurrent requests on one HTTP/2 connection. Further ones are refused by the protocol (REFUSED_STREAM), and
/// a browser sends them again. Clients assume 100 until they receive the limit.
const H2_STREAMS_MAX: u32 = 100;
/// Flow-control windows: most unread bytes of one body, and of all bodies of a connection. Above them the sender has
/// to wait.
const H2_STREAM_WINDOW: u32 = 64 * 1024;
const H2_CONNECTION_WINDOW: u32 = 256 * 1024;
/// Largest frame, in bytes: the smallest maximum that the protocol allows. A larger frame ends the connection.
const H2_FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Most buffered response bytes of one stream.
const H2_SEND_BYTES_MAX: usize = 64 * 1024;
/// Most streams that the client reset before they were accepted, and that the relay reset for errors. Above it the
/// connection is closed (GOAWAY), as in a reset flood.
const H2_PENDING_RESETS_MAX: usize = 20;
const H2_ERROR_RESETS_MAX: usize = 256;
/// Interval of pings on a quiet HTTP/2 connection, and longest wait for the answer. After that it is closed.
const H2_PING_EVERY: Duration = Duration::from_secs(20);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Builders for both versions.
pub(super) struct Http {
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<TokioExecutor>,
}

/// Whether the head of a request exceeds the limit. The libraries refuse only heads that are larger still.
pub(super) fn is_head_too_large<B>(request: &Request<B>) -> bool {
    let header =
        |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + HEADER_EXTRA;
    let uri = request.uri();
    let target = uri.path().len() + uri.query().map_or(0, str::len);
    target + request.headers().iter().map(header).sum::<usize>() > HEAD_BYTES_MAX
}

/// The builders with every limit set.
pub(super) fn http() -> Http {
    let mut http1 = http1::Builder::new();
    http1
        // The table of connections has the same limit, and no timer for each request.
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_header_list_size(H2_HEAD_BYTES_MAX)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_frame_size(H2_FRAME_BYTES_MAX)
        .max_send_buf_size(H2_SEND_BYTES_MAX)
        .max_pending_accept_reset_streams(H2_PENDING_RESETS_MAX)
        .max_local_error_reset_streams(H2_ERROR_RESETS_MAX)
        .keep_alive_interval(H2_PING_EVERY)
        .keep_alive_timeout(H2_PING_TIMEOUT);
    Http { http1, http2 }
}
