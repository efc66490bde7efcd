//! The door of the admin listener: requests that do not name it, or changes that do not come from its own page, go no
//! further.
//!
//! A page on another name whose DNS answer points here (DNS rebinding) is same-origin to the browser. What it cannot
//! change is the name it sends, so the name decides, on every route and before any work.

use crate::config::AllowedHost;
use crate::host::Host;
use crate::http::problem::Problem;
use crate::http::serve::{Answering, Answers, Peer};
use crate::http::{body, carried_by_all};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::future::ready;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The page sends it with what its user does. A page of another origin cannot send it without a preflight, which is
/// never granted.
pub(super) const OWN_PAGE: &str = "x-feedback-admin";

/// What answers on the admin listener.
#[derive(Clone, Debug)]
pub struct Door {
    names: Names,
    has_tls: bool,
    /// Whether a refused host has been logged. Once is enough to explain a scrape that fails, and a stranger cannot
    /// fill the log.
    logged: Arc<AtomicBool>,
    router: Router,
}

/// The names of the listener, as a connection sees it.
#[derive(Clone, Debug)]
struct Names {
    /// As configured.
    allowed: Arc<[AllowedHost]>,
    /// Whether the listener can be reached from this machine by its loopback names.
    on_loopback: bool,
    /// The address of ours that the connection came in at.
    local: Option<IpAddr>,
}

impl Names {
    /// Whether a host is this listener. Ports of its own addresses are not compared: a forwarded port has another
    /// number, and a page on another port cannot choose what the browser sends.
    fn include(&self, host: &Host<'_>) -> bool {
        let is_own = host.address().is_some_and(|address| Some(address) == self.local);
        is_own || (self.on_loopback && host.is_localhost()) || self.allow(host)
    }

    /// Whether a host is configured.
    fn allow(&self, host: &Host<'_>) -> bool {
        self.allowed.iter().any(|allowed| allowed.allows(host))
    }
}

impl Door {
    /// Before these routes, on a listener at this address.
    pub(in crate::http) fn new(
        listen: IpAddr,
        allowed: &[AllowedHost],
        has_tls: bool,
        router: Router,
    ) -> Self {
        let names = Names {
            allowed: allowed.into(),
            on_loopback: listen.is_loopback() || listen.is_unspecified(),
            local: None,
        };
        Self {
            names,
            has_tls,
            logged: Arc::default(),
            router,
        }
    }

    fn judge(&self, request: &Request) -> Result<(), Problem> {
        let host = Host::of(request).map_err(Problem::bad_host)?;
        let host = host
            .filter(|host| self.names.include(host))
            .ok_or_else(|| self.misdirected())?;
        let is_own = |origin: &HeaderValue| {
            let origin = origin.to_str().ok().and_then(Origin::parse);
            origin.is_some_and(|origin| self.is_own_origin(&origin, &host, request.headers()))
        };
        if !request.headers().get_all(header::ORIGIN).iter().all(is_own) {
            return Err(elsewhere("The request comes from a page of another origin."));
        }
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let mut sites = request.headers().get_all("sec-fetch-site").iter();
        if changes && !sites.all(|site| site.as_bytes() == b"same-origin") {
            return Err(elsewhere(
                "The browser says that the request comes from another page.",
            ));
        }
        if *request.method() == Method::PUT && !request.headers().contains_key(OWN_PAGE) {
            return Err(elsewhere(&format!("The header {OWN_PAGE}: 1 is missing.")));
        }
        Ok(())
    }

    fn misdirected(&self) -> Problem {
        if !self.logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the admin listener refused a request whose Host is neither its own address nor in `admin.allowed_hosts`; \
                 further ones are not logged"
            );
        }
        Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "unknown_host",
            "Unknown host",
            "The admin listener answers to its own address and to the names in `admin.allowed_hosts`, and the Host of \
             this request is neither. Add the name under which you reach it, such as \"relay-admin.example.com\", to \
             `allowed_hosts` in [admin] of the relay's configuration.",
        )
    }

    /// Whether pages of an origin are this listener's own: under the name that the request gives, or under a
    /// configured one, for a proxy that does not pass the browser's Host on. With TLS a page without it is not.
    fn is_own_origin(&self, origin: &Origin<'_>, host: &Host<'_>, headers: &HeaderMap) -> bool {
        let named = origin.host.is(host) || self.names.allow(&origin.host);
        let secure = self.has_tls || is_forwarded_https(headers);
        named && (origin.is_https || !secure)
    }
}

