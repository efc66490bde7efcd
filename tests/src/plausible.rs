//! A Plausible that answers as it is told, breaks connections, goes away and comes back, and remembers
//! every byte it was sent.

mod wire;

use serde_json::Value;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What is answered to one request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 202 `ok`.
    Accept,
    /// 202 with a header more.
    AcceptWith(&'static str, &'static str),
    /// A status with headers and a body.
    Status(u16, &'static [(&'static str, &'static str)], &'static str),
    /// A redirect to an address.
    Redirect(u16, String),
    /// 202 after a while.
    Slow(Duration),
    /// Nothing, ever.
    Hang,
    /// The connection is reset as soon as it is made. Only as the first answer to a connection.
    ResetBeforeReading,
    /// The connection is reset when the request was read.
    ResetAfterReading,
    /// Bytes that are no HTTP.
    Garbage,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When it had been read.
    pub at: Instant,
    /// The number of its connection.
    pub connection: usize,
    /// Method and path.
    pub line: String,
    /// The headers, names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Value,
}

impl Arrival {
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

struct State {
    arrivals: Mutex<Vec<Arrival>>,
    bytes: Mutex<Vec<u8>>,
    connections: AtomicUsize,
    queue: Mutex<VecDeque<Answer>>,
    rule: Mutex<Rule>,
    latency: Mutex<Duration>,
    /// The status that health probes are answered with, and how many there were.
    health: AtomicU16,
    probes: AtomicUsize,
}

/// The fake server. It has an address of its own in 127/8, so that it finds its port free again after
/// it was away.
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

    /// One that nobody can connect to yet.
    ///
    /// # Panics
    /// When no address is free.
    pub fn away() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let process = u8::try_from(std::process::id() % 200).unwrap();
        let ip = Ipv4Addr::new(127, 77, process + 1, NEXT.fetch_add(1, Ordering::Relaxed));
        // Bound once to learn a free port, and let go again.
        let probe = std::net::TcpListener::bind((ip, 0)).unwrap();
        let state = State {
            arrivals: Mutex::default(),
            bytes: Mutex::default(),
            connections: AtomicUsize::new(0),
            queue: Mutex::default(),
            rule: Mutex::new(Box::new(|_| Answer::Accept)),
            latency: Mutex::default(),
            health: AtomicU16::new(200),
            probes: AtomicUsize::new(0),
        };
        Self {
            address: probe.local_addr().unwrap(),
            state: Arc::new(state),
            serving: None,
        }
    }

    /// Its address, as the relay is configured with it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Goes away: further connections are refused, open ones end.
    pub async fn go_away(&mut self) {
        if let Some(mut serving) = self.serving.take() {
            serving.shutdown().await;
        }
    }

    /// Comes back on the same port.
    ///
    /// # Panics
    /// When the port is taken.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, Arc::clone(&self.state)));
        self.serving = Some(serving);
    }

    /// Answers the next requests so, one each.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn queue(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.queue.lock().unwrap().extend(answers);
    }

    /// Answers every request that nothing is queued for by this rule.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn rule(&self, rule: impl Fn(&Arrival) -> Answer + Send + 'static) {
        *self.state.rule.lock().unwrap() = Box::new(rule);
    }

    /// Lets every request be on its way for a while before it arrives.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn latency(&self, latency: Duration) {
        *self.state.latency.lock().unwrap() = latency;
    }

    /// Answers health probes with this status; 200 at first.
    pub fn health(&self, status: u16) {
        self.state.health.store(status, Ordering::SeqCst);
    }

    /// How many health probes there were so far. They are no arrivals.
    pub fn probes(&self) -> usize {
        self.state.probes.load(Ordering::SeqCst)
    }

    /// Every request so far, but health probes and what the self-test sends.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state.arrivals.lock().unwrap().clone()
    }

    /// How many requests so far.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn count(&self) -> usize {
        self.state.arrivals.lock().unwrap().len()
    }

    /// The numbers of the `Load` events so far.
    pub fn numbers(&self) -> Vec<usize> {
        self.arrivals().iter().filter_map(Arrival::n).collect()
    }

    /// Every byte so far, of all connections.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn bytes(&self) -> Vec<u8> {
        self.state.bytes.lock().unwrap().clone()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    // Ends with this task, and with it every connection.
    let mut open = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let number = state.connections.fetch_add(1, Ordering::SeqCst);
        let resets = {
            let mut queue = state.queue.lock().unwrap();
            let resets = matches!(queue.front(), Some(Answer::ResetBeforeReading));
            if resets {
                queue.pop_front();
            }
            resets
        };
        if resets {
            stream.set_zero_linger().unwrap();
        } else {
            open.spawn(converse(stream, number, Arc::clone(&state)));
        }
    }
}

async fn converse(mut stream: TcpStream, connection: usize, state: Arc<State>) {
    let mut buffer = Vec::new();
    while let Some(mut arrival) = wire::read(&mut stream, &mut buffer, connection, &state.bytes).await {
        let is_self_test = !arrival.header("x-debug-request").is_empty();
        if is_self_test || arrival.line.starts_with("GET ") {
            let text = if is_self_test {
                wire::response(400, &[], "{\"errors\":{}}")
            } else {
                state.probes.fetch_add(1, Ordering::SeqCst);
                wire::response(state.health.load(Ordering::SeqCst), &[], "{}")
            };
            if stream.write_all(text.as_bytes()).await.is_err() {
                return;
            }
            continue;
        }
        let latency = *state.latency.lock().unwrap();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
            arrival.at = Instant::now();
        }
        let queued = state.queue.lock().unwrap().pop_front();
        let answer = queued.unwrap_or_else(|| (state.rule.lock().unwrap())(&arrival));
        state.arrivals.lock().unwrap().push(arrival);
        let text = match answer {
            Answer::Accept => wire::response(202, &[], "ok"),
            Answer::AcceptWith(name, value) => wire::response(202, &[(name, value)], "ok"),
            Answer::Status(status, headers, body) => wire::response(status, headers, body),
            Answer::Redirect(status, location) => wire::response(status, &[("location", &location)], ""),
            Answer::Slow(delay) => {
                tokio::time::sleep(delay).await;
                wire::response(202, &[], "ok")
            }
            Answer::Hang => {
                // Until the other end gives up.
                let _ = stream.read(&mut [0; 64]).await;
                return;
            }
            Answer::ResetBeforeReading | Answer::ResetAfterReading => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Answer::Garbage => "\u{1}\u{2} this is not HTTP \r\n\r\n".to_owned(),
        };
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}
