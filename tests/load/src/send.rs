//! The generator: keeps its connections busy, or sends when the schedule says, and times every answer.

use crate::events::{self, Shape, Template};
use crate::http;
use crate::report::Report;
use crate::schedule::Schedule;
use crate::wire::Wire;
use anyhow::{Context as _, Result, ensure};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventFlags};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long the last answers may take once nothing more is sent. Requests without one by then have failed.
const LAST_ANSWERS_MAX: Duration = Duration::from_secs(20);

/// What is to be sent.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) to: SocketAddr,
    pub(crate) shape: Shape,
    pub(crate) connections: usize,
    /// Requests per second; `None` keeps each connection busy.
    pub(crate) rate: Option<f64>,
    pub(crate) lasts: Duration,
    /// Whether a request that finds no connection free is never sent. Otherwise it waits for one, and its latency
    /// with it.
    pub(crate) drops: bool,
    /// Whether each connection is taken in before the first request is due: it asks for the version. Many that come
    /// at once overflow the kernel's queue, and what is sent on them then waits for its retransmissions.
    pub(crate) greets: bool,
    /// Most requests; `None` for as many as the time allows.
    pub(crate) requests: Option<usize>,
    pub(crate) seed: u64,
    pub(crate) id_space: u64,
}

/// Sends until the time is over and the last answer came.
pub(crate) fn run(load: &Load) -> Result<Report> {
    ensure!(load.connections > 0, "at least one connection is needed");
    ensure!(
        load.rate.is_none_or(|rate| rate > 0.0),
        "the rate has to be above 0"
    );
    let templates = events::templates(load.shape, load.seed);
    let mut generator = Generator::connect(load, &templates)?;
    generator.run()?;
    Ok(generator.report)
}

/// A connection, and when the request it carries was due.
#[derive(Debug)]
struct Connection {
    wire: Wire,
    due: Option<Instant>,
}

impl Connection {
    fn new(stream: TcpStream, epoll: &OwnedFd, number: usize) -> Result<Self> {
        Ok(Self {
            wire: Wire::register(stream, epoll, number)?,
            due: None,
        })
    }
}

struct Generator<'a> {
    load: &'a Load,
    templates: &'a [Template],
    epoll: OwnedFd,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    next_id: u64,
    report: Report,
}

impl<'a> Generator<'a> {
    fn connect(load: &'a Load, templates: &'a [Template]) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let connect = |number| {
            let mut stream = TcpStream::connect(load.to)?;
            if load.greets {
                greet(&mut stream)?;
            }
            Connection::new(stream, &epoll, number)
        };
        let connections = (0..load.connections).map(connect).collect::<Result<_>>()?;
        Ok(Self {
            load,
            templates,
            epoll,
            connections,
            idle: (0..load.connections).rev().collect(),
            next_id: 0,
            report: Report::new(load.shape.events()),
        })
    }

    fn run(&mut self) -> Result<()> {
        let cpu_before = cpu_seconds()?;
        let start = Instant::now();
        let mut schedule = self
            .load
            .rate
            .map(|rate| Schedule::new(rate, self.load.lasts, self.load.seed ^ self.load.id_space));
        let mut next_due = schedule.as_mut().and_then(Iterator::next);
        let mut scratch = vec![0; 64 * 1024];
        let mut changes = Vec::with_capacity(256);
        loop {
            let now = start.elapsed();
            match &mut schedule {
                // A request that is late keeps the moment it was due.
                Some(schedule) => {
                    while let Some(due) = next_due.filter(|due| *due <= now && self.has_more()) {
                        match self.idle.pop() {
                            Some(number) => {
                                self.send(number, start + due)?;
                                self.report.lag(start.elapsed().saturating_sub(due))?;
                            }
                            None if self.load.drops => self.report.unsent += 1,
                            None => break,
                        }
                        next_due = schedule.next();
                    }
                }
                None if now < self.load.lasts => {
                    while self.has_more()
                        && let Some(number) = self.idle.pop()
                    {
                        self.send(number, Instant::now())?;
                    }
                }
                None => {}
            }
            let over = !self.has_more() || (next_due.is_none() && now >= self.load.lasts);
            let waits_for = self.connections.len() - self.idle.len();
            if over && (waits_for == 0 || now > self.load.lasts + LAST_ANSWERS_MAX) {
                self.report.failed += waits_for;
                self.report.seconds = start.elapsed().as_secs_f64();
                self.report.cpu_seconds = cpu_seconds()? - cpu_before;
                return Ok(());
            }
            let until = match next_due {
                Some(due) if !over && (self.load.drops || !self.idle.is_empty()) => due,
                _ if now < self.load.lasts => self.load.lasts,
                _ => self.load.lasts + LAST_ANSWERS_MAX + Duration::from_millis(1),
            };
            let timeout = Timespec::try_from(until.saturating_sub(start.elapsed()))?;
            changes.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut changes),
                Some(&timeout),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for change in &changes {
                self.attend(usize::try_from(change.data.u64())?, change.flags, &mut scratch)?;
            }
        }
    }

    fn has_more(&self) -> bool {
        self.load.requests.is_none_or(|most| self.report.sent < most)
    }

    /// Sends the next request on an idle connection.
    fn send(&mut self, number: usize, due: Instant) -> Result<()> {
        let template = &self.templates[self.report.sent % self.templates.len()];
        self.report.sent += 1;
        let (space, next_id) = (self.load.id_space, &mut self.next_id);
        let connection = &mut self.connections[number];
        connection.due = Some(due);
        connection
            .wire
            .push(&template.bytes, |copy| template.number(copy, space, next_id));
        if connection.wire.flush().is_err() {
            self.give_up(number)?;
        }
        Ok(())
    }

    /// Writes and reads what a connection lets through.
    fn attend(&mut self, number: usize, flags: EventFlags, scratch: &mut [u8]) -> Result<()> {
        let connection = &mut self.connections[number];
        let open = connection
            .wire
            .flush()
            .and_then(|()| connection.wire.fill(flags, scratch))
            .unwrap_or(false);
        let Some(message) = http::message(&connection.wire.inbox)? else {
            return if open { Ok(()) } else { self.give_up(number) };
        };
        let (status, bytes) = (http::status(message.first_line), message.bytes);
        let (open, retry_after) = (open && !message.closes, message.retry_after);
        connection.wire.used(bytes);
        let Some(due) = connection.due.take() else {
            anyhow::bail!("an answer came that nothing was asked for");
        };
        self.report.answered(status, retry_after, due.elapsed())?;
        self.idle.push(number);
        if open { Ok(()) } else { self.reconnect(number) }
    }

    /// A connection broke: what it carried has failed.
    fn give_up(&mut self, number: usize) -> Result<()> {
        if self.connections[number].due.take().is_some() {
            self.report.failed += 1;
            self.idle.push(number);
        }
        self.reconnect(number)
    }

    fn reconnect(&mut self, number: usize) -> Result<()> {
        let stream = TcpStream::connect(self.load.to)?;
        self.connections[number] = Connection::new(stream, &self.epoll, number)?;
        Ok(())
    }
}

