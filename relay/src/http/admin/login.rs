//! `POST /admin/api/login`: turns a request into an attempt, and its result into a response.

use super::session;
use crate::accounts::{Attempt, DEVICE_AGE_MAX, LoginError, NewSession, Source};
use crate::http::client_address::{self, Through, X_FORWARDED_FOR};
use crate::http::door::Door;
use crate::http::places::{Unread, busy};
use crate::http::problem::{Kind, Problem, sentence};
use crate::http::server::Peer;
use crate::network::client_of;
use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{FORWARDED, SET_COOKIE, VIA};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{AppendHeaders, NoContent};
use axum::{Extension, Json};
use ipnet::IpNet;
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Largest body, in bytes: a name and a password. Above it: 413.
const BODY_BYTES_MAX: usize = 8 * 1024;
/// The cookie that identifies a known device, over TLS and over plain HTTP; see [`session`].
const SECURE_DEVICE_COOKIE: &str = "__Host-feedback_device";
const PLAIN_DEVICE_COOKIE: &str = "feedback_device";

#[derive(Deserialize)]
struct Login {
    user: String,
    password: String,
}

/// Logs in. Sets the session's cookie, and the cookie that identifies the device from now on.
pub(in crate::http) async fn login(
    State(door): State<Arc<Door>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<(AppendHeaders<[(HeaderName, String); 2]>, NoContent), Problem> {
    let app = &door.app;
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let has_tls = session::has_tls(&door, headers);
    let device = session::value_of(headers, device_cookie(has_tls));
    let device = device.and_then(|cookie| app.accounts.device(cookie));
    let source = source(peer.address.ip(), headers, &app.config.admin.trusted_proxies);
    let body = door.logins.read(body, BODY_BYTES_MAX, device.is_some()).await;
    let body = body.map_err(|why| {
        if why != Unread::TooLarge {
            app.accounts.body_did_not_arrive();
        }
        unread(why)
    })?;
    let request = Request::from_parts(parts, Body::from(body));
    let Json(Login { user, password }) = Json::from_request(request, &())
        .await
        .map_err(|_| Problem::invalid("Send {\"user\": …, \"password\": …} as application/json."))?;
    let attempt = Attempt {
        name: user,
        password,
        source,
        device,
    };
    let new = app
        .accounts
        .login(attempt)
        .await
        .map_err(|error| refused(&error))?;
    Ok((cookies(&new, has_tls), NoContent))
}

fn device_cookie(has_tls: bool) -> &'static str {
    if has_tls {
        SECURE_DEVICE_COOKIE
    } else {
        PLAIN_DEVICE_COOKIE
    }
}

fn cookies(new: &NewSession, has_tls: bool) -> AppendHeaders<[(HeaderName, String); 2]> {
    let device = session::named_cookie(device_cookie(has_tls), &new.device, has_tls);
    let age = DEVICE_AGE_MAX.as_secs();
    AppendHeaders([
        (SET_COOKIE, session::cookie(&new.token, has_tls)),
        (SET_COOKIE, format!("{device}; Max-Age={age}")),
    ])
}

fn unread(why: Unread) -> Problem {
    match why {
        Unread::TooLarge => Problem::new(
            Kind::BODY_TOO_LARGE,
            "The body is larger than 8 KiB. Send a shorter name or password.",
        ),
        Unread::Incomplete => Problem::new(
            Kind::TOO_SLOW,
            "The body did not arrive within 5 seconds. Send it again.",
        ),
        Unread::Displaced => busy(),
    }
}

fn refused(error: &LoginError) -> Problem {
    let problem = |kind| Problem::new(kind, sentence(error));
    match error {
        LoginError::Wrong => problem(Kind::LOGIN_FAILED),
        LoginError::Throttled(wait) => problem(Kind::LOGIN_THROTTLED).retry_in(*wait),
        LoginError::Overloaded => problem(Kind::OVERLOADED).retry_in(Duration::from_secs(2)),
        LoginError::Store(_) => Problem::no_database(),
    }
}

/// Headers that proxies add. Only those that [`client_address`] reads name the client.
const OF_PROXIES: [HeaderName; 6] = [
    X_FORWARDED_FOR,
    FORWARDED,
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-real-ip"),
    VIA,
];

/// The source of a login. A client cannot remove a header that a proxy adds, so a request without one bypassed that
/// proxy.
fn source(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Source {
    let client = client_address::client(peer, headers, trusted);
    let has_header = OF_PROXIES.iter().any(|name| headers.contains_key(name));
    Source {
        network: client_of(client.address),
        is_forwarded: has_header && client.through == Through::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_source_is_the_client_as_far_as_it_is_known() {
        type Header = (HeaderName, &'static str);
        let check = |peer: &str, headers: &[Header], network: &str, is_forwarded: bool| {
            let headers = headers.iter().cloned();
            let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
            let trusted = ["10.0.0.1/32".parse().unwrap()];
            let source = source(peer.parse().unwrap(), &HeaderMap::from_iter(headers), &trusted);
            let network = network.parse().unwrap();
            assert_eq!(
                source,
                Source {
                    network,
                    is_forwarded
                },
                "{peer}"
            );
        };
        let xff = |value| (X_FORWARDED_FOR, value);
        check("192.0.2.1", &[], "192.0.2.1", false);
        check("::ffff:192.0.2.1", &[], "192.0.2.1", false);
        check("2001:db8:1:2:3:4:5:6", &[], "2001:db8:1:2::", false);
        check("192.0.2.1", &[xff("198.51.100.1")], "192.0.2.1", true);
        check("192.0.2.1", &[(FORWARDED, "for=198.51.100.1")], "192.0.2.1", true);
        for name in OF_PROXIES {
            let header = (name, "whatever");
            check("127.0.0.1", &[header], "127.0.0.1", true);
        }
        check("10.0.0.1", &[xff("198.51.100.1")], "198.51.100.1", false);
        check(
            "10.0.0.1",
            &[xff("203.0.113.9, 198.51.100.1")],
            "198.51.100.1",
            false,
        );
        check("10.0.0.1", &[xff("2001:db8:1:2::9")], "2001:db8:1:2::", false);
        check("10.0.0.1", &[], "10.0.0.1", false);
    }
}
