//! The session of a request, and the cookie that carries it.

use super::door::{OWN_PAGE, is_forwarded_https};
use crate::accounts::LoggedIn;
use crate::app::App;
use crate::http::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use std::sync::Arc;

/// Over TLS. Browsers take a cookie of this prefix only from this very host, over TLS and for all paths, so that no
/// other host of the domain can plant one.
const SECURE_COOKIE: &str = "__Host-feedback_admin";
/// Over plain HTTP, where browsers refuse the prefix.
const PLAIN_COOKIE: &str = "feedback_admin";

/// Who is logged in. A handler that takes one cannot be reached without a session.
pub(in crate::http) struct Admin(pub(super) LoggedIn);

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let admin = of(app, &parts.headers).await.ok_or_else(login_needed)?;
        // The page's own timer sends no such header: polling keeps no session alive.
        if parts.headers.contains_key(OWN_PAGE) {
            app.accounts.used(&admin);
        }
        Ok(Self(admin))
    }
}

/// Who sends a request.
pub(in crate::http) async fn of(app: &App, headers: &HeaderMap) -> Option<LoggedIn> {
    let token = token(headers, has_tls(app, headers))?;
    app.accounts.session(token).await
}

/// Without a session, or with one that has ended.
pub(in crate::http) fn login_needed() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "login", "Login needed", "Log in first.")
}

/// The value of a `Set-Cookie` header that carries a session. It has no age: the relay decides when the session
/// ends, and the browser forgets the cookie when it is closed.
pub(super) fn cookie(token: &str, has_tls: bool) -> String {
    set_cookie(has_tls, token)
}

/// The value of a `Set-Cookie` header that takes the cookie away.
pub(super) fn no_cookie(app: &App, headers: &HeaderMap) -> String {
    format!("{}; Max-Age=0", set_cookie(has_tls(app, headers), ""))
}

fn set_cookie(has_tls: bool, token: &str) -> String {
    named_cookie(cookie_name(has_tls), token, has_tls)
}

/// Only this server's own pages send it, scripts cannot read it, and with TLS it never leaves in the clear.
pub(super) fn named_cookie(name: &str, value: &str, has_tls: bool) -> String {
    let secure = if has_tls { "; Secure" } else { "" };
    format!("{name}={value}; HttpOnly; SameSite=Strict; Path=/{secure}")
}

fn cookie_name(has_tls: bool) -> &'static str {
    if has_tls { SECURE_COOKIE } else { PLAIN_COOKIE }
}

/// Whether the browser speaks TLS: to this listener, or to a proxy that says so.
pub(super) fn has_tls(app: &App, headers: &HeaderMap) -> bool {
    app.tls.admin.is_some() || is_forwarded_https(headers)
}

/// The token in a request's cookies. Over TLS only the cookie with the prefix counts.
fn token(headers: &HeaderMap, has_tls: bool) -> Option<&str> {
    value_of(headers, cookie_name(has_tls))
}

/// The value of the first cookie of a name.
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
