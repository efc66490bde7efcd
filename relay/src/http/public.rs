//! What answers on the public listener: the routes that bring events, past the router, which has all others.

use super::serve::{Answering, Answers, Peer};
use super::{browser_config, carried_by_all, cors, ingest, public_router, source};
use crate::app::App;
use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::{Extension, Router};
use std::sync::Arc;

/// Answers browsers. Nearly all they send is events. Those do not walk through the router, whose layers and boxes
/// cost more than reading an event; it knows their routes too, and tells other methods which one they take.
#[derive(Clone, Debug)]
pub struct Public {
    app: Arc<App>,
    router: Router,
}

/// A route that brings events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Events {
    /// One, in Plausible's format.
    Plausible,
    /// A batch of the module.
    Batch,
}

impl Events {
    /// The route of a request, at the root or below the base path.
    fn of(method: &Method, path: &str, base: &str) -> Option<Self> {
        let has_plan = |path: &str| ingest::plan_in(path).is_some_and(|(before, _)| before.is_empty());
        let is = |route| path == route || path.strip_prefix(base) == Some(route);
        match *method {
            Method::POST if is(ingest::PLAUSIBLE) => Some(Self::Plausible),
            Method::POST if is(ingest::BATCH) || is(ingest::BATCH_OF_TOOLS) => Some(Self::Batch),
            Method::POST if has_plan(path) || path.strip_prefix(base).is_some_and(has_plan) => {
                Some(Self::Plausible)
            }
            _ => None,
        }
    }
}

/// Whether pages need this route to send events. At any other one an origin says nothing about the configuration.
fn is_for_pages(path: &str, base: &str) -> bool {
    let is_config = |path: &str| path == browser_config::ROUTE;
    Events::of(&Method::POST, path, base).is_some()
        || is_config(path)
        || path.strip_prefix(base).is_some_and(is_config)
}

impl Public {
    /// For this relay.
    pub fn new(app: &Arc<App>) -> Self {
        Self {
            app: Arc::clone(app),
            router: public_router(app),
        }
    }
}

impl Answers for Public {
    fn answer(&self, peer: Peer, request: Request) -> Answering {
        let Self { app, router } = self.clone();
        Box::pin(async move {
            let origin = request.headers().get(header::ORIGIN).cloned();
            let base = &app.config.public.base_path;
            let mut answer = match Events::of(request.method(), request.uri().path(), base) {
                Some(Events::Plausible) => {
                    ingest::plausible(State(Arc::clone(&app)), Extension(peer), request).await
                }
                Some(Events::Batch) => ingest::batch(State(Arc::clone(&app)), Extension(peer), request).await,
                None => {
                    let refused = origin.as_ref().filter(|origin| {
                        is_for_pages(request.uri().path(), base) && !cors::is_configured(&app, origin)
                    });
                    let own = refused.is_some()
                        && source::is_own(request.uri(), request.headers(), peer.0.ip(), &app.config);
                    let answer = router.answer(peer, request).await;
                    // A page that cannot read the configuration never comes to send an event.
                    if let Some(origin) = refused.filter(|_| !answer.status().is_client_error()) {
                        app.arrivals.refused(origin.as_bytes(), own);
                    }
                    answer
                }
            };
            // Refusals carry it too, so that a page can read them.
            cors::allow(&app, origin, answer.headers_mut());
            carried_by_all(answer.headers_mut());
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_in_two_formats_at_the_root_and_below_the_base_path() {
        let check = |method: Method, path: &str, base: &str, want| {
            assert_eq!(
                Events::of(&method, path, base),
                want,
                "{method} {path} below {base:?}"
            );
        };
        let (plausible, batch) = (Some(Events::Plausible), Some(Events::Batch));
        check(Method::POST, "/api/event", "", plausible);
        check(Method::POST, "/api/notes", "", batch);
        check(Method::POST, "/api/events", "", batch);
        check(Method::POST, "/api/event", "/feedback", plausible);
        check(Method::POST, "/feedback/api/event", "/feedback", plausible);
        check(Method::POST, "/feedback/api/notes", "/feedback", batch);
        check(Method::POST, "/feedback/api/events", "/feedback", batch);
        check(Method::POST, "/api/notes/", "", None);
        check(Method::POST, "/api/note", "", None);
        check(Method::POST, "/feedback/api/event", "", None);
        check(Method::POST, "/feedback/feedback/api/event", "/feedback", None);
        for base in ["", "/feedback"] {
            check(Method::POST, "/plan/3/api/event", base, plausible);
            check(Method::POST, "/plan/old/api/event", base, plausible);
            check(Method::POST, "/plan//api/event", base, None);
            check(Method::POST, "/plan/3/4/api/event", base, None);
            check(Method::POST, "/plan/3/api/notes", base, None);
            check(Method::POST, "/plan/3/api/event/", base, None);
            check(Method::POST, "/other/plan/3/api/event", base, None);
            check(Method::GET, "/plan/3/api/event", base, None);
        }
        check(Method::POST, "/feedback/plan/3/api/event", "/feedback", plausible);
        check(Method::POST, "/feedback/plan/3/api/event", "", None);
        check(Method::POST, "/api/event/", "", None);
        check(Method::POST, "/api/Event", "", None);
        check(Method::POST, "/api/config", "", None);
        check(Method::GET, "/api/event", "", None);
        check(Method::OPTIONS, "/api/notes", "", None);
    }

    #[test]
    fn only_routes_that_pages_need_tell_of_refused_origins() {
        let check = |path: &str, want: bool| assert_eq!(is_for_pages(path, "/feedback"), want, "{path}");
        check("/api/config", true);
        check("/feedback/api/config", true);
        check("/api/notes", true);
        check("/feedback/plan/3/api/event", true);
        check("/api/config/", false);
        check("/nothing", false);
        check("/privacy", false);
        check("/version", false);
        check("/actuator/health", false);
    }
}