impl Answers for Door {
    fn reached_at(&self, local: IpAddr) -> Self {
        let mut door = self.clone();
        door.names.local = Some(local.to_canonical());
        door
    }

    fn answer(&self, peer: Peer, request: Request) -> Answering {
        if let Err(problem) = self.judge(&request) {
            body::throw_away(request.into_body());
            return Box::pin(ready(guarded(problem.into_response())));
        }
        let answer = self.router.answer(peer, request);
        Box::pin(async move { guarded(answer.await) })
    }
}

/// An origin as browsers send it.
struct Origin<'a> {
    is_https: bool,
    host: Host<'a>,
}

impl<'a> Origin<'a> {
    /// `None` for `null`, which files and sandboxed frames of any page have.
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, host) = text.split_once("://")?;
        let is_https = scheme == "https";
        let host = Host::parse(host)?;
        (is_https || scheme == "http").then_some(Self { is_https, host })
    }
}

/// Whether a proxy in front says that the browser speaks TLS. A client that makes it up only makes its own cookie
/// stricter.
pub(super) fn is_forwarded_https(headers: &HeaderMap) -> bool {
    // The first of several is the browser's own.
    let proto = headers.get("x-forwarded-proto").and_then(|v| v.to_str().ok());
    let first = proto.and_then(|v| v.split(',').next());
    first.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"))
}

fn elsewhere(why: &str) -> Problem {
    let detail = format!(
        "{why} Changes come from the admin page itself. Behind a proxy that does not pass the browser's Host on, \
         add the page's host to `admin.allowed_hosts`."
    );
    Problem::new(StatusCode::FORBIDDEN, "origin", "Wrong origin", detail)
}

/// Adds the headers that keep other pages from embedding, opening or reading an answer.
fn guarded(mut response: Response) -> Response {
    // Browsers update what they have stored by the headers of a 304; the page's own policy must stay.
    let is_whole = response.status() != StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    carried_by_all(headers);
    let fixed: [(HeaderName, &str); 4] = [
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_whole {
        headers
            .entry(header::CONTENT_SECURITY_POLICY)
            .or_insert(HeaderValue::from_static(
                "default-src 'none'; frame-ancestors 'none'",
            ));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_has_the_names_of_its_addresses_and_configured_ones() {
        let check = |listen: &str, local: &str, host: &str, want: bool| {
            let allowed = AllowedHost::parse("relay-admin.example.com").unwrap();
            let door = Door::new(listen.parse().unwrap(), &[allowed], false, Router::new());
            let names = door.reached_at(local.parse().unwrap()).names;
            let host = Host::parse(host).unwrap();
            assert_eq!(names.include(&host), want, "{host:?} at {local}, of {listen}");
        };
        check("127.0.0.1", "127.0.0.1", "127.0.0.1:8081", true);
        check("127.0.0.1", "127.0.0.1", "localhost:9000", true);
        check("127.0.0.1", "127.0.0.1", "[::1]", true);
        check("127.0.0.1", "127.0.0.1", "10.0.0.5", false);
        check("127.0.0.1", "127.0.0.1", "0.0.0.0", false);
        check("10.0.0.5", "10.0.0.5", "10.0.0.5:8081", true);
        check("10.0.0.5", "10.0.0.5", "localhost", false);
        check("10.0.0.5", "10.0.0.5", "127.0.0.1", false);
        check("::", "::ffff:10.0.0.5", "10.0.0.5", true);
        check("::", "::ffff:10.0.0.5", "10.0.0.6", false);
        check("0.0.0.0", "10.0.0.5", "localhost", true);
        for listen in ["127.0.0.1", "10.0.0.5", "::"] {
            check(listen, "10.0.0.5", "relay-admin.example.com:443", true);
            check(listen, "10.0.0.5", "example.com", false);
        }
    }

    #[test]
    fn before_a_connection_the_listener_has_no_address() {
        let door = Door::new("0.0.0.0".parse().unwrap(), &[], false, Router::new());
        assert!(!door.names.include(&Host::parse("0.0.0.0").unwrap()));
        assert!(!door.names.include(&Host::parse("relay").unwrap()));
    }
}