/// What this process, which has one thread, has used of its core.
fn cpu_seconds() -> Result<f64> {
    let times = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds = times.split(' ').next().and_then(|first| first.parse().ok());
    Ok(Duration::from_nanos(nanoseconds.context("no time in /proc/self/schedstat")?).as_secs_f64())
}

/// Asks for the version, and waits for the answer.
fn greet(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let (mut received, mut scratch) = (Vec::new(), [0; 4096]);
    while http::message(&received)?.is_none() {
        let n = stream.read(&mut scratch)?;
        ensure!(n > 0, "a connection was closed before the first request");
        received.extend_from_slice(&scratch[..n]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Load, Report, run};
    use crate::events::Shape;
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};
    use std::time::Duration;

    /// A server that answers each read with one of these, in turn, and hangs up after an empty one.
    fn server(answers: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut turn = 0;
            while let Ok((mut stream, _)) = listener.accept() {
                let mut buffer = [0; 64 * 1024];
                while stream.read(&mut buffer).is_ok_and(|n| n > 0) {
                    turn += 1;
                    let answer = answers[turn % answers.len()];
                    if answer.is_empty() || stream.write_all(answer.as_bytes()).is_err() {
                        break;
                    }
                }
            }
        });
        address
    }

    fn sent(answers: &'static [&'static str], rate: Option<f64>) -> Report {
        run(&load(answers, rate)).unwrap()
    }

    fn load(answers: &'static [&'static str], rate: Option<f64>) -> Load {
        Load {
            to: server(answers),
            shape: Shape::Single,
            connections: 1,
            rate,
            lasts: Duration::from_millis(200),
            drops: false,
            greets: false,
            requests: None,
            seed: 1,
            id_space: 0,
        }
    }

    const YES: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok";
    const NO: &str = "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n";
    const LAST: &str = "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

    #[test]
    fn every_request_is_accepted_refused_or_failed() {
        // answers, rate, whether any is → accepted, refused, failed
        let check = |answers, rate, expected: (bool, bool, bool)| {
            let report = sent(answers, rate);
            let (accepted, refused) = (report.accepted.len(), report.refused());
            assert_eq!(accepted + refused + report.failed, report.sent);
            let found = (accepted > 0, refused > 0, report.failed > 0);
            assert_eq!(found, expected, "{answers:?} {rate:?}");
        };
        check(&[YES], None, (true, false, false));
        check(&[YES], Some(500.0), (true, false, false));
        check(&[LAST], None, (true, false, false));
        check(&[NO], None, (false, true, false));
        check(&[YES, NO], Some(500.0), (true, true, false));
        check(&[YES, ""], Some(500.0), (true, false, true));
    }

    #[test]
    fn no_more_requests_are_sent_than_asked_for_and_none_is_waited_for_after_them() {
        let check = |rate| {
            let mut load = load(&[YES], rate);
            (load.requests, load.lasts) = (Some(3), Duration::from_secs(3600));
            let report = run(&load).unwrap();
            assert_eq!((report.sent, report.accepted.len()), (3, 3), "{rate:?}");
        };
        check(None);
        check(Some(1000.0));
    }

    #[test]
    fn a_greeting_is_no_request_of_the_stream() {
        let mut load = load(&[YES], Some(1000.0));
        (load.greets, load.requests) = (true, Some(3));
        assert_eq!(run(&load).unwrap().accepted.len(), 3);
        load.to = server(&[""]);
        assert!(run(&load).is_err(), "nobody greets back");
    }

    #[test]
    fn a_request_without_a_free_connection_waits_or_is_never_sent() {
        let check = |drops| {
            let mut load = load(&[YES], Some(20_000.0));
            load.drops = drops;
            let report = run(&load).unwrap();
            assert_eq!(report.unsent > 0, drops, "{report:?}");
            assert_eq!(report.accepted.len(), report.sent, "{report:?}");
        };
        check(true);
        check(false);
    }
}
