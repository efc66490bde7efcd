//! Plausible's own format: one event, consent in the URL, and Plausible's responses.

use super::{PLAUSIBLE, take};
use crate::corridor::{Refused, Walked};
use crate::gate::source::Format;
use crate::http::door::Door;
use crate::http::problem::{self, Problem};
use crate::http::server::Peer;
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderName, Uri};
use axum::response::Response;
use relay_event::wire::{self, Batch};
use relay_event::{Consent, DayValues, Event, Outcome};
use std::sync::Arc;
use url::form_urlencoded;

/// The number of sites that dropped the event, in Plausible's own header.
const DROPPED: HeaderName = HeaderName::from_static("x-plausible-dropped");

/// `POST /api/event`: one event in Plausible's format, so that its trackers work unmodified. Consent is in the query,
/// or in the path for trackers that cannot add a query.
pub(in crate::http) async fn plausible(
    State(door): State<Arc<Door>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Problem> {
    let consent = plan_version(request.uri()).map(|plan| Consent {
        plan,
        categories: None,
        in_person: false,
    });
    let read = |body: &[u8]| Ok(addressed(wire::parse_plausible(body)?, consent));
    answer(take(door, peer, request, Format::Tracker, read).await?.walks)
}

/// The plan version that a page's users agreed to, from its tracker's endpoint.
fn plan_version(uri: &Uri) -> Option<u32> {
    let in_path = uri.path().strip_prefix("/plan/");
    let in_path = in_path.and_then(|rest| rest.strip_suffix(PLAUSIBLE));
    if let Some(version) = in_path {
        return version.parse().ok();
    }
    let query = form_urlencoded::parse(uri.query()?.as_bytes());
    let mut stated = query.filter(|(key, _)| key == "consent");
    match (stated.next(), stated.next()) {
        (Some((_, version)), None) => version.parse().ok(),
        _ => None,
    }
}

/// One event for each site that it lists. Plausible counts it for each, so each site is checked separately.
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

/// Answers like Plausible: 202, with the number of sites that dropped the event. Plausible does not refuse a site
/// that is not configured, so the relay does not either.
///
/// # Errors
/// The first refusal that is specific to the relay, if no site accepted the event.
fn answer(walks: Vec<Walked>) -> Result<Response, Problem> {
    let (mut is_taken, mut dropped, mut first) = (false, 0_u32, None);
    for walk in walks {
        let ended = walk.and_then(|endings| {
            let all: Result<(), Outcome> = endings.into_iter().collect();
            all.map_err(Refused::from)
        });
        match ended {
            Ok(()) => is_taken = true,
            // A repeated event is already stored. An event that the profile excludes is not the tracker's error.
            Err(Refused {
                outcome: Outcome::Duplicate | Outcome::EngagementLeftOut | Outcome::NameLeftOut,
                ..
            }) => is_taken = true,
            Err(refused) => {
                dropped += 1;
                first = first.or((refused.outcome != Outcome::UnknownSite).then_some(refused));
            }
        }
    }
    if let Some(refused) = first.filter(|_| !is_taken) {
        return Err(refused.into());
    }
    let mut answer = problem::accepted("text/plain; charset=utf-8", "ok");
    if dropped > 0 {
        answer.headers_mut().insert(DROPPED, dropped.into());
    }
    Ok(answer)
}
