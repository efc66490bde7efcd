//! The admin page's JSON API: login, status, the switch.

pub(super) mod login;
pub(super) mod same_origin;
pub(super) mod session;

use crate::clock::Timestamp;
use crate::forward::Reachability;
use crate::http::door::Door;
use crate::http::problem::{Kind, Problem};
use crate::http::switch::{self, SetSwitch, SwitchStatus};
use crate::switch::{Actor, Site};
use crate::version;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::{NoContent, Response};
use relay_event::Outcome;
use serde_json::{Value, json};
use session::Admin;
use std::sync::Arc;
use std::time::Duration;

/// `POST /admin/api/logout`.
pub(super) async fn logout(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    Admin(admin): Admin,
) -> ([(HeaderName, String); 1], NoContent) {
    door.app.accounts.logout(&admin);
    let gone = session::no_cookie(&door, &headers);
    ([(header::SET_COOKIE, gone)], NoContent)
}

/// `GET /admin/api/status`: everything the page shows.
pub(super) async fn status(State(door): State<Arc<Door>>, Admin(admin): Admin) -> Json<Value> {
    let app = &door.app;
    let counts = app.ledger.counts();
    let ended: Vec<Value> = Outcome::ALL
        .iter()
        .filter(|outcome| counts.ended(**outcome) > 0)
        .map(|outcome| json!({ "outcome": outcome.label(), "reason": outcome.reason(), "count": counts.ended(*outcome) }))
        .collect();
    let oldest = (counts.spool_oldest_ms > 0)
        .then(|| app.clock.now().since(Timestamp(counts.spool_oldest_ms)).as_secs());
    let plausible = match app.dispatcher.status().reachability {
        Reachability::Unknown => "UNKNOWN",
        Reachability::Up => "UP",
        Reachability::Down => "DOWN",
        Reachability::Misconfigured | Reachability::Unclear => "NOT_PLAUSIBLE",
    };
    let policy = app.policy.current();
    let of = |site: &Arc<Site>| {
        app.counters
            .suspicious_of(&site.domain)
            .into_values()
            .sum::<u64>()
    };
    let suspicious: u64 = app.switches.sites().map(of).sum();
    Json(json!({
        "user": admin.name,
        "version": version::PACKAGE,
        "sites": SwitchStatus::of_all(app),
        "counters": {
            "received": counts.received,
            "recovered": counts.recovered,
            "in_progress": counts.in_progress,
            "spooled": counts.spooled,
            "suspicious": suspicious,
            "ended": ended,
        },
        "spool": { "events": counts.spooled, "bytes": counts.spool_bytes, "oldest_age_seconds": oldest },
        "plausible": { "status": plausible },
        "policy": {
            "sha256": policy.identity.sha256,
            "source": policy.identity.source,
            "since": policy.since.rfc3339(),
            "failed_reload": app.policy.last_error(),
            "failure": policy.failure(),
        },
    }))
}

/// `PUT /admin/api/sites/{site}/switch`.
pub(super) async fn set_switch(
    State(door): State<Arc<Door>>,
    Admin(admin): Admin,
    Path(site): Path<String>,
    body: Result<Json<SetSwitch>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let actor = Actor::checked(&admin.name.clone(), move |db| admin.holds(db));
    switch::set(&door.app, &site, body, actor).await
}

/// Longest time for a request, including its body; setting a switch takes at most three seconds. After that the
/// response is 408 and the connection counts as idle: otherwise a client that never sends its body would hold its
/// place forever and block monitoring.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Ends requests that take too long.
pub(super) async fn in_time(request: Request, next: Next) -> Result<Response, Problem> {
    let answer = tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await;
    answer.map_err(|_| {
        let detail = format!(
            "The request took longer than {} seconds.",
            ANSWER_WITHIN.as_secs()
        );
        Problem::new(Kind::TOO_SLOW, detail)
    })
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
        assert_eq!(answer(Body::from("{}")).await, 200);
        assert_eq!(answer(Body::new(Never)).await, 408);
    }

    #[test]
    fn the_page_waits_longer_for_a_login_than_the_relay_takes() {
        let page = include_str!("../../../web/src/admin/api.ts");
        let limit = page
            .lines()
            .find_map(|line| line.strip_prefix("const LOGIN_WITHIN_MS = ")?.strip_suffix(';'));
        let waits: u64 = limit.unwrap().replace('_', "").parse().unwrap();
        assert!(Duration::from_millis(waits) > ANSWER_WITHIN);
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
