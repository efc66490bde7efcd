//! A programmable Plausible: it gives chosen answers, breaks connections, goes away and comes back, and records every
//! byte it receives.

mod answer;
mod server;
mod steer;
mod wire;

pub use answer::Answer;
pub use server::Server;

use crate::address::{address_of_its_own, listen_at};
use serde_json::Value;
use server::Counts;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Plausible refuses longer names (contract a.3).
const NAME_CHARS_MAX: usize = 120;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When it had been read completely.
    pub at: Instant,
    /// The number of its connection.
    pub connection: usize,
    /// Method and path.
    pub line: String,
    /// The headers, names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Value,
    /// Its answer.
    pub answer: Answer,
}

impl Arrival {
    /// Whether it carries an event. Everything else is a health check.
    fn is_event(&self) -> bool {
        self.line.starts_with("POST ") && !self.is_query()
    }

    /// Whether it queries the Stats API.
    fn is_query(&self) -> bool {
        ["/api/v2/query", "/api/v1/stats/"]
            .iter()
            .any(|path| self.line.contains(path))
    }

    /// Whether it is the self-test, whose event has a name that Plausible refuses.
    fn is_self_test(&self) -> bool {
        let name = self.body["name"].as_str().unwrap_or_default();
        !self.header("x-debug-request").is_empty() || name.chars().count() > NAME_CHARS_MAX
    }

    /// The number of a `Load` event.
    pub fn n(&self) -> Option<usize> {
        usize::try_from(self.body["props"]["n"].as_u64()?).ok()
    }

    /// A header; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }
}

type Rule = Box<dyn Fn(&Arrival) -> Answer + Send>;

#[derive(Default)]
struct Requests {
    events: Vec<Arrival>,
    probes: usize,
    in_flight: usize,
    most_in_flight: usize,
}

struct State {
    requests: Mutex<Requests>,
    bytes: Mutex<Vec<u8>>,
    connections: AtomicUsize,
    queue: Mutex<VecDeque<Answer>>,
    rule: Mutex<Rule>,
    health: Mutex<Answer>,
    self_test: Mutex<Option<Answer>>,
    latency: Mutex<Duration>,
    counts: Mutex<Counts>,
}

/// The fake server. It has a unique address in 127/8, so that its port is still free when it comes back.
pub struct MiniPlausible {
    address: SocketAddr,
    state: Arc<State>,
    serving: Option<JoinSet<()>>,
}

impl std::fmt::Debug for MiniPlausible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MiniPlausible({})", self.address)
    }
}

impl MiniPlausible {
    /// Starts one that accepts everything.
    pub async fn start() -> Self {
        let mut plausible = Self::away();
        plausible.come_back().await;
        plausible
    }

    /// One that refuses connections until it comes back.
    ///
    /// # Panics
    /// If no address is free.
    pub fn away() -> Self {
        let state = State {
            requests: Mutex::default(),
            bytes: Mutex::default(),
            connections: AtomicUsize::new(0),
            queue: Mutex::default(),
            rule: Mutex::new(Box::new(|_| Answer::Accept)),
            health: Mutex::new(Answer::healthy()),
            self_test: Mutex::default(),
            latency: Mutex::default(),
            counts: Mutex::default(),
        };
        Self {
            address: address_of_its_own(),
            state: Arc::new(state),
            serving: None,
        }
    }

    /// Its URL, for the relay's configuration.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Goes away: new connections are refused, open ones end.
    pub async fn go_away(&mut self) {
        if let Some(mut serving) = self.serving.take() {
            serving.shutdown().await;
        }
    }

