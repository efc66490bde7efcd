//! `POST /admin/api/login`: from a request to an attempt, and from its end to an answer.

use super::session;
use crate::accounts::{Attempt, DEVICE_AGE_MAX, LoginError, NewSession, Source};
use crate::app::App;
use crate::http::client_address::{self, Through, X_FORWARDED_FOR};
use crate::http::places::{Bodies, Unread, busy};
use crate::http::problem::{Problem, sentence};
use crate::http::serve::Peer;
use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{FORWARDED, SET_COOKIE, VIA};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::{Extension, Json};
use ipnet::IpNet;
use relay_event::Outcome;
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;

/// Largest body, in bytes: a name and a password. Above it: 413.
const BODY_BYTES_MAX: usize = 8 * 1024;
/// The cookie by which a device is known that has logged in before, over TLS and without; see [`session`].
const SECURE_DEVICE_COOKIE: &str = "__Host-feedback_device";
const PLAIN_DEVICE_COOKIE: &str = "feedback_device";

#[derive(Deserialize)]
struct Login {
    user: String,
    password: String,
}

/// Logs in. Sets the session's cookie, and the one by which the device is known from now on.
pub(in crate::http) async fn login(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Extension(bodies): Extension<Arc<Bodies>>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let has_tls = session::has_tls(&app, headers);
    let device = session::value_of(headers, device_cookie(has_tls));
    let device = device.and_then(|cookie| app.accounts.device(cookie));
    let source = source(peer.0.ip(), headers, &app.config.admin.trusted_proxies);
    let body = match bodies.read(body, BODY_BYTES_MAX, device.is_some()).await {
        Ok(body) => body,
        Err(why) => {
            if why != Unread::TooLarge {
                app.accounts.body_did_not_arrive();
            }
            return unread(why).into_response();
        }
    };
    let request = Request::from_parts(parts, Body::from(body));
    let Ok(Json(Login { user, password })) = Json::from_request(request, &()).await else {
        return Problem::invalid("Send {\"user\": …, \"password\": …} as application/json.").into_response();
    };
    let attempt = Attempt {
        name: user,
        password,
        source,
        device,
    };
    match app.accounts.login(attempt).await {
        Ok(new) => (StatusCode::NO_CONTENT, cookies(&new, has_tls)).into_response(),
        Err(error) => refused(&error).into_response(),
    }
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
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "Too large",
            "A name and a password have at most 8 KiB.",
        ),
        Unread::Incomplete => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "Too slow",
            "The body did not arrive whole within 5 seconds.",
        ),
        Unread::Displaced => busy(),
    }
}

fn refused(error: &LoginError) -> Problem {
    let problem = |status, kind, title| Problem::new(status, kind, title, sentence(error));
    match error {
        LoginError::Wrong => problem(StatusCode::UNAUTHORIZED, "login", "Login failed"),
        LoginError::Throttled(wait) => {
            problem(StatusCode::TOO_MANY_REQUESTS, "login", "Too many tries").retry_in(*wait)
        }
        LoginError::Overloaded => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too many logins").retry_after(2)
        }
        LoginError::Store(_) => Problem::of(Outcome::SpoolUnavailable),
    }
}

/// Headers that a proxy adds. Those of [`client_address`] alone say for whom.
const OF_PROXIES: [HeaderName; 6] = [
    X_FORWARDED_FOR,
    FORWARDED,
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-real-ip"),
    VIA,
];

/// Where a login comes from. A client cannot take a header away that a proxy adds, so one that has none comes past that
/// proxy.
fn source(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Source {
    let client = client_address::client(peer, headers, trusted);
    let has_header = OF_PROXIES.iter().any(|name| headers.contains_key(name));
    Source {
        network: client_address::network_of(client.address),
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
