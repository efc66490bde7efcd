//! A tunnel through a proxy: CONNECT with the upstream's name, so that the proxy resolves it (RFC 9110 section 9.3.6).

use super::answers;
use super::encoded::write_header;
use super::exchange::Stream;
use crate::config::Proxy;
use crate::forward::transport::Cause;
use axum::http::header::{HOST, PROXY_AUTHORIZATION};
use axum::http::{HeaderValue, Response, StatusCode};
use bytes::BytesMut;
use std::fmt::Write;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Opens a tunnel to a host over a connection to the proxy.
pub(super) async fn open(
    mut stream: Box<dyn Stream>,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<Box<dyn Stream>, Cause> {
    let request = request(proxy, host, port).ok_or(Cause::BrokenBefore)?;
    let written = stream.write_all(&request).await;
    written.map_err(|_| Cause::BrokenBefore)?;
    let mut input = BytesMut::new();
    let answer = loop {
        match answers::head(&mut input).map_err(|_| Cause::NotHttp)? {
            Some(answer) if !answer.status().is_informational() => break answer,
            Some(_) => continue,
            None => {}
        }
        if stream.read_buf(&mut input).await.unwrap_or(0) == 0 {
            return Err(Cause::BrokenBefore);
        }
    };
    match refusal(&answer) {
        Some(cause) => Err(cause),
        // A TLS server says nothing before the client does.
        None if !input.is_empty() => Err(Cause::NotHttp),
        None => Ok(stream),
    }
}

fn request(proxy: &Proxy, host: &str, port: u16) -> Option<BytesMut> {
    let authority = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let mut out = BytesMut::new();
    write!(out, "CONNECT {authority} HTTP/1.1\r\n").ok()?;
    write_header(&mut out, &HOST, &HeaderValue::from_str(&authority).ok()?);
    if let Some(credentials) = &proxy.authorization {
        write_header(&mut out, &PROXY_AUTHORIZATION, credentials);
    }
    out.extend_from_slice(b"\r\n");
    Some(out)
}

fn refusal(answer: &Response<()>) -> Option<Cause> {
    match answer.status() {
        status if status.is_success() => None,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Some(Cause::ProxyLogin),
        status => Some(Cause::ProxyRefused(status.as_u16())),
    }
}
