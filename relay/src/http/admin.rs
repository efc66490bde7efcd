//! The admin page's JSON API: login, status, the switch.

use crate::accounts::LoginError;
use crate::app::App;
use crate::clock::Moment;
use crate::forward::Reach;
use crate::http::problem::{Problem, sentence};
use crate::http::turn::{self, Standing, Turn};
use crate::version;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use relay_event::Outcome;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const COOKIE: &str = "feedback_admin";
/// A page of another site cannot send this header without a preflight, which is never granted.
const OWN_PAGE: &str = "x-feedback-admin";

/// Who is logged in. A handler that takes one cannot be reached without a session.
pub(super) struct Admin {
    name: String,
    token: String,
}

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let token = cookie(&parts.headers).unwrap_or_default();
        match app.accounts.session(&token) {
            Some(name) => Ok(Self { name, token }),
            None => Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "login",
                "Login needed",
                "Log in first.",
            )),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Login {
    user: String,
    password: String,
}

/// `POST /admin/api/login`.
pub(super) async fn login(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    login: Result<Json<Login>, JsonRejection>,
) -> Response {
    let Ok(Json(login)) = login else {
        return Problem::invalid("Send {\"user\": …, \"password\": …} as application/json.").into_response();
    };
    match app.accounts.login(&login.user, login.password).await {
        Ok(token) => {
            // Without an age: the session's own decides, and the browser forgets it when it is closed.
            let cookie = format!("{COOKIE}={token}; {}", cookie_attributes(has_tls(&app, &headers)));
            (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
        }
        Err(error @ LoginError::Wrong) => Problem::new(
            StatusCode::UNAUTHORIZED,
            "login",
            "Login failed",
            sentence(&error),
        )
        .into_response(),
        Err(LoginError::Wait(wait)) => {
            let problem = Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "login",
                "Too many tries",
                sentence(&LoginError::Wait(wait)),
            );
            problem.retry_after(wait.as_secs()).into_response()
        }
        Err(LoginError::Store(_)) => Problem::of(Outcome::SpoolUnavailable).into_response(),
    }
}

/// Only this server's own pages send it, no script reads it, and where there is TLS it never goes without.
fn cookie_attributes(has_tls: bool) -> &'static str {
    match has_tls {
        true => "HttpOnly; SameSite=Strict; Path=/; Secure",
        false => "HttpOnly; SameSite=Strict; Path=/",
    }
}

/// Whether the browser speaks TLS: to this listener, or to a proxy that says so. Whoever makes that up keeps
/// the cookie from nobody but themselves.
fn has_tls(app: &App, headers: &HeaderMap) -> bool {
    app.tls.admin.is_some() || is_forwarded_https(headers)
}

fn is_forwarded_https(headers: &HeaderMap) -> bool {
    // The first of several is the browser's own.
    let proto = headers.get("x-forwarded-proto").and_then(|v| v.to_str().ok());
    let first = proto.and_then(|v| v.split(',').next());
    first.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"))
}

/// `POST /admin/api/logout`.
pub(super) async fn logout(State(app): State<Arc<App>>, headers: HeaderMap, admin: Admin) -> Response {
    app.accounts.logout(&admin.token);
    let attributes = cookie_attributes(has_tls(&app, &headers));
    let gone = format!("{COOKIE}=; {attributes}; Max-Age=0");
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]).into_response()
}

/// `GET /admin/api/status`: everything the page shows.
pub(super) async fn status(State(app): State<Arc<App>>, admin: Admin) -> Json<Value> {
    let counts = app.metrics.ledger.counts();
    let ended: Vec<Value> = Outcome::ALL
        .iter()
        .filter(|outcome| counts.ended(**outcome) > 0)
        .map(|outcome| json!({ "outcome": outcome.label(), "reason": outcome.reason(), "count": counts.ended(*outcome) }))
        .collect();
    let oldest =
        (counts.spool_oldest_ms > 0).then(|| app.clock.now().since(Moment(counts.spool_oldest_ms)).as_secs());
    let plausible = match app.traffic.standing().reach {
        Reach::Unknown => "UNKNOWN",
        Reach::Up => "UP",
        Reach::Down => "DOWN",
        Reach::Misconfigured | Reach::Unclear => "NOT_PLAUSIBLE",
    };
    let policy = app.policy.current();
    Json(json!({
        "user": admin.name,
        "version": version::PACKAGE,
        "sites": Standing::of_all(&app),
        "counters": {
            "received": counts.received,
            "recovered": counts.recovered,
            "in_progress": counts.in_progress,
            "spooled": counts.spooled,
            "ended": ended,
        },
        "spool": { "events": counts.spooled, "bytes": counts.spool_bytes, "oldest_age_seconds": oldest },
        "plausible": { "status": plausible },
        "policy": {
            "sha256": policy.identity.sha256,
            "source": policy.identity.source,
            "since": policy.since.rfc3339(),
            "failed_reload": app.policy.trouble(),
        },
    }))
}

