//! The sink: answers each POST like Plausible, and counts it.

use super::http;
use super::order::Order;
use super::wire::{self, Wire};
use anyhow::Result;
use rustix::event::epoll::{self, EventData, EventFlags};
use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Limit of connections. Further ones are closed at once, which fails the run.
const CONNECTIONS_MAX: usize = 4096;
/// The number of the listener in the epoll.
const LISTENER: u64 = u64::MAX;

/// The answer to each event, identical to Plausible's.
const ACCEPTED: &[u8] =
    b"HTTP/1.1 202 Accepted\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 2\r\n\r\nok";
/// The answer to any other request.
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// How a sink behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// From a request's arrival to its answer, like the way to a distant server and back. Requests on one connection
    /// may overlap; their answers keep their order.
    pub(crate) answers_after: Duration,
    /// Whether the numbers of [`Shape::Numbered`](super::Shape::Numbered) are checked.
    pub(crate) checks_order: bool,
}

/// A sink that serves on a thread until this process ends.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    posts: AtomicU64,
    disordered: AtomicU64,
}

impl Sink {
    /// Starts a sink that answers at once.
    pub(crate) fn start() -> Result<Self> {
        Self::start_with(Manner::default())
    }

    /// Starts the sink on the core of this thread, on a free port.
    pub(crate) fn start_with(manner: Manner) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let counting = Arc::clone(&counts);
        let thread = thread::spawn(move || {
            if let Err(error) = Server::new(listener, manner, counting).and_then(Server::run) {
                eprintln!("the sink failed: {error:#}");
            }
        });
        Ok(Self {
            address,
            counts,
            thread,
        })
    }

    /// Requests that arrived so far.
    pub(super) fn count(&self) -> u64 {
        self.counts.posts.load(Ordering::Relaxed)
    }

    /// Requests without a visitor or a number, or with one that does not come after the visitor's last.
    pub(crate) fn disordered(&self) -> u64 {
        self.counts.disordered.load(Ordering::Relaxed)
    }

    /// Whether it has stopped serving.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// The sink's thread.
struct Server {
    listener: TcpListener,
    manner: Manner,
    counts: Arc<Counts>,
    epoll: OwnedFd,
    connections: HashMap<u64, Wire>,
    /// The number of the next connection.
    next: u64,
    /// In the order of their arrival, which is that of their due times.
    unanswered: VecDeque<Unanswered>,
    order: Order,
    scratch: Vec<u8>,
}

/// A request that waits for its answer.
struct Unanswered {
    due: Instant,
    connection: u64,
    answer: &'static [u8],
    /// Whether the connection ends with the answer.
    closes: bool,
}

