//! The limiter against a fixed limit of the same size: the figures of ADR 0025.
//!
//! A discrete-event model in virtual time: the real limiter, breaker, attempts and backoff send a backlog from 64 lanes
//! to a server that queues, slows down, refuses or goes away. `cargo test forward::overload -- --nocapture` prints the
//! table.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "times of a model, and its table"
)]

use super::attempts::Attempts;
use super::backoff;
use super::breaker::{Breaker, Decision, Signal, State, Token};
use super::limiter::Limiter;
use super::plausible::Reply;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

const LANES: usize = 64;
/// `upstream.concurrency`.
const CONCURRENCY: usize = 32;
/// `upstream.timeout_s`.
const TIMEOUT: f64 = 10.0;
/// How long an event is parked, in seconds.
const PARKED: f64 = 60.0;
/// The duration of a refusal or a failed connection, in seconds.
const AT_ONCE: f64 = 0.001;

/// A server. Times are in seconds.
#[derive(Clone, Copy)]
struct Server {
    workers: usize,
    /// Mean time of a request in a worker.
    service: f64,
    /// Each request above this number adds one fraction of it to the service time.
    slows_above: usize,
    /// Above this number it answers 503.
    refuses_above: usize,
    /// The interval in which it is unreachable.
    away: (f64, f64),
    /// Until this time only one worker serves.
    cold_until: f64,
}

const FAST: Server = Server {
    workers: 64,
    service: 0.005,
    slows_above: usize::MAX,
    refuses_above: usize::MAX,
    away: (0.0, 0.0),
    cold_until: 0.0,
};

/// A server at work: when each worker becomes free, and when its requests end, in microseconds, negated.
struct Working(Server, Vec<f64>, BinaryHeap<i64>, Random);

/// Xorshift, so that each run is the same.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32
    }

    /// Between 0 and 1.
    fn part(&mut self) -> f64 {
        f64::from(self.next()) / f64::from(u32::MAX)
    }
}

impl Working {
    /// The time and the reply of a request that arrives now. An answer after the timeout is never seen.
    fn serve(&mut self, now: f64) -> (f64, Reply) {
        let Self(server, busy, inside, random) = self;
        while inside.peek().is_some_and(|end| -end as f64 <= now * 1e6) {
            inside.pop();
        }
        if (server.away.0..server.away.1).contains(&now) {
            return (now + AT_ONCE, Reply::Unreachable);
        }
        if inside.len() >= server.refuses_above {
            return (now + AT_ONCE, Reply::Retry);
        }
        let above = inside.len().saturating_sub(server.slows_above) as f64;
        // Seven tenths are constant, three are exponentially distributed.
        let spread = 0.7 - 0.3 * random.part().max(1e-9).ln();
        let service = server.service * spread * (1.0 + above / server.slows_above as f64);
        let workers = if now < server.cold_until {
            1
        } else {
            server.workers
        };
        let free = (0..workers).min_by(|a, b| busy[*a].total_cmp(&busy[*b])).unwrap();
        let end = busy[free].max(now) + service;
        busy[free] = end;
        inside.push(-(end * 1e6) as i64);
        match end - now > TIMEOUT {
            true => (now + TIMEOUT, Reply::Unknown),
            false => (end, Reply::Accepted),
        }
    }
}

/// An event of the model, at its point in time.
enum Step {
    Answered(usize, Token, Reply, f64),
    Probed(usize, Token, Reply),
    Rested(usize),
    Unparked(usize),
    Wake,
}

/// The figures of a run.
#[derive(Debug, Default)]
struct Figures {
    drained_s: f64,
    refused: usize,
    unknown: usize,
    parked: usize,
    took: Vec<f64>,
}

impl Figures {
    fn took_ms(&self, part: f64) -> f64 {
        let mut took = self.took.clone();
        took.sort_by(f64::total_cmp);
        took[((took.len() - 1) as f64 * part) as usize] * 1000.0
    }
}

struct Model {
    server: Working,
    breaker: Breaker,
    /// `None`: the limit is fixed.
    limiter: Option<Limiter>,
    random: Random,
    lanes: Vec<VecDeque<Attempts>>,
    queue: VecDeque<usize>,
    in_flight: usize,
    taken: u64,
    now: f64,
    /// By time in microseconds, then in order.
    steps: BTreeMap<(u64, u64), Step>,
    number: u64,
    figures: Figures,
}

fn run(server: Server, backlog: usize, is_limited: bool) -> Figures {
    let lane = |lane| {
        (lane..backlog)
            .step_by(LANES)
            .map(|_| Attempts::new(false))
            .collect()
    };
    let busy = vec![0.0; server.workers];
    let mut model = Model {
        server: Working(server, busy, BinaryHeap::new(), Random(7919)),
        breaker: Breaker::careful(true),
        limiter: is_limited.then(|| Limiter::new(CONCURRENCY)),
        random: Random(104_729),
        lanes: (0..LANES).map(lane).collect(),
        queue: (0..LANES).collect(),
        in_flight: 0,
        taken: 0,
        now: 0.0,
        steps: BTreeMap::new(),
        number: 0,
        figures: Figures::default(),
    };
    while model.taken < backlog as u64 {
        model.dispatch();
        let ((at, _), step) = model.steps.pop_first().expect("something is in flight or waits");
        model.now = model.now.max(at as f64 / 1e6);
        model.go_on(step);
    }
    model.figures.drained_s = model.now;
    model.figures
}

impl Model {
    fn clock(&self) -> Duration {
        Duration::from_secs_f64(self.now)
    }

    fn at(&mut self, at: f64, step: Step) {
        self.number += 1;
        self.steps.insert(((at * 1e6).ceil() as u64, self.number), step);
    }

