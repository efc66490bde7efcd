//! The demo panel: a page that looks like meshPanel, and a web server that passes `/feedback` on to the relay, as a
//! customer's web server does.

use super::serve;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get};
use axum::{Json, Router};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longest wait for the head of the relay's answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Headers that apply to one connection rather than to the request (RFC 9110, section 7.6.1), and those that the HTTP
/// client sets itself.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
];

/// Addresses of the other parts of the demo.
#[derive(Clone, Debug)]
pub struct Links {
    /// The relay's public listener: `http://`, a host and a port.
    pub relay: Uri,
    /// The receiver's page, to link to.
    pub receiver: Option<String>,
    /// The relay's admin page, to link to.
    pub admin: Option<String>,
}

/// Serves the demo panel until `stop`. `pages` serves the files of its page.
///
/// # Errors
/// If `links.relay` is not of the form above, or the listener fails.
pub async fn run(
    listener: TcpListener,
    links: Links,
    pages: MethodRouter,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve(listener, router(links)?.fallback(pages), stop).await
}

fn router(links: Links) -> io::Result<Router> {
    let parts = links.relay.into_parts();
    let is_plain = parts.scheme == Some(Scheme::HTTP);
    let relay = parts.authority.filter(|relay| is_plain && relay.port().is_some());
    let relay = relay.ok_or_else(|| {
        let text = "the relay's address is not of the form http://host:port";
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    let described = Json(json!({ "receiver": links.receiver, "admin": links.admin }));
    Ok(Router::new()
        .route("/demo.json", get(described))
        .route("/feedback/{*rest}", any(pass_on))
        .with_state(relay))
}

/// Passes a request on to the relay, like nginx's `proxy_pass`.
async fn pass_on(
    State(relay): State<Authority>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    match timeout(TIMEOUT, ask(&relay, client.ip(), request)).await {
        Ok(Ok(answer)) => answer,
        _ => (StatusCode::BAD_GATEWAY, "the relay does not answer").into_response(),
    }
}

/// Sends a request to the relay on a new connection, with the client's address and the requested host.
async fn ask(
    relay: &Authority,
    client: IpAddr,
    mut request: Request,
) -> Result<Response, Box<dyn Error + Send + Sync>> {
    let headers = request.headers_mut();
    without_hop_by_hop(headers);
    if let Some(host) = headers.insert(header::HOST, HeaderValue::from_str(relay.as_str())?) {
        headers.insert("x-forwarded-host", host);
    }
    headers.append("x-forwarded-for", client.to_string().parse()?);
    let stream = TcpStream::connect(relay.as_str()).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The task ends with the answer's body.
    tokio::spawn(connection);
    let mut answer = sender.send_request(request).await?;
    without_hop_by_hop(answer.headers_mut());
    Ok(answer.map(Body::new))
}

fn without_hop_by_hop(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;
    use std::future::pending;

    /// A server with one route, and its address.
    async fn serving(router: Router) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, router, pending()));
        address
    }

    async fn send(server: SocketAddr, request: Request) -> (StatusCode, String) {
        let stream = TcpStream::connect(server).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.unwrap().map(Body::new);
        let (head, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (head.status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn panel(relay: &str) -> io::Result<Router> {
        router(Links {
            relay: relay.parse().unwrap(),
            receiver: Some("http://receiver".into()),
            admin: None,
        })
    }

    #[tokio::test]
    async fn the_relay_gets_the_request_with_the_clients_address_and_host() {
        let echo = async |uri: Uri, headers: HeaderMap, body: Bytes| {
            let header = |name: &str| {
                let values = headers.get_all(name).into_iter();
                values
                    .map(|value| value.to_str().unwrap().to_owned())
                    .collect::<Vec<_>>()
                    .join("|")
            };
            let names = ["host", "x-forwarded-host", "x-forwarded-for", "te", "dnt"];
            format!("{uri} {:?} {body:?}", names.map(header))
        };
        let relay = serving(Router::new().fallback(echo)).await;
        let panel = serving(panel(&format!("http://{relay}")).unwrap()).await;
        let request = |path: &str, body: &'static str| {
            Request::post(path)
                .header("host", "panel.example")
                .header("x-forwarded-for", "192.0.2.1")
                .header("te", "trailers")
                .header("dnt", "1")
                .body(Body::from(body))
                .unwrap()
        };
        let (status, said) = send(panel, request("/feedback/api/notes?a=%20b", "body")).await;
        let headers = format!(r#"["{relay}", "panel.example", "192.0.2.1|127.0.0.1", "", "1"]"#);
        assert_eq!(
            (status, said),
            (
                StatusCode::OK,
                format!(r#"/feedback/api/notes?a=%20b {headers} b"body""#)
            )
        );
        let (status, _) = send(panel, request("/elsewhere", "")).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn a_relay_that_does_not_answer_is_a_bad_gateway() {
        let gone = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let panel = serving(panel(&format!("http://{gone}")).unwrap()).await;
        let request = Request::get("/feedback/x")
            .header("host", "a")
            .body(Body::empty())
            .unwrap();
        assert_eq!(send(panel, request).await.0, StatusCode::BAD_GATEWAY);
    }

    #[test]
    fn only_an_address_of_plain_http_with_a_port_is_taken() {
        for (relay, is_taken) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080/", true),
            ("https://127.0.0.1:8080", false),
            ("http://127.0.0.1", false),
            ("127.0.0.1:8080", false),
        ] {
            assert_eq!(panel(relay).is_ok(), is_taken, "{relay}");
        }
    }
}
