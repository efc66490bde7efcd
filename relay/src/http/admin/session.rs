//! The session of a request, and the cookie that carries it.

use super::same_origin::{OWN_PAGE, is_forwarded_https};
use crate::accounts::LoggedIn;
use crate::http::door::Door;
use crate::http::problem::{Kind, Problem};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use std::sync::Arc;

/// The cookie over TLS. Browsers accept a cookie with this prefix only from this exact host, over TLS and for all
/// paths, so that no other host of the domain can plant one.
const SECURE_COOKIE: &str = "__Host-feedback_admin";
/// The cookie over plain HTTP, where browsers reject the prefix.
const PLAIN_COOKIE: &str = "feedback_admin";

/// The admin who is logged in. A handler that takes one is unreachable without a session.
pub(in crate::http) struct Admin(pub(super) LoggedIn);

impl FromRequestParts<Arc<Door>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, door: &Arc<Door>) -> Result<Self, Problem> {
        let admin = of(door, &parts.headers).await.ok_or_else(login_needed)?;
        // The page's own timer does not send this header: polling does not keep a session alive.
        if parts.headers.contains_key(OWN_PAGE) {
            door.app.accounts.used(&admin);
        }
        Ok(Self(admin))
    }
}

/// The admin who sends a request.
pub(in crate::http) async fn of(door: &Door, headers: &HeaderMap) -> Option<LoggedIn> {
    let token = token(headers, has_tls(door, headers))?;
    door.app.accounts.session(token).await
}

/// The refusal without a session, or with one that has ended.
pub(in crate::http) fn login_needed() -> Problem {
    Problem::new(Kind::LOGIN_NEEDED, "Log in first.")
}

/// The value of a `Set-Cookie` header that carries a session. It sets no age: the relay decides when the session
/// ends, and the browser deletes the cookie when it closes.
pub(super) fn cookie(token: &str, has_tls: bool) -> String {
    set_cookie(has_tls, token)
}

/// The value of a `Set-Cookie` header that deletes the cookie.
pub(super) fn no_cookie(door: &Door, headers: &HeaderMap) -> String {
    format!("{}; Max-Age=0", set_cookie(has_tls(door, headers), ""))
}

fn set_cookie(has_tls: bool, token: &str) -> String {
    named_cookie(cookie_name(has_tls), token, has_tls)
}

/// Only this server's own pages send the cookie, scripts cannot read it, and with TLS it is never sent in the clear.
pub(super) fn named_cookie(name: &str, value: &str, has_tls: bool) -> String {
    let secure = if has_tls { "; Secure" } else { "" };
    format!("{name}={value}; HttpOnly; SameSite=Strict; Path=/{secure}")
}

fn cookie_name(has_tls: bool) -> &'static str {
    if has_tls { SECURE_COOKIE } else { PLAIN_COOKIE }
}

/// Whether the browser speaks TLS, to this listener or to a proxy that reports it.
pub(super) fn has_tls(door: &Door, headers: &HeaderMap) -> bool {
    door.tls.admin.is_some() || is_forwarded_https(headers)
}

/// The token in a request's cookies. Over TLS only the cookie with the prefix counts.
fn token(headers: &HeaderMap, has_tls: bool) -> Option<&str> {
    value_of(headers, cookie_name(has_tls))
}

/// The value of the first cookie with this name.
pub(super) fn value_of<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'));
    cookies
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, _)| *name == wanted)
        .map(|(_, token)| token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_proxy_that_speaks_tls_makes_the_cookie_secure() {
        let check = |proto: &[&'static str], want: bool| {
            let mut headers = HeaderMap::new();
            for value in proto {
                headers.append("x-forwarded-proto", HeaderValue::from_static(value));
            }
            assert_eq!(is_forwarded_https(&headers), want, "{proto:?}");
        };
        check(&[], false);
        check(&["http"], false);
        check(&["https"], true);
        check(&["HTTPS"], true);
        check(&["https, http"], true);
        check(&["http, https"], false);
    }

    #[test]
    fn with_tls_the_cookie_belongs_to_this_host_alone() {
        assert_eq!(
            set_cookie(true, "t"),
            "__Host-feedback_admin=t; HttpOnly; SameSite=Strict; Path=/; Secure"
        );
        assert_eq!(
            set_cookie(false, "t"),
            "feedback_admin=t; HttpOnly; SameSite=Strict; Path=/"
        );
        let check = |cookies: &'static str, has_tls: bool, want: Option<&str>| {
            let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(cookies))]);
            assert_eq!(token(&headers, has_tls), want, "{cookies} {has_tls}");
        };
        check("feedback_admin=a; __Host-feedback_admin=b", true, Some("b"));
        check("feedback_admin=a; __Host-feedback_admin=b", false, Some("a"));
        check("feedback_admin=planted", true, None);
        check("feedback_adminx=a", false, None);
        check("", false, None);
    }
}
