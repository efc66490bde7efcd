//! Guards the admin listener: rejects requests that name another host, and changes that do not come from its own
//! page.
//!
//! A page on another name whose DNS record points here (DNS rebinding) is same-origin to the browser. It cannot
//! change the host name that it sends, so the guard checks that name, on every route and before any work.

use crate::config::{Admin, AllowedHost};
use crate::host::Host;
use crate::http::body;
use crate::http::problem::{Kind, Problem};
use crate::http::server::Peer;
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The page sends this header with each action of its user. A page of another origin cannot send it without a
/// preflight, which the relay never grants.
pub(super) const OWN_PAGE: &str = "x-feedback-admin";

/// The names of the admin listener.
#[derive(Debug)]
pub(in crate::http) struct SameOrigin {
    /// The configured hosts.
    allowed: Vec<AllowedHost>,
    /// Whether this machine can reach the listener by its loopback names.
    on_loopback: bool,
    has_tls: bool,
    /// Whether a refused host has been logged. One line is enough to explain a failing scrape, and strangers cannot
    /// fill the log.
    logged: AtomicBool,
}

impl SameOrigin {
    /// The names of a listener with these settings.
    pub(in crate::http) fn new(config: &Admin, has_tls: bool) -> Self {
        let listen = config.listen.ip();
        Self {
            allowed: config.allowed_hosts.clone(),
            on_loopback: listen.is_loopback() || listen.is_unspecified(),
            has_tls,
            logged: AtomicBool::new(false),
        }
    }

    /// A layer that refuses requests of other origins.
    pub(in crate::http) async fn check(
        State(own): State<Arc<Self>>,
        Extension(peer): Extension<Peer>,
        request: Request,
        next: Next,
    ) -> Result<Response, Problem> {
        if let Err(problem) = own.judge(&request, peer.reached_at) {
            body::throw_away(request.into_body());
            return Err(problem);
        }
        Ok(next.run(request).await)
    }

    fn judge(&self, request: &Request, reached_at: IpAddr) -> Result<(), Problem> {
        let host = Host::of(request).map_err(Problem::bad_host)?;
        let host = host
            .filter(|host| self.is_named(host, reached_at))
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
                "According to its Sec-Fetch-Site header, the request comes from another page.",
            ));
        }
        if *request.method() == Method::PUT && !request.headers().contains_key(OWN_PAGE) {
            return Err(elsewhere(&format!("The header {OWN_PAGE}: 1 is missing.")));
        }
        Ok(())
    }

    /// Whether a host is this listener, on a connection to this local address. Ports are ignored for its own addresses:
    /// a forwarded port has another number, and a page on another port cannot choose what the browser sends.
    fn is_named(&self, host: &Host<'_>, reached_at: IpAddr) -> bool {
        let is_own = host.address() == Some(reached_at.to_canonical());
        is_own || (self.on_loopback && host.is_localhost()) || self.allows(host)
    }

    /// Whether a host is configured.
    fn allows(&self, host: &Host<'_>) -> bool {
        self.allowed.iter().any(|allowed| allowed.allows(host))
    }

    fn misdirected(&self) -> Problem {
        if !self.logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the admin listener refused a request whose Host is neither its own address nor in `admin.allowed_hosts`; \
                 further ones are not logged"
            );
        }
        Problem::new(
            Kind::UNKNOWN_HOST,
            "The admin listener answers to its own address and to the names in `admin.allowed_hosts`, and the Host of \
             this request is neither. Add the name under which you reach it, such as \"relay-admin.example.com\", to \
             `allowed_hosts` in [admin] of the relay's configuration.",
        )
    }

    /// Whether an origin is this listener's own: under the name that the request gives, or under a configured one,
    /// for a proxy that does not pass on the browser's Host. If the browser speaks TLS, an `http` origin is not.
    fn is_own_origin(&self, origin: &Origin<'_>, host: &Host<'_>, headers: &HeaderMap) -> bool {
        let named = origin.host.is(host) || self.allows(&origin.host);
        let secure = self.has_tls || is_forwarded_https(headers);
        named && (origin.is_https || !secure)
    }
}

/// An origin as browsers send it.
struct Origin<'a> {
    is_https: bool,
    host: Host<'a>,
}

impl<'a> Origin<'a> {
    /// `None` for `null`, which files and sandboxed frames of any page send.
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, host) = text.split_once("://")?;
        let is_https = scheme == "https";
        let host = Host::parse(host)?;
        (is_https || scheme == "http").then_some(Self { is_https, host })
    }
}

/// Whether a proxy in front reports that the browser speaks TLS. A client that forges this only makes its own cookie
/// stricter.
pub(super) fn is_forwarded_https(headers: &HeaderMap) -> bool {
    // The first of several values is the browser's own.
    let proto = headers.get("x-forwarded-proto").and_then(|v| v.to_str().ok());
    let first = proto.and_then(|v| v.split(',').next());
    first.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"))
}

fn elsewhere(why: &str) -> Problem {
    let detail = format!(
        "{why} Changes come from the admin page itself. Behind a proxy that does not pass the browser's Host on, \
         add the page's host to `admin.allowed_hosts`."
    );
    Problem::new(Kind::ORIGIN, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    #[test]
    fn the_listener_has_the_names_of_its_addresses_and_configured_ones() {
        let check = |listen: &str, reached_at: &str, host: &str, want: bool| {
            let text = format!(
                "[admin]\nlisten = \"{listen}\"\nallowed_hosts = [\"relay-admin.example.com\"]\n\
                 [upstream]\nurl = \"http://127.0.0.1:9\"\n[[site]]\ndomain = \"a.example\"\n"
            );
            let config = Config::parse("relay.toml", &text, Path::new(""), &|_| None).unwrap();
            let own = SameOrigin::new(&config.admin, false);
            let host = Host::parse(host).unwrap();
            let is_named = own.is_named(&host, reached_at.parse().unwrap());
            assert_eq!(is_named, want, "{host:?} at {reached_at}, of {listen}");
        };
        let (loopback, address, any) = ("127.0.0.1:8081", "10.0.0.5:8081", "[::]:8081");
        check(loopback, "127.0.0.1", "127.0.0.1:8081", true);
        check(loopback, "127.0.0.1", "localhost:9000", true);
        check(loopback, "127.0.0.1", "[::1]", true);
        check(loopback, "127.0.0.1", "10.0.0.5", false);
        check(loopback, "127.0.0.1", "0.0.0.0", false);
        check(address, "10.0.0.5", "10.0.0.5:8081", true);
        check(address, "10.0.0.5", "localhost", false);
        check(address, "10.0.0.5", "127.0.0.1", false);
        check(any, "::ffff:10.0.0.5", "10.0.0.5", true);
        check(any, "::ffff:10.0.0.5", "10.0.0.6", false);
        check("0.0.0.0:8081", "10.0.0.5", "localhost", true);
        check("0.0.0.0:8081", "10.0.0.5", "0.0.0.0", false);
        for listen in [loopback, address, any] {
            check(listen, "10.0.0.5", "relay-admin.example.com:443", true);
            check(listen, "10.0.0.5", "example.com", false);
        }
    }
}
