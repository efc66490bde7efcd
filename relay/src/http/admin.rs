//! The admin page's JSON API: login, status, the switch.

pub(super) mod door;
pub(super) mod login;
pub(super) mod session;

use crate::app::App;
use crate::clock::Moment;
use crate::forward::Reach;
use crate::http::problem::Problem;
use crate::http::turn::{self, Standing, Turn};
use crate::switch::Turner;
use crate::version;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use relay_event::Outcome;
use serde_json::{Value, json};
use session::Admin;
use std::sync::Arc;
use std::time::Duration;

/// `POST /admin/api/logout`.
pub(super) async fn logout(State(app): State<Arc<App>>, headers: HeaderMap, Admin(admin): Admin) -> Response {
    app.accounts.logout(&admin);
    let gone = session::no_cookie(&app, &headers);
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]).into_response()
}

/// `GET /admin/api/status`: everything the page shows.
pub(super) async fn status(State(app): State<Arc<App>>, Admin(admin): Admin) -> Json<Value> {
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
            "suspicious": app.metrics.suspicious.total(),
            "ended": ended,
        },
        "spool": { "events": counts.spooled, "bytes": counts.spool_bytes, "oldest_age_seconds": oldest },
        "plausible": { "status": plausible },
        "policy": {
            "sha256": policy.identity.sha256,
            "source": policy.identity.source,
            "since": policy.since.rfc3339(),
            "failed_reload": app.policy.trouble(),
            "failure": policy.failure(),
        },
    }))
}

/// `PUT /admin/api/sites/{site}/switch`.
pub(super) async fn turn(
    State(app): State<Arc<App>>,
    Admin(admin): Admin,
    Path(site): Path<String>,
    turn: Result<Json<Turn>, JsonRejection>,
) -> Response {
    let turner = Turner::checked(&admin.name.clone(), move |db| admin.holds(db));
    turn::turn(&app, &site, turn, turner).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::Never;
    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::middleware::from_fn;
    use axum::routing::post;
    use std::collections::BTreeSet;
    use tower::Service;

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