impl Server {
    fn new(listener: TcpListener, manner: Manner, counts: Arc<Counts>) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self {
            listener,
            manner,
            counts,
            epoll,
            connections: HashMap::new(),
            next: 0,
            unanswered: VecDeque::new(),
            order: Order::default(),
            scratch: vec![0; 64 * 1024],
        })
    }

    fn run(mut self) -> Result<()> {
        let mut events = Vec::with_capacity(256);
        loop {
            let due = self.unanswered.front().map(|first| first.due);
            let at_most = due.map(|due| due.saturating_duration_since(Instant::now()));
            wire::wait(&self.epoll, &mut events, at_most)?;
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    // A connection that breaks, or sends bytes the sink cannot parse, is closed; its events are missing in
                    // the count.
                    number => {
                        if !self.read(number, event.flags).unwrap_or(false) {
                            self.connections.remove(&number);
                        }
                    }
                }
            }
            self.answer_due();
        }
    }

    fn accept(&mut self) -> Result<()> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if self.connections.len() < CONNECTIONS_MAX {
            let wire = Wire::register(stream, &self.epoll, usize::try_from(self.next)?)?;
            self.connections.insert(self.next, wire);
            self.next += 1;
        }
        Ok(())
    }

    /// Takes all requests received so far. Returns `false` at the end of the connection.
    fn read(&mut self, number: u64, flags: EventFlags) -> Result<bool> {
        let Some(wire) = self.connections.get_mut(&number) else {
            return Ok(true);
        };
        let open = wire.fill(flags, &mut self.scratch)?;
        let due = Instant::now() + self.manner.answers_after;
        while let Some(request) = http::request(&wire.inbox)? {
            // The relay's self-test at its start is not part of the stream.
            if request.is_post && !request.is_self_test {
                self.counts.posts.fetch_add(1, Ordering::Relaxed);
                if self.manner.checks_order && !self.order.continues(&wire.inbox[..request.bytes]) {
                    self.counts.disordered.fetch_add(1, Ordering::Relaxed);
                }
            }
            wire.used(request.bytes);
            self.unanswered.push_back(Unanswered {
                due,
                connection: number,
                answer: if request.is_post { ACCEPTED } else { OK },
                closes: request.closes,
            });
        }
        wire.flush()?;
        Ok(open)
    }

    /// Answers the requests whose time has come.
    fn answer_due(&mut self) {
        let now = Instant::now();
        while let Some(Unanswered {
            connection,
            answer,
            closes,
            ..
        }) = self.unanswered.pop_front_if(|first| first.due <= now)
        {
            let Some(wire) = self.connections.get_mut(&connection) else {
                continue;
            };
            wire.push(answer, |_| {});
            // Answers to requests that arrived together leave together.
            let has_more = |next: &Unanswered| next.connection == connection && next.due <= now;
            if !closes && self.unanswered.front().is_some_and(has_more) {
                continue;
            }
            if wire.flush().is_err() || closes {
                self.connections.remove(&connection);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Manner, Sink};
    use crate::load::http::{ask, response};
    use crate::load::{Shape, Stream};
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    #[test]
    fn the_sink_counts_the_events_that_the_generator_sends_and_nothing_else() {
        let sink = Sink::start().unwrap();
        assert_eq!(ask(sink.address).unwrap(), 200);
        assert_eq!(sink.count(), 0);
        for shape in [Shape::Single, Shape::Batch, Shape::Numbered] {
            let sent = sink.send(sink.address, &Stream::busy(shape, 4, 0.1), 1).unwrap();
            assert!(sent.requests > 0.0 && sent.p99_ms > 0.0, "{sent:?}");
        }
        let twice = sink.send(sink.address, &Stream::busy(Shape::Single, 1, 0.01), 0);
        assert!(twice.is_err_and(|error| error.to_string().contains("arrived twice")));
    }

    #[test]
    fn a_numbered_stream_arrives_in_order_and_no_other_does() {
        let check = |shape, in_order| {
            let manner = Manner {
                checks_order: true,
                ..Manner::default()
            };
            let sink = Sink::start_with(manner).unwrap();
            let mut stream = Stream::busy(shape, 8, 0.1);
            for _ in 0..2 {
                sink.send(sink.address, &stream.next(), 1).unwrap();
            }
            assert_eq!(sink.disordered() == 0, in_order, "{shape:?}");
        };
        check(Shape::Numbered, true);
        check(Shape::Single, false);
    }

    #[test]
    fn a_distant_sink_answers_late_in_order_and_many_at_a_time() {
        let answers_after = Duration::from_millis(80);
        let manner = Manner {
            answers_after,
            ..Manner::default()
        };
        let sink = Sink::start_with(manner).unwrap();
        let mut stream = TcpStream::connect(sink.address).unwrap();
        let start = Instant::now();
        let mut requests = "POST / HTTP/1.1\r\n\r\n".repeat(49);
        requests += "GET / HTTP/1.1\r\nconnection: close\r\n\r\n";
        stream.write_all(requests.as_bytes()).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        let took = start.elapsed();
        let (mut rest, mut statuses) = (received.as_slice(), Vec::new());
        while let Some(answer) = response(rest).unwrap() {
            statuses.push(answer.status);
            rest = &rest[answer.bytes..];
        }
        // The connection ended with the last answer, after far less than fifty delays.
        assert_eq!(statuses, [[202; 49].as_slice(), &[200]].concat());
        assert!(took >= answers_after && took < 25 * answers_after, "{took:?}");
    }
}
