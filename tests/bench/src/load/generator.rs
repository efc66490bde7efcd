//! The generator: keeps its connections busy, or sends on a schedule, and times every answer.

use super::Stream;
use super::events::{self, Shape, Template};
use super::http;
use super::report::Report;
use super::schedule::Schedule;
use super::wire::{self, Wire};
use crate::usage::own_time;
use anyhow::{Context as _, Result, ensure};
use rustix::event::epoll::{self, EventFlags};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The events of every run are drawn from this seed, so that each run sends the same ones.
const SEED: u64 = 1;
/// How long after the last request answers may arrive. Requests without one by then have failed.
const LAST_ANSWERS_MAX: Duration = Duration::from_secs(20);

/// Sends a stream until its time is over and the last answer has arrived.
pub(super) fn run(to: SocketAddr, stream: &Stream) -> Result<Report> {
    ensure!(stream.connections > 0, "at least one connection is needed");
    ensure!(
        stream.rate.is_none_or(|rate| rate > 0.0),
        "the rate must be above 0"
    );
    let templates = events::templates(stream.shape, SEED);
    ensure!(
        stream.shape != Shape::Numbered || templates.len().is_multiple_of(stream.connections),
        "no fair share of the people for each of {} connections",
        stream.connections
    );
    let mut generator = Generator::connect(to, stream, &templates)?;
    generator.report.cpu_before = own_time()?;
    generator.run()?;
    Ok(generator.report)
}

struct Generator<'a> {
    to: SocketAddr,
    shape: Shape,
    templates: &'a [Template],
    epoll: OwnedFd,
    connections: Vec<Wire>,
    /// When the request that a connection carries was due.
    due: Vec<Option<Instant>>,
    idle: Vec<usize>,
    /// The next request of each connection, if people are assigned to connections.
    own_next: Vec<usize>,
    lasts: Duration,
    /// `None` keeps each connection busy.
    schedule: Option<Schedule>,
    next_due: Option<Duration>,
    drops: bool,
    id_space: u64,
    next_id: u64,
    report: Report,
}

