//! Requests as bytes.

use axum::http::{HeaderName, HeaderValue, Request};
use bytes::{BufMut, Bytes, BytesMut};
use std::fmt::Write;

/// Requests as bytes, in order.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    pub(super) bytes: BytesMut,
    /// Where each ends.
    pub(super) ends: Vec<usize>,
}

impl Encoded {
    /// Adds a request behind its first lines. A body is sent with its length.
    pub(super) fn push(&mut self, request: &Request<Bytes>, first_lines: impl FnOnce(&mut BytesMut)) {
        let (out, body) = (&mut self.bytes, request.body());
        first_lines(out);
        for (name, value) in request.headers() {
            write_header(out, name, value);
        }
        if !body.is_empty() {
            // Memory takes everything.
            let _ = write!(out, "content-length: {}\r\n", body.len());
        }
        out.put_slice(b"\r\n");
        out.put_slice(body);
        self.ends.push(out.len());
    }
}

/// Writes a line of a head.
pub(super) fn write_header(out: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    out.put_slice(name.as_ref());
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_slice(b"\r\n");
}
