//! A scripted Plausible.

use super::watch::{Event, SITES, Sent, Watch, is_self_test};
use crate::clock::{Clock, Timestamp};
use crate::forward::courier::DEPTH_MAX;
use crate::forward::dispatch::Dispatcher;
use crate::forward::sites::Sites;
use crate::forward::transport::{Cause, Connection, Transport};
use crate::store::Store;
use axum::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// The configured limit of concurrent requests.
pub(super) const CONCURRENCY: usize = 4;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

thread_local! {
    static SEED: Cell<u32> = const { Cell::new(1) };
}

/// Seeds this thread's random numbers.
pub(super) fn seed(seed: u32) {
    SEED.set(seed | 1);
}

/// The next random number: xorshift.
pub(super) fn random() -> u32 {
    let mut x = SEED.get();
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    SEED.set(x);
    x
}

/// How Plausible answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// Well, after this many milliseconds.
    Slow(u16),
    Dropped,
    Invalid,
    /// Refuses connections.
    Refuses,
    Fails,
    /// 429 with a Retry-After, after this many milliseconds.
    Busy(RetryAfter, u16),
    /// Accepts the event and breaks the connection.
    Breaks,
    Hangs,
    /// Fails at every third request.
    Stumbles,
    /// Answers 404 to everything.
    AnotherServer,
    /// Answers 200 to everything.
    Gateway,
}

/// How `Retry-After` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryAfter {
    Seconds(u32),
    /// A date, this many seconds ahead or behind.
    Date(i32),
}

impl RetryAfter {
    /// The header at a time, and how long a rest it asks for.
    fn header(self, now: Timestamp) -> (String, Duration) {
        match self {
            Self::Seconds(seconds) => (seconds.to_string(), Duration::from_secs(seconds.into())),
            Self::Date(ahead) => {
                // Whole seconds are all that can be written.
                let at = Timestamp((now.0.div_euclid(1000) + i64::from(ahead)) * 1000);
                let date = jiff::Timestamp::from_millisecond(at.0).unwrap();
                let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
                (date, at.since(now))
            }
        }
    }
}

impl Mood {
    /// Whether it is an outage, during which nothing is accepted.
    pub(super) fn is_outage(self) -> bool {
        !matches!(
            self,
            Self::Well | Self::Slow(_) | Self::Dropped | Self::Invalid | Self::Stumbles
        )
    }
}

/// Plausible's health endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Answers,
    /// The path does not exist.
    IsMissing,
    /// The configuration disables it.
    IsNotAsked,
}

/// How the relay is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) health: Health,
    /// An event that was sent and not answered is given up.
    pub(super) drops_unknown: bool,
    /// Whether Plausible knows each site at first.
    pub(super) knows: [bool; SITES.len()],
}

impl Setup {
    pub(super) const USUAL: Self = Self {
        health: Health::Answers,
        drops_unknown: false,
        knows: [true; SITES.len()],
    };
}

/// The scripted server.
#[derive(Clone, Debug)]
pub(super) struct Script {
    state: Arc<Mutex<State>>,
    /// The relay's, to see what waits.
    store: Store,
    setup: Setup,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    poison: BTreeSet<u64>,
    knows: [bool; SITES.len()],
    /// A visitor whose events are all dropped.
    shielded: Option<u8>,
    /// Requests that were answered, or will be.
    answers: u64,
    /// Accepted events, including repetitions.
    deliveries: u64,
    watch: Watch,
}

