//! Plausible's own format: one event, consent in the address, and the answers Plausible gives.

use super::{PLAUSIBLE, accepted, refused, take};
use crate::app::App;
use crate::corridor::{Ending, Walk};
use crate::gate::source::Format;
use crate::http::problem::Problem;
use crate::http::serve::Peer;
use axum::Extension;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderName, Uri};
use axum::response::{IntoResponse, Response};
use relay_event::wire::{self, Batch};
use relay_event::{Consent, DayValues, Event, Outcome};
use serde::Deserialize;
use std::sync::Arc;

/// What stands before the plan version in the path of a tracker that cannot add a query.
const PLAN: &str = "/plan";
/// In how many of its sites an event is not counted, as Plausible says it.
const DROPPED: HeaderName = HeaderName::from_static("x-plausible-dropped");

/// Consent as a page states it in the address of Plausible's endpoint.
#[derive(Deserialize)]
struct ConsentQuery {
    consent: Option<String>,
}

/// `POST /api/event`: one event in Plausible's format, so that its trackers work unmodified. Consent is in the query, or
/// in the path for trackers that cannot add a query.
pub(in crate::http) async fn plausible(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    let consent = plan_version(request.uri()).map(|plan| Consent {
        plan,
        categories: None,
        in_person: false,
    });
    let read = |body: &[u8]| Ok(addressed(wire::parse_plausible(body)?, consent));
    match take(app, peer, request, Format::Tracker, read).await {
        Ok(taken) => answer_as_plausible(&taken.walks),
        Err(problem) => problem.into_response(),
    }
}

/// The plan version that a page's users agreed to, as its tracker's endpoint says.
fn plan_version(uri: &Uri) -> Option<u32> {
    if let Some((_, version)) = plan_in(uri.path()) {
        return version.parse().ok();
    }
    let Query(query) = Query::<ConsentQuery>::try_from_uri(uri).ok()?;
    query.consent?.parse().ok()
}

/// The plan version in a path such as `/plan/3/api/event`, readable or not, and what stands before all that.
pub(in crate::http) fn plan_in(path: &str) -> Option<(&str, &str)> {
    let (before, version) = path.strip_suffix(PLAUSIBLE)?.rsplit_once('/')?;
    let before = before.strip_suffix(PLAN)?;
    (!version.is_empty()).then_some((before, version))
}

/// An event for each site it lists. Plausible counts it for each, so each judges it for itself.
fn addressed(event: Event, consent: Option<Consent>) -> Vec<Batch> {
    if !event.site.contains(',') {
        let site = event.site.clone();
        return vec![Batch {
            site,
            consent,
            visitor: DayValues::default(),
            page_token: None,
            events: vec![Ok(event)],
        }];
    }
    let batch = |site: &str| Batch {
        site: site.to_owned(),
        consent: consent.clone(),
        visitor: DayValues::default(),
        page_token: None,
        events: vec![Ok(Event {
            site: site.to_owned(),
            ..event.clone()
        })],
    };
    wire::sites(&event.site).into_iter().map(batch).collect()
}

/// As Plausible answers: 202, with the number of sites that did not take the event. A site that is not configured
/// is no refusal there, so it is none here. What only the relay refuses is a problem, unless another site took it.
fn answer_as_plausible(walks: &[Walk]) -> Response {
    let (mut stored, mut dropped, mut problem) = (false, 0_u32, None);
    for walk in walks {
        let why = match walk {
            Walk::Events(endings) => match endings.first() {
                // A repeated event is stored already. What the profile leaves out is no mistake of the tracker's.
                Some(
                    Ending::Stored
                    | Ending::Ended(Outcome::Duplicate | Outcome::EngagementLeftOut | Outcome::NameLeftOut, _),
                ) => {
                    stored = true;
                    continue;
                }
                Some(Ending::Ended(_, Some(why))) => Some(Problem::malformed(why)),
                Some(Ending::Ended(outcome, None)) => Some(Problem::of(*outcome)),
                None => Some(Problem::of(Outcome::Lost)),
            },
            Walk::Refused {
                outcome: Outcome::UnknownSite,
                ..
            } => None,
            Walk::Refused { outcome, plan, wait } => Some(refused(*outcome, *plan, *wait)),
        };
        dropped += 1;
        problem = problem.or(why);
    }
    if let Some(problem) = problem.filter(|_| !stored) {
        return problem.into_response();
    }
    let mut answer = accepted("text/plain; charset=utf-8", "ok");
    if dropped > 0 {
        answer.headers_mut().insert(DROPPED, dropped.into());
    }
    answer
}
