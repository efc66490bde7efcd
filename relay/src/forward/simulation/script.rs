//! A Plausible that answers as it is told, and watches what it must never see.

use crate::forward::breaker;
use crate::forward::traffic::Traffic;
use crate::forward::transport::{Connection, Failure, Transport};
use axum::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

/// Most requests at once, as configured.
pub(super) const CONCURRENCY: usize = 4;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

thread_local! {
    static SEED: Cell<u32> = const { Cell::new(1) };
}

/// Sets where the random numbers of this thread begin.
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
    /// Well, after so many milliseconds.
    Slow(u16),
    Dropped,
    Invalid,
    /// Nobody listens.
    Refuses,
    Fails,
    /// 429, with a Retry-After of so many seconds.
    Busy(u16),
    /// It takes the event and breaks the connection.
    Breaks,
    Hangs,
    /// Fails at every third request.
    Stumbles,
    /// Answers 404 to everything.
    AnotherServer,
}

impl Mood {
    /// Whether it is an outage: nothing is taken for as long as it lasts.
    pub(super) fn is_outage(self) -> bool {
        !matches!(
            self,
            Self::Well | Self::Slow(_) | Self::Dropped | Self::Invalid | Self::Stumbles
        )
    }
}

/// The scripted server.
#[derive(Clone, Debug, Default)]
pub(super) struct Script(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    mood: Mood,
    is_off: bool,
    traffic: Weak<Traffic>,
    under_way: usize,
    requests: u64,
    poison: BTreeSet<u64>,
    /// Events with lower numbers were purged.
    purged_before: u64,
    /// Numbers of events that arrived, in the order of their first arrival, by visitor.
    first: Vec<(String, u64)>,
    taken: BTreeSet<u64>,
    /// Events that were taken, the same one again included.
    deliveries: u64,
    broken: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            mood: Mood::Well,
            is_off: false,
            traffic: Weak::new(),
            under_way: 0,
            requests: 0,
            poison: BTreeSet::new(),
            purged_before: 0,
            first: Vec::new(),
            taken: BTreeSet::new(),
            deliveries: 0,
            broken: None,
        }
    }
}

impl Script {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn watch(&self, traffic: &Arc<Traffic>) {
        self.state().traffic = Arc::downgrade(traffic);
    }

    pub(super) fn set(&self, mood: Mood) {
        self.state().mood = mood;
    }

    pub(super) fn mood(&self) -> Mood {
        self.state().mood
    }

    pub(super) fn set_off(&self, is_off: bool) {
        self.state().is_off = is_off;
    }

    pub(super) fn forbid_before(&self, number: u64) {
        self.state().purged_before = number;
    }

    pub(super) fn poison(&self, number: u64) {
        self.state().poison.insert(number);
    }

    pub(super) fn heal(&self) {
        self.state().poison.clear();
    }

    pub(super) fn requests(&self) -> u64 {
        self.state().requests
    }

    pub(super) fn taken(&self) -> BTreeSet<u64> {
        self.state().taken.clone()
    }

    pub(super) fn deliveries(&self) -> u64 {
        self.state().deliveries
    }

    /// What must never have happened, if it has.
    pub(super) fn broken(&self) -> Option<String> {
        self.state().broken.clone()
    }

    fn arrive(&self, event: Option<(String, u64)>) -> (Mood, UnderWay) {
        let mut state = self.state();
        state.requests += 1;
        state.under_way += 1;
        let breaker = state.traffic.upgrade().map(|traffic| traffic.standing().breaker);
        let mut broken = None;
        if state.is_off {
            broken = Some("a request while the switch is off".to_owned());
        } else if state.under_way > CONCURRENCY {
            broken = Some(format!("{} requests at once", state.under_way));
        } else if breaker == Some(breaker::State::Open) {
            broken = Some("a request while the breaker is open".to_owned());
        }
        if let Some((visitor, number)) = event {
            if number < state.purged_before {
                broken = Some(format!("{number} was sent after it was purged"));
            }
            let mut seen = state.first.iter().filter(|(other, _)| *other == visitor);
            if !seen.clone().any(|(_, other)| *other == number) {
                if let Some((_, later)) = seen.find(|(_, other)| *other > number) {
                    broken = Some(format!("{number} came after {later}"));
                }
                state.first.push((visitor, number));
            }
        }
        state.broken = state.broken.take().or(broken);
        let mood = match state.mood {
            Mood::Stumbles if state.requests.is_multiple_of(3) => Mood::Fails,
            Mood::Stumbles => Mood::Well,
            mood => mood,
        };
        (mood, UnderWay(self.clone()))
    }
}

/// Counts a request out when it has come back or was cut.
struct UnderWay(Script);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
    }
}

impl Transport for Script {
    type Connection = Self;

    fn connection(&self) -> Self {
        self.clone()
    }
}

impl Connection for Script {
    async fn send(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        let event = (request.method() == Method::POST).then(|| {
            let body: Value = serde_json::from_slice(request.body()).unwrap();
            let visitor = request.headers()["x-plausible-ip"].to_str().unwrap().to_owned();
            (visitor, body["props"]["n"].as_u64().unwrap())
        });
        let number = event.as_ref().map(|(_, number)| *number);
        let (mood, _under_way) = self.arrive(event);
        if mood == Mood::Refuses {
            return Err(Failure::Unreachable);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        let is_poison = number.is_some_and(|number| self.state().poison.contains(&number));
        let answer = |status: u16, header: Option<(&'static str, String)>| {
            let mut answer = Response::builder().status(StatusCode::from_u16(status).unwrap());
            if let Some((name, value)) = header {
                answer = answer.header(name, value);
            }
            Ok(answer.body(Bytes::new()).unwrap())
        };
        let take = || {
            if let Some(number) = number {
                let mut state = self.state();
                state.taken.insert(number);
                state.deliveries += 1;
            }
        };
        match mood {
            Mood::Hangs => {
                tokio::time::sleep(TIMEOUT).await;
                Err(Failure::TimedOut)
            }
            Mood::Fails => answer(500, None),
            Mood::Busy(seconds) => answer(429, Some(("retry-after", seconds.to_string()))),
            Mood::AnotherServer => answer(404, None),
            _ if number.is_none() => answer(200, None),
            _ if is_poison => answer(500, None),
            Mood::Breaks => {
                take();
                Err(Failure::Unknown)
            }
            Mood::Dropped => answer(202, Some(("x-plausible-dropped", "1".into()))),
            Mood::Invalid => answer(400, None),
            Mood::Slow(millis) => {
                tokio::time::sleep(Duration::from_millis(millis.into())).await;
                take();
                answer(202, None)
            }
            Mood::Well | Mood::Refuses | Mood::Stumbles => {
                take();
                answer(202, None)
            }
        }
    }

    fn tidy(&mut self) -> Option<Duration> {
        None
    }
}