/// `PUT /admin/api/sites/{site}/switch`.
pub(super) async fn turn(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(site): Path<String>,
    turn: Result<Json<Turn>, JsonRejection>,
) -> Response {
    turn::turn(&app, &site, turn, &admin.name).await
}

/// Longest time a request may take, its body included; turning a switch takes three seconds at most. Then the
/// answer is 408 and the connection counts as silent: whoever never sends a body would keep its place for
/// ever, and monitoring out.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Ends requests that take too long.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => {
            let detail = format!("It took longer than {} seconds.", ANSWER_WITHIN.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "Too slow", detail).into_response()
        }
    }
}

/// Refuses changes that do not come from the admin page itself.
pub(super) async fn same_origin_only(request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let elsewhere = request
        .headers()
        .get("sec-fetch-site")
        .is_some_and(|v| v.as_bytes() != b"same-origin");
    let unmarked = *request.method() == Method::PUT && !request.headers().contains_key(OWN_PAGE);
    if changes && (elsewhere || unmarked) {
        let detail = format!("Changes come from the admin page, with the header {OWN_PAGE}: 1.");
        return Problem::new(StatusCode::FORBIDDEN, "origin", "Wrong origin", detail).into_response();
    }
    next.run(request).await
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'));
    cookies
        .filter_map(|c| c.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, token)| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::middleware::from_fn;
    use axum::routing::post;
    use hyper::body::Frame;
    use std::collections::BTreeSet;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tower::Service;

    /// A body that was announced and does not come.
    struct Never;

    impl hyper::body::Body for Never {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_does_not_keep_its_place() {
        let mut router = Router::new()
            .route("/", post(|body: Bytes| async move { body }))
            .layer(from_fn(in_time));
        let mut answer = async |body| {
            let request = Request::post("/").body(body).unwrap();
            let answer = tokio::time::timeout(Duration::from_secs(60), router.call(request));
            answer.await.expect("it is answered").unwrap().status()
        };
        assert_eq!(answer(Body::from("{}")).await, StatusCode::OK);
        assert_eq!(answer(Body::new(Never)).await, StatusCode::REQUEST_TIMEOUT);
    }

    #[test]
    fn a_proxy_that_speaks_tls_makes_the_cookie_secure() {
        let check = |proto: &[&'static str], want: bool| {
            let mut headers = HeaderMap::new();
            for value in proto {
                headers.append("x-forwarded-proto", axum::http::HeaderValue::from_static(value));
            }
            assert_eq!(is_forwarded_https(&headers), want, "{proto:?}");
            assert_eq!(cookie_attributes(want).contains("; Secure"), want);
        };
        check(&[], false);
        check(&["http"], false);
        check(&["https"], true);
        check(&["HTTPS"], true);
        check(&["https, http"], true);
        check(&["http, https"], false);
    }

    #[test]
    fn the_page_has_words_for_each_way_an_event_can_end() {
        let page = include_str!("../../../web/src/admin/endings.ts");
        let told: BTreeSet<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("  \"")?.split_once("\": "))
            .map(|(key, _)| key)
            .collect();
        let keys: Vec<String> = Outcome::ALL
            .iter()
            .filter(|outcome| **outcome != Outcome::Delivered)
            .map(|outcome| format!("{}/{}", outcome.label(), outcome.reason()))
            .collect();
        assert_eq!(told, keys.iter().map(String::as_str).collect());
    }
}