    /// Sends as many requests as breaker and limit allow.
    fn dispatch(&mut self) {
        while let Some(lane) = self.queue.front().copied() {
            if self.in_flight >= self.limiter.as_ref().map_or(CONCURRENCY, Limiter::limit) {
                return;
            }
            let (token, is_probe) = match self.breaker.ask(self.clock()) {
                Decision::Event(token) => (token, false),
                Decision::Probe(token) | Decision::SelfTest(token) => (token, true),
                Decision::NotBefore(at) => return self.at(at.as_secs_f64(), Step::Wake),
                Decision::Wait => return,
            };
            self.queue.pop_front();
            self.in_flight += 1;
            let (end, reply) = self.server.serve(self.now);
            let step = match is_probe {
                true => Step::Probed(lane, token, reply),
                false => Step::Answered(lane, token, reply, self.now),
            };
            self.at(end, step);
        }
    }

    fn go_on(&mut self, step: Step) {
        match step {
            Step::Wake => {}
            Step::Rested(lane) => self.queue.push_back(lane),
            Step::Unparked(lane) => {
                self.lanes[lane].push_front(Attempts::new(true));
                if self.lanes[lane].len() == 1 {
                    self.queue.push_back(lane);
                }
            }
            Step::Probed(lane, token, reply) => {
                self.report(&token, reply);
                self.queue.push_back(lane);
            }
            Step::Answered(lane, token, reply, began) => {
                self.report(&token, reply);
                self.note(lane, reply, self.now - began);
            }
        }
    }

    /// Like the report of a send slot.
    fn report(&mut self, token: &Token, reply: Reply) {
        let signal = match reply {
            Reply::Accepted => Signal::Success,
            _ => Signal::Failure(None),
        };
        let (was, now) = (self.breaker.state(), self.clock());
        self.breaker.report(token, signal, now, self.random.next());
        self.in_flight -= 1;
        if let Some(limiter) = &mut self.limiter
            && was != State::Closed
            && self.breaker.state() == State::Closed
        {
            limiter.start_slowly();
        }
    }

    /// Like a lane after an answer.
    fn note(&mut self, lane: usize, reply: Reply, took: f64) {
        let now = self.clock();
        self.figures.took.push(took);
        if reply == Reply::Accepted {
            self.taken += 1;
            if let Some(limiter) = &mut self.limiter {
                limiter.answered(Duration::from_secs_f64(took), self.in_flight + 1, now);
            }
            self.lanes[lane].pop_front();
        } else {
            self.figures.refused += usize::from(reply == Reply::Retry);
            self.figures.unknown += usize::from(reply == Reply::Unknown);
            if let Some(limiter) = &mut self.limiter {
                limiter.failed(now);
            }
            let is_closed = self.breaker.state() == State::Closed;
            let attempts = &mut self.lanes[lane][0];
            attempts.note(reply, self.taken);
            if !attempts.is_event_at_fault(self.taken, is_closed) {
                let wait = backoff::wait(attempts.failed().min(3), None, self.random.next());
                return self.at(self.now + wait.as_secs_f64(), Step::Rested(lane));
            }
            self.figures.parked += 1;
            self.lanes[lane].pop_front();
            self.at(self.now + PARKED, Step::Unparked(lane));
        }
        if !self.lanes[lane].is_empty() {
            self.queue.push_back(lane);
        }
    }
}

#[test]
fn a_server_that_slows_down_or_refuses_gets_the_backlog_sooner_and_without_repetitions_with_the_limiter() {
    let check = |what: &str, server: Server, backlog: usize, sooner: f64, is_gentle: bool| {
        let (limited, fixed) = (run(server, backlog, true), run(server, backlog, false));
        for (how, figures) in [("limiter", &limited), ("fixed", &fixed)] {
            let Figures {
                drained_s,
                refused,
                unknown,
                parked,
                ..
            } = figures;
            let (p50, p99) = (figures.took_ms(0.5), figures.took_ms(0.99));
            println!(
                "| {what} | {how} | {drained_s:.0} | {refused} | {unknown} | {parked} | {p50:.0} | {p99:.0} |"
            );
        }
        assert!(limited.drained_s * sooner <= fixed.drained_s * 1.05, "{what}");
        let bad = |figures: &Figures| figures.refused + figures.unknown + figures.parked;
        assert!(bad(&limited) * 20 <= backlog, "{what}");
        assert!(!is_gentle || bad(&limited) * 10 <= bad(&fixed), "{what}");
    };
    check("64 workers, 5 ms", FAST, 20_000, 1.0, false);
    let far = Server {
        service: 0.15,
        ..FAST
    };
    check("64 workers, 150 ms", far, 20_000, 1.0, false);
    let small = Server {
        workers: 4,
        service: 0.02,
        ..FAST
    };
    check("4 workers, 20 ms", small, 20_000, 1.0, false);
    let eight = Server {
        workers: 8,
        service: 0.02,
        ..FAST
    };
    let slows = Server {
        slows_above: 8,
        ..eight
    };
    check(
        "8 workers, 20 ms, slower above 8 in flight",
        slows,
        20_000,
        2.5,
        false,
    );
    let refuses = Server {
        refuses_above: 16,
        ..eight
    };
    check(
        "8 workers, 20 ms, 503 above 16 in flight",
        refuses,
        20_000,
        5.0,
        true,
    );
    let slow = Server {
        workers: 2,
        service: 1.0,
        ..FAST
    };
    check("2 workers, 1 s", slow, 2_000, 2.0, true);
    let cold = Server {
        workers: 8,
        service: 0.5,
        away: (5.0, 65.0),
        cold_until: 125.0,
        ..FAST
    };
    check(
        "8 workers, 500 ms; away for a minute, then one worker for a minute",
        cold,
        5_000,
        1.0,
        true,
    );
}
