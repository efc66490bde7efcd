//! `GET /metrics`, behind basic auth.

mod guesses;

use crate::app::App;
use crate::clock::{self, Clock, Moment};
use crate::http::client_address::{self, Through};
use crate::http::problem::Problem;
use crate::http::serve::Peer;
use crate::metrics;
use crate::metrics::logins::ScrapeResult;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use guesses::{Guess, Guesses, Source};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often wrong passwords are logged at most.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// The door of `/metrics`.
#[derive(Debug)]
pub(super) struct Scrapes {
    clock: Clock,
    state: Mutex<Door>,
}

#[derive(Debug)]
struct Door {
    guesses: Guesses,
    /// Wrong passwords, and those not looked at, that are not logged yet.
    wrong: u64,
    throttled: u64,
    logged_at: Option<Moment>,
}

impl Scrapes {
    /// Nothing was tried yet.
    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            // Setting the clock gives no further guesses.
            clock: clock.steady(clock.now()),
            state: Mutex::new(Door {
                guesses: Guesses::new(clock::random()),
                wrong: 0,
                throttled: 0,
                logged_at: None,
            }),
        }
    }

    /// Whether a request carries the user and password of `[metrics]`. The one place that compares them. The password is
    /// a machine's, compared in constant time; it is not an account's, which would cost an Argon2 hash per scrape.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn authorise(&self, app: &App, Peer(peer): Peer, headers: &HeaderMap) -> Result<(), Problem> {
        let config = &app.config.metrics;
        let Some(password) = &config.password else {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "no_password",
                "No password configured",
                "Set `metrics.password`, `metrics.password_file` or FEEDBACK_RELAY_METRICS_PASSWORD.",
            ));
        };
        let count = |result| app.metrics.scrapes.count(result);
        let Some((user, guess)) = credentials(headers) else {
            count(ScrapeResult::Missing);
            return Err(login_needed());
        };
        let client = client_address::client(peer.ip(), headers, &app.config.admin.trusted_proxies);
        let source = Source {
            peer: (client.through == Through::Nothing).then_some(peer),
            network: client_address::network_of(client.address),
        };
        // Both are compared, whatever the first one says.
        match self.look(source, || password.is(&guess) & (user == config.username)) {
            Guess::Right => {
                count(ScrapeResult::Ok);
                Ok(())
            }
            Guess::Wrong => {
                count(ScrapeResult::Wrong);
                Err(login_needed())
            }
            Guess::Unseen(wait) => {
                count(ScrapeResult::Throttled);
                Err(Problem::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "login",
                    "Too many wrong passwords",
                    "Too many wrong passwords were tried, so this one was not looked at. Come back later.",
                )
                .retry_in(wait))
            }
        }
    }

    fn look(&self, source: Source, is_right: impl FnOnce() -> bool) -> Guess {
        let now = self.clock.now();
        let mut door = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let guess = door.guesses.look(source, now, is_right);
        match guess {
            Guess::Right => {}
            Guess::Wrong => door.wrong += 1,
            Guess::Unseen(_) => door.throttled += 1,
        }
        door.log(now);
        guess
    }
}

impl Door {
    /// At once, and then at most once a minute: the next request logs what has waited, as each scrape does.
    fn log(&mut self, now: Moment) {
        let is_early = self.logged_at.is_some_and(|at| now.since(at) < LINE_EVERY);
        if is_early || self.wrong + self.throttled == 0 {
            return;
        }
        let (wrong, throttled) = (self.wrong, self.throttled);
        tracing::warn!(wrong, throttled, "wrong passwords for /metrics");
        (self.wrong, self.throttled, self.logged_at) = (0, 0, Some(now));
    }
}

/// The text Prometheus scrapes.
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Extension(scrapes): Extension<Arc<Scrapes>>,
    headers: HeaderMap,
) -> Response {
    if let Err(problem) = scrapes.authorise(&app, peer, &headers) {
        return problem.into_response();
    }
    let text = app.metrics.text();
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

fn login_needed() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "login",
        "Login needed",
        "Use basic auth with the user and password of [metrics].",
    )
    .basic_auth()
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    let decoded = scheme
        .eq_ignore_ascii_case("basic")
        .then(|| STANDARD.decode(encoded.trim()))?
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':')
        .map(|(user, password)| (user.to_owned(), password.to_owned()))
}
