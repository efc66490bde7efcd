//! The guard of `/metrics`: basic auth, with a limit on wrong passwords.

mod guesses;

use crate::app::App;
use crate::clock::{self, Clock, Timestamp};
use crate::http::client_address::{self, Through};
use crate::http::problem::{Kind, Problem};
use crate::http::server::Peer;
use crate::metrics::{self, Registry};
use crate::network::client_of;
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use guesses::{Guess, Guesses, Source};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Shortest interval between two log lines about wrong passwords.
const LINE_EVERY: Duration = Duration::from_secs(60);

metrics::declare! {
    /// Requests for `/metrics`.
    struct Metrics {
        /// Requests for /metrics, by the result of their password check.
        metrics_auth: Counter["result"] = [["ok"], ["wrong"], ["missing"], ["throttled"]],
    }
}

/// The guard of `/metrics`: it limits wrong passwords.
#[derive(Debug)]
pub(super) struct Scrapes {
    clock: Clock,
    metrics: Metrics,
    state: Mutex<Tried>,
}

#[derive(Debug)]
struct Tried {
    guesses: Guesses,
    /// Wrong passwords, and those not checked, that are not logged yet.
    wrong: u64,
    throttled: u64,
    logged_at: Option<Timestamp>,
}

impl Scrapes {
    /// Starts without attempts.
    pub(super) fn new(clock: &Clock, registry: &mut Registry) -> Self {
        Self {
            // Setting the clock grants no further guesses.
            clock: clock.steady(clock.now()),
            metrics: Metrics::register(registry),
            state: Mutex::new(Tried {
                guesses: Guesses::new(clock::random()),
                wrong: 0,
                throttled: 0,
                logged_at: None,
            }),
        }
    }

    /// Checks a request for the user and password of `[metrics]`. This is the only comparison. The password belongs
    /// to a machine and is compared in constant time; an account's would cost an Argon2 hash per scrape.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn authorise(&self, app: &App, peer: Peer, headers: &HeaderMap) -> Result<(), Problem> {
        let config = &app.config.metrics;
        let Some(password) = &config.password else {
            return Err(Problem::new(
                Kind::NO_PASSWORD,
                "Set `metrics.password`, `metrics.password_file` or FEEDBACK_RELAY_METRICS_PASSWORD.",
            ));
        };
        let count = |result| self.metrics.metrics_auth.with([result]).inc();
        let Some((user, guess)) = credentials(headers) else {
            count("missing");
            return Err(login_needed());
        };
        let client = client_address::client(peer.address.ip(), headers, &app.config.admin.trusted_proxies);
        let source = Source {
            peer: (client.through == Through::Nothing).then_some(peer.address),
            network: client_of(client.address),
        };
        // Compares both, even if the first differs.
        match self.look(source, || password.is(&guess) & (user == config.username)) {
            Guess::Right => {
                count("ok");
                Ok(())
            }
            Guess::Wrong => {
                count("wrong");
                Err(login_needed())
            }
            Guess::Unseen(wait) => {
                count("throttled");
                Err(Problem::new(
                    Kind::LOGIN_THROTTLED,
                    "Too many passwords were wrong, so this one was not checked. Retry later; see `Retry-After`.",
                )
                .retry_in(wait))
            }
        }
    }

    fn look(&self, source: Source, is_right: impl FnOnce() -> bool) -> Guess {
        let now = self.clock.now();
        let mut tried = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let guess = tried.guesses.look(source, now, is_right);
        match guess {
            Guess::Right => {}
            Guess::Wrong => tried.wrong += 1,
            Guess::Unseen(_) => tried.throttled += 1,
        }
        tried.log(now);
        guess
    }
}

impl Tried {
    /// Logs at once, and then at most once a minute: the next request logs the count since then.
    fn log(&mut self, now: Timestamp) {
        let is_early = self.logged_at.is_some_and(|at| now.since(at) < LINE_EVERY);
        if is_early || self.wrong + self.throttled == 0 {
            return;
        }
        let (wrong, throttled) = (self.wrong, self.throttled);
        tracing::warn!(wrong, throttled, "wrong passwords for /metrics");
        (self.wrong, self.throttled, self.logged_at) = (0, 0, Some(now));
    }
}

fn login_needed() -> Problem {
    Problem::new(
        Kind::LOGIN_NEEDED,
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
