//! The generator: keeps its connections busy, or sends when the schedule says, and times every answer.

use crate::events::{self, Shape, Template};
use crate::http;
use crate::schedule::Schedule;
use crate::stats::Latencies;
use crate::wire::Wire;
use anyhow::{Context as _, Result, ensure};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventFlags};
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
    pub(crate) seed: u64,
    pub(crate) id_space: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    events_per_request: usize,
    sent: usize,
    accepted: usize,
    /// Answered with anything but 202.
    refused: usize,
    /// Not answered.
    failed: usize,
    latencies: Latencies,
    seconds: f64,
    /// What the generator itself used of its core.
    cpu_seconds: f64,
}

impl Report {
    /// One line, for whoever started the generator.
    pub(crate) fn json(mut self) -> String {
        let [p50, p99, p999, max] = [500, 990, 999, 1000].map(|rank| self.latencies.per_mille(rank));
        format!(
            r#"{{"events_per_request":{},"sent":{},"accepted":{},"refused":{},"failed":{},"timed":{},"seconds":{:.6},"cpu_seconds":{:.6},"p50_us":{p50},"p99_us":{p99},"p999_us":{p999},"max_us":{max}}}"#,
            self.events_per_request,
            self.sent,
            self.accepted,
            self.refused,
            self.failed,
            self.latencies.len(),
            self.seconds,
            self.cpu_seconds,
        )
    }
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
        let connect = |number| connect(load.to, &epoll, number);
        let connections = (0..load.connections).map(connect).collect::<Result<_>>()?;
        Ok(Self {
            load,
            templates,
            epoll,
            connections,
            idle: (0..load.connections).rev().collect(),
            next_id: 0,
            report: Report {
                events_per_request: load.shape.events(),
                ..Report::default()
            },
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
                    while let Some(due) = next_due.filter(|due| *due <= now) {
                        let Some(number) = self.idle.pop() else { break };
                        self.send(number, start + due)?;
                        next_due = schedule.next();
                    }
                }
                None if now < self.load.lasts => {
                    while let Some(number) = self.idle.pop() {
                        self.send(number, Instant::now())?;
                    }
                }
                None => {}
            }
            let over = next_due.is_none() && now >= self.load.lasts;
            let waits_for = self.connections.len() - self.idle.len();
            if over && (waits_for == 0 || now > self.load.lasts + LAST_ANSWERS_MAX) {
                self.report.failed += waits_for;
                self.report.seconds = start.elapsed().as_secs_f64();
                self.report.cpu_seconds = cpu_seconds()? - cpu_before;
                return Ok(());
            }
            let until = match next_due {
                Some(due) if !self.idle.is_empty() => due,
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
        let open = open && !message.closes;
        connection.wire.used(bytes);
        let Some(due) = connection.due.take() else {
            anyhow::bail!("an answer came that nothing was asked for");
        };
        match status {
            Some(202) => self.report.accepted += 1,
            _ => self.report.refused += 1,
        }
        ensure!(
            self.report.latencies.note(due.elapsed()),
            "too many requests to keep their latencies"
        );
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
        self.connections[number] = connect(self.load.to, &self.epoll, number)?;
        Ok(())
    }
}

/// What this process, which has one thread, has used of its core.
fn cpu_seconds() -> Result<f64> {
    let times = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds = times.split(' ').next().and_then(|first| first.parse().ok());
    Ok(Duration::from_nanos(nanoseconds.context("no time in /proc/self/schedstat")?).as_secs_f64())
}

fn connect(to: SocketAddr, epoll: &OwnedFd, number: usize) -> Result<Connection> {
    Ok(Connection {
        wire: Wire::register(TcpStream::connect(to)?, epoll, number)?,
        due: None,
    })
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
        run(&Load {
            to: server(answers),
            shape: Shape::Single,
            connections: 1,
            rate,
            lasts: Duration::from_millis(200),
            seed: 1,
            id_space: 0,
        })
        .unwrap()
    }

    const YES: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok";
    const NO: &str = "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n";
    const LAST: &str = "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

    #[test]
    fn every_request_is_accepted_refused_or_failed() {
        // answers, rate, whether any is → accepted, refused, failed
        let check = |answers, rate, expected: (bool, bool, bool)| {
            let report = sent(answers, rate);
            assert_eq!(report.accepted + report.refused + report.failed, report.sent);
            assert_eq!(report.accepted + report.refused, report.latencies.len());
            let found = (report.accepted > 0, report.refused > 0, report.failed > 0);
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
    fn the_report_is_one_line_of_json() {
        let report = sent(&[YES], Some(100.0));
        let (sent, line) = (report.sent, report.json());
        assert!(
            line.starts_with(&format!(r#"{{"events_per_request":1,"sent":{sent},"#)),
            "{line}"
        );
        assert!(line.ends_with('}') && !line.contains('\n'), "{line}");
    }
}