    /// Comes back on the same port.
    ///
    /// # Panics
    /// If the port is taken.
    pub async fn come_back(&mut self) {
        let listener = listen_at(self.address).await;
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, Arc::clone(&self.state)));
        self.serving = Some(serving);
    }

    /// Every request with an event so far.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state.requests.lock().unwrap().events.clone()
    }

    /// The number of events that it may have counted although the sender got no clear answer.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn unsure(&self) -> usize {
        let requests = self.state.requests.lock().unwrap();
        requests
            .events
            .iter()
            .filter(|a| a.answer.leaves_unsure())
            .count()
    }

    /// The number of requests with an event so far.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn count(&self) -> usize {
        self.state.requests.lock().unwrap().events.len()
    }

    /// The number of health checks so far. They are not arrivals.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn probes(&self) -> usize {
        self.state.requests.lock().unwrap().probes
    }

    /// The maximum of concurrent events: read and not yet answered.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn most_at_once(&self) -> usize {
        self.state.requests.lock().unwrap().most_in_flight
    }

    /// The numbers of the `Load` events so far.
    pub fn numbers(&self) -> Vec<usize> {
        self.arrivals().iter().filter_map(Arrival::n).collect()
    }

    /// Every byte so far, of all connections.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn bytes(&self) -> Vec<u8> {
        self.state.bytes.lock().unwrap().clone()
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    // Ends with this task, and every connection with it.
    let mut open = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let number = state.connections.fetch_add(1, Ordering::SeqCst);
        match state.pop(|next| matches!(next, Answer::ResetBeforeReading | Answer::HalfOpen)) {
            Some(Answer::HalfOpen) => drop(open.spawn(async move {
                let _kept = stream;
                std::future::pending::<()>().await;
            })),
            Some(_) => stream.set_zero_linger().unwrap(),
            None => drop(open.spawn(converse(stream, number, Arc::clone(&state)))),
        }
    }
}

async fn converse(mut stream: TcpStream, connection: usize, state: Arc<State>) {
    let mut buffer = Vec::new();
    loop {
        // Before it is read completely, so that it can be broken in the middle.
        if buffer.is_empty() && stream.peek(&mut [0]).await.is_err() {
            return;
        }
        if state.pop(|next| matches!(next, Answer::ResetHalfRead)).is_some() {
            wire::read_half(&mut stream, &state.bytes).await;
            stream.set_zero_linger().unwrap();
            return;
        }
        let Some(mut arrival) = wire::read(&mut stream, &mut buffer, connection, &state.bytes).await else {
            return;
        };
        let other = state.self_test.lock().unwrap().clone();
        if let Some(other) = other.filter(|_| arrival.is_self_test()) {
            if !other.give(&mut stream, ()).await {
                return;
            }
            continue;
        }
        // Arrivals include neither the self-test, whose event no server accepts, nor health checks and queries.
        let aside = if arrival.is_self_test() {
            Some(state.counts.lock().unwrap().refuse(&arrival))
        } else if arrival.is_query() {
            Some(state.counts.lock().unwrap().query(&arrival))
        } else {
            None
        };
        if let Some((status, body)) = aside {
            if !wire::write_json(&mut stream, status, &body).await {
                return;
            }
            continue;
        }
        let latency = *state.latency.lock().unwrap();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
            arrival.at = Instant::now();
        }
        if !arrival.is_event() {
            let health = state.health.lock().unwrap().clone();
            state.requests.lock().unwrap().probes += 1;
            if !health.give(&mut stream, ()).await {
                return;
            }
            continue;
        }
        let queued = state.pop(|_| true);
        let mut answer = queued.unwrap_or_else(|| (state.rule.lock().unwrap())(&arrival));
        if answer.may_have_counted() {
            let taken = state.counts.lock().unwrap().take(&arrival);
            if matches!(answer, Answer::Accept) {
                answer = taken;
            }
        }
        arrival.answer = answer.clone();
        let in_flight = InFlight::new(&state, arrival);
        if !answer.give(&mut stream, in_flight).await {
            return;
        }
    }
}

impl State {
    /// The next queued answer, if it is of a kind.
    fn pop(&self, kind: impl Fn(&Answer) -> bool) -> Option<Answer> {
        let mut queue = self.queue.lock().unwrap();
        if queue.front().is_some_and(kind) {
            queue.pop_front()
        } else {
            None
        }
    }
}

/// An event in flight, until it is answered or its connection ends.
struct InFlight<'s>(&'s State);

impl<'s> InFlight<'s> {
    fn new(state: &'s State, arrival: Arrival) -> Self {
        let mut requests = state.requests.lock().unwrap();
        requests.events.push(arrival);
        requests.in_flight += 1;
        requests.most_in_flight = requests.most_in_flight.max(requests.in_flight);
        Self(state)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.requests.lock().unwrap().in_flight -= 1;
    }
}
