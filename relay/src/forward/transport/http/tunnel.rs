//! A tunnel through a proxy: CONNECT with the upstream's name, so that the proxy resolves it (RFC 9110 section 9.3.6).

use super::exchange::{Stream, driven};
use crate::config::Proxy;
use crate::forward::transport::Cause;
use axum::http::header::{HOST, PROXY_AUTHORIZATION};
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

/// Limit of the answer's head, in bytes. A longer one is an error.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Opens a tunnel to a host over a connection to the proxy.
pub(super) async fn open(
    stream: Box<dyn Stream>,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<Box<dyn Stream>, Cause> {
    let (mut sender, driver) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let mut driver = Some(Box::pin(driver.with_upgrades()));
    let request = request(proxy, host, port).ok_or(Cause::BrokenBefore)?;
    let answer = driven(&mut driver, sender.send_request(request)).await;
    let answer = answer.map_err(|error| broken(&error))?;
    if let Some(cause) = refusal(&answer) {
        return Err(cause);
    }
    let tunnel = driven(&mut driver, hyper::upgrade::on(answer)).await;
    Ok(Box::new(TokioIo::new(tunnel.map_err(|error| broken(&error))?)))
}

fn request(proxy: &Proxy, host: &str, port: u16) -> Option<Request<Empty<Bytes>>> {
    let authority = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let mut request = Request::connect(&authority).header(HOST, &authority);
    if let Some(credentials) = &proxy.authorization {
        request = request.header(PROXY_AUTHORIZATION, credentials);
    }
    request.body(Empty::new()).ok()
}

fn refusal(answer: &Response<Incoming>) -> Option<Cause> {
    match answer.status() {
        status if status.is_success() => None,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Some(Cause::ProxyLogin),
        status => Some(Cause::ProxyRefused(status.as_u16())),
    }
}

fn broken(error: &hyper::Error) -> Cause {
    match error.is_parse() {
        true => Cause::NotHttp,
        false => Cause::BrokenBefore,
    }
}