impl Script {
    pub(super) fn new(setup: Setup, clock: Clock, store: Store) -> Self {
        let state = State {
            mood: Mood::Well,
            poison: BTreeSet::new(),
            knows: setup.knows,
            shielded: None,
            answers: 0,
            deliveries: 0,
            watch: Watch::new(clock, setup.health != Health::IsNotAsked),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            store,
            setup,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Calls `with` on the watch.
    pub(super) fn watch<T>(&self, with: impl FnOnce(&mut Watch) -> T) -> T {
        with(&mut self.state().watch)
    }

    /// A new relay starts.
    pub(super) fn begin(&self, dispatcher: &Arc<Dispatcher>, sites: &Arc<Sites>) {
        self.watch(|watch| {
            watch.dispatcher = Arc::downgrade(dispatcher);
            watch.sites = Arc::downgrade(sites);
            watch.into_the_unclear = 0;
            watch.forget_wishes();
        });
    }

    pub(super) fn set(&self, mood: Mood) {
        let mut state = self.state();
        state.mood = mood;
        state.watch.into_the_unclear = 0;
    }

    /// A site is added in Plausible, or removed.
    pub(super) fn know(&self, site: usize, knows: bool) {
        self.state().knows[site] = knows;
    }

    /// From here on all events of a visitor are dropped.
    pub(super) fn shield(&self, visitor: u8) {
        self.state().shielded = Some(visitor);
    }

    fn is_dropped(&self, sent: Option<Sent>) -> bool {
        let state = self.state();
        sent.is_some_and(|sent| {
            let visitor = state.watch.events.get(&sent.number).map(|event| event.visitor);
            let is_unknown = sent.site.is_some_and(|site| !state.knows[site]);
            is_unknown || (visitor.is_some() && visitor == state.shielded)
        })
    }

    pub(super) fn mood(&self) -> Mood {
        self.state().mood
    }

    pub(super) fn poison(&self, number: u64) {
        self.state().poison.insert(number);
    }

    pub(super) fn heal(&self) {
        self.state().poison.clear();
    }

    pub(super) fn requests(&self) -> u64 {
        self.watch(|watch| watch.requests)
    }

    pub(super) fn deliveries(&self) -> u64 {
        self.state().deliveries
    }

    /// The broken invariant, if one is.
    pub(super) fn broken(&self) -> Option<String> {
        self.watch(|watch| watch.broken.clone())
    }

    /// Whether an earlier event of the same visitor waits and is not parked.
    async fn is_waited_for(&self, sent: Option<Sent>) -> bool {
        let earlier = sent.map(|sent| self.watch(|watch| watch.before(sent.number)));
        for seq in earlier.unwrap_or_default() {
            let waits = "SELECT EXISTS (SELECT 1 FROM spool WHERE seq = ?1 AND not_before IS NULL)";
            let waits = move |db: &rusqlite::Connection| db.query_row(waits, [seq], |row| row.get(0));
            if self.store.run(waits).await.unwrap() {
                return true;
            }
        }
        false
    }

    /// A request arrives.
    async fn arrive(&self, request: &Request<Bytes>) -> (Option<Sent>, Option<Method>) {
        let sent = Sent::read(request);
        let self_test = is_self_test(request).then(|| request.method().clone());
        let waits = self.is_waited_for(sent).await;
        let mut state = self.state();
        state.watch.arrive(sent, self_test.is_some(), waits);
        if state.mood == Mood::Gateway && sent.is_some() {
            state.watch.into_the_unclear += 1;
            if state.watch.into_the_unclear > CONCURRENCY * DEPTH_MAX {
                let wrong = "more events were sent to what answers 200 than can be in flight";
                state.watch.broken.get_or_insert(wrong.into());
            }
        }
        (sent, self_test)
    }

    /// A connection has requests in flight.
    fn fly(&self) -> InFlight {
        self.watch(|watch| watch.in_flight += 1);
        InFlight(self.clone())
    }

    /// How the next request is answered.
    fn mood_for_one(&self) -> Mood {
        let mut state = self.state();
        state.answers += 1;
        match state.mood {
            Mood::Stumbles if state.answers.is_multiple_of(3) => Mood::Fails,
            Mood::Stumbles => Mood::Well,
            mood => mood,
        }
    }

    /// Plausible counts the event.
    fn take(&self, sent: Option<Sent>) {
        if sent.is_some() {
            self.state().deliveries += 1;
        }
        self.note(sent, |event| event.is_taken = true);
    }

    /// The answer settles the event.
    fn settle(&self, sent: Option<Sent>) {
        self.note(sent, |event| event.is_over = true);
    }

    fn note(&self, sent: Option<Sent>, note: impl FnOnce(&mut Event)) {
        let event = sent.map(|sent| sent.number);
        self.watch(|watch| {
            event
                .and_then(|number| watch.events.get_mut(&number))
                .map(note)
                .unwrap_or_default();
        });
    }

    /// There will be no answer.
    fn lose(&self, sent: Option<Sent>) {
        if self.setup.drops_unknown {
            self.settle(sent);
        }
    }
}

/// Decrements the connections with requests in flight once they have come back or were cut.
struct InFlight(Script);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.watch(|watch| watch.in_flight -= 1);
    }
}