impl<'a> Generator<'a> {
    fn connect(to: SocketAddr, stream: &Stream, templates: &'a [Template]) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let connect = |number| {
            let mut connection = TcpStream::connect(to)?;
            if stream.drops {
                http::ask_on(&mut connection).context("before the first request")?;
            }
            Wire::register(connection, &epoll, number)
        };
        let connections = (0..stream.connections).map(connect).collect::<Result<_>>()?;
        let lasts = Duration::try_from_secs_f64(stream.seconds)?;
        let schedule = |rate| Schedule::new(rate, lasts, SEED ^ stream.id_space);
        let mut schedule = stream.rate.map(schedule);
        Ok(Self {
            to,
            shape: stream.shape,
            templates,
            epoll,
            connections,
            due: vec![None; stream.connections],
            idle: (0..stream.connections).rev().collect(),
            own_next: (0..stream.connections).collect(),
            lasts,
            next_due: schedule.as_mut().and_then(Iterator::next),
            schedule,
            drops: stream.drops,
            id_space: stream.id_space,
            next_id: 0,
            report: Report::default(),
        })
    }

    fn run(&mut self) -> Result<()> {
        let start = Instant::now();
        let mut scratch = vec![0; 64 * 1024];
        let mut changes = Vec::with_capacity(256);
        loop {
            let now = start.elapsed();
            self.send_due(start, now)?;
            let over = self.next_due.is_none() && now >= self.lasts;
            let waits_for = self.connections.len() - self.idle.len();
            if over && (waits_for == 0 || now > self.lasts + LAST_ANSWERS_MAX) {
                self.report.failed += waits_for;
                self.report.took = start.elapsed();
                return Ok(());
            }
            let until = match self.next_due {
                Some(due) if self.drops || !self.idle.is_empty() => due,
                _ if now < self.lasts => self.lasts,
                _ => self.lasts + LAST_ANSWERS_MAX + Duration::from_millis(1),
            };
            let at_most = until.saturating_sub(start.elapsed());
            wire::wait(&self.epoll, &mut changes, Some(at_most))?;
            for change in &changes {
                self.attend(usize::try_from(change.data.u64())?, change.flags, &mut scratch)?;
            }
        }
    }

    /// Sends every request that is due, while a connection is free.
    fn send_due(&mut self, start: Instant, now: Duration) -> Result<()> {
        if self.schedule.is_none() && now < self.lasts {
            while let Some(number) = self.idle.pop() {
                self.send(number, Instant::now())?;
            }
        }
        // A late request keeps its due time.
        while let Some(due) = self.next_due.filter(|due| *due <= now) {
            match self.idle.pop() {
                Some(number) => {
                    self.send(number, start + due)?;
                    self.report.lag.add(start.elapsed().saturating_sub(due))?;
                }
                None if self.drops => self.report.unsent += 1,
                None => break,
            }
            self.next_due = self.schedule.as_mut().and_then(Iterator::next);
        }
        Ok(())
    }

    /// Sends the next request on an idle connection.
    fn send(&mut self, number: usize, due: Instant) -> Result<()> {
        let nth = match self.shape {
            Shape::Numbered => {
                let own = &mut self.own_next[number];
                std::mem::replace(own, *own + self.connections.len())
            }
            Shape::Single | Shape::Batch => self.report.sent,
        };
        let template = &self.templates[nth % self.templates.len()];
        self.report.sent += 1;
        let (space, next_id) = (self.id_space, &mut self.next_id);
        let wire = &mut self.connections[number];
        self.due[number] = Some(due);
        wire.push(&template.bytes, |copy| template.number(copy, space, next_id));
        if wire.flush().is_err() {
            self.give_up(number)?;
        }
        Ok(())
    }

    /// Writes and reads as much as a connection allows without blocking.
    fn attend(&mut self, number: usize, flags: EventFlags, scratch: &mut [u8]) -> Result<()> {
        let wire = &mut self.connections[number];
        let open = wire
            .flush()
            .and_then(|()| wire.fill(flags, scratch))
            .unwrap_or(false);
        let Some(answer) = http::response(&wire.inbox)? else {
            return if open { Ok(()) } else { self.give_up(number) };
        };
        wire.used(answer.bytes);
        let due = self.due[number]
            .take()
            .context("an answer arrived without a request")?;
        self.report
            .answered(answer.status, answer.retry_after, due.elapsed())?;
        self.idle.push(number);
        if open && !answer.closes {
            Ok(())
        } else {
            self.reconnect(number)
        }
    }

    /// A connection broke: counts the request it carried as failed.
    fn give_up(&mut self, number: usize) -> Result<()> {
        if self.due[number].take().is_some() {
            self.report.failed += 1;
            self.idle.push(number);
        }
        self.reconnect(number)
    }

    fn reconnect(&mut self, number: usize) -> Result<()> {
        let stream = TcpStream::connect(self.to)?;
        self.connections[number] = Wire::register(stream, &self.epoll, number)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Stream, run};
    use crate::load::Shape;
    use anyhow::Result;
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};

    /// A server that answers each read with the next of these, and closes the connection after an empty one.
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

    fn sent(answers: &'static [&'static str], rate: Option<f64>, drops: bool) -> Result<Report> {
        let mut stream = Stream::busy(Shape::Single, 1, 0.2);
        (stream.rate, stream.drops) = (rate, drops);
        run(server(answers), &stream)
    }

    const YES: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok";
    const NO: &str = "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n";
    const LAST: &str = "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

    #[test]
    fn every_request_is_accepted_refused_or_failed() {
        // answers, rate → whether any request is accepted, refused, failed
        let check = |answers, rate, expected: (bool, bool, bool)| {
            let mut report = sent(answers, rate, false).unwrap();
            let (accepted, refused) = (report.accepted.len() as f64, report.refused()[1].count);
            assert_eq!(accepted + refused + report.failed as f64, report.sent as f64);
            let found = (accepted > 0.0, refused > 0.0, report.failed > 0);
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
    fn a_stream_that_drops_asks_on_each_connection_before_its_first_request() {
        // The version request consumes the second of the two answers, so each request gets the first.
        let mut report = sent(&[NO, YES], Some(500.0), true).unwrap();
        assert!(report.sent > 0 && report.refused()[1].count > 0.0, "{report:?}");
        assert!(sent(&[""], Some(500.0), true).is_err());
    }

    #[test]
    fn a_request_without_a_free_connection_waits_or_is_dropped() {
        let check = |drops| {
            let report = sent(&[YES], Some(20_000.0), drops).unwrap();
            assert_eq!(report.unsent > 0, drops, "{report:?}");
            assert_eq!(report.accepted.len(), report.sent, "{report:?}");
        };
        check(true);
        check(false);
    }
}