/// Plausible's answer to an event that it calls invalid.
fn refusal(errors: &'static str) -> Response<Bytes> {
    let body = Bytes::from_static(errors.as_bytes());
    Response::builder().status(400).body(body).unwrap()
}

impl Transport for Script {
    type Connection = Self;

    fn connection(&self) -> Self {
        self.clone()
    }
}

impl Connection for Script {
    /// All requests arrive at once, and are answered one after the other. The first that breaks the connection breaks the
    /// others too: the server has not read them.
    async fn send_all(
        &mut self,
        requests: Vec<Request<Bytes>>,
        mut ended: impl FnMut(Result<Response<Bytes>, Cause>, Duration) + Send,
    ) {
        let started = Instant::now();
        let _in_flight = self.fly();
        let mut arrived = Vec::new();
        for request in &requests {
            arrived.push(self.arrive(request).await);
        }
        let mut broken = None;
        for (sent, self_test) in arrived {
            let answer = match &broken {
                Some(cause) => {
                    self.lose(sent);
                    Err(Cause::clone(cause))
                }
                None => self.answer(sent, self_test).await,
            };
            broken = answer.as_ref().err().cloned().or(broken);
            ended(answer, started.elapsed());
        }
    }

    fn tidy(&mut self) -> Option<Duration> {
        None
    }
}

impl Script {
    async fn answer(&self, sent: Option<Sent>, self_test: Option<Method>) -> Result<Response<Bytes>, Cause> {
        let mood = self.mood_for_one();
        if mood == Mood::Refuses {
            return Err(Cause::Refused);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        let is_poison = sent.is_some_and(|sent| self.state().poison.contains(&sent.number));
        let answer = |status: u16, header: Option<(&'static str, String)>| {
            let mut answer = Response::builder().status(StatusCode::from_u16(status).unwrap());
            if let Some((name, value)) = header {
                answer = answer.header(name, value);
            }
            Ok(answer.body(Bytes::new()).unwrap())
        };
        match mood {
            Mood::Hangs => {
                tokio::time::sleep(TIMEOUT).await;
                self.lose(sent);
                Err(Cause::AnswerTimedOut)
            }
            Mood::Fails => answer(500, None),
            Mood::Busy(retry_after, millis) => {
                tokio::time::sleep(Duration::from_millis(millis.into())).await;
                let (header, asked) = self.watch(|watch| retry_after.header(watch.clock.now()));
                self.watch(|watch| watch.leave_alone_for(asked));
                answer(429, Some(("retry-after", header)))
            }
            Mood::AnotherServer => answer(404, None),
            Mood::Gateway => {
                self.settle(sent);
                answer(200, None)
            }
            _ if self_test == Some(Method::GET) => answer(404, None),
            _ if self_test.is_some() => Ok(refusal(r#"{"errors":{"event_name":["is too long"]}}"#)),
            _ if sent.is_none() && self.setup.health == Health::IsMissing => answer(404, None),
            _ if sent.is_none() => answer(200, None),
            _ if is_poison => answer(500, None),
            Mood::Breaks => {
                self.take(sent);
                self.lose(sent);
                Err(Cause::BrokenAfter)
            }
            Mood::Dropped => {
                self.watch(|watch| sent.map(|sent| watch.drop(sent)));
                answer(202, Some(("x-plausible-dropped", "1".into())))
            }
            Mood::Invalid => {
                self.settle(sent);
                Ok(refusal(r#"{"errors":{"url":["is required"]}}"#))
            }
            Mood::Slow(_) | Mood::Well | Mood::Refuses | Mood::Stumbles => {
                if let Mood::Slow(millis) = mood {
                    tokio::time::sleep(Duration::from_millis(millis.into())).await;
                }
                if self.is_dropped(sent) {
                    self.watch(|watch| sent.map(|sent| watch.drop(sent)));
                    return answer(202, Some(("x-plausible-dropped", "1".into())));
                }
                self.take(sent);
                self.settle(sent);
                answer(202, None)
            }
        }
    }
}
