//! The sink: answers each POST like Plausible, and counts it.

use super::http;
use super::wire::{self, Wire};
use anyhow::Result;
use rustix::event::epoll::{self, EventData, EventFlags};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

/// Limit of connections. Further ones are closed at once, which fails the run.
const CONNECTIONS_MAX: usize = 4096;
/// The number of the listener in the epoll.
const LISTENER: u64 = u64::MAX;

/// The answer to each event, identical to Plausible's.
const ACCEPTED: &[u8] =
    b"HTTP/1.1 202 Accepted\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 2\r\n\r\nok";
/// The answer to any other request.
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A sink that serves on a thread until this process ends.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    posts: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Sink {
    /// Starts the sink on the core of this thread, on a free port.
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let posts = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&posts);
        let thread = thread::spawn(move || {
            if let Err(error) = serve(&listener, &counter) {
                eprintln!("the sink failed: {error:#}");
            }
        });
        Ok(Self {
            address,
            posts,
            thread,
        })
    }

    /// Requests that arrived so far.
    pub(super) fn count(&self) -> u64 {
        self.posts.load(Ordering::Relaxed)
    }

    /// Whether it has stopped serving.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

fn serve(listener: &TcpListener, posts: &AtomicU64) -> Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;

    let mut connections: HashMap<u64, Wire> = HashMap::new();
    let mut next = 0;
    let mut scratch = vec![0; 64 * 1024];
    let mut events = Vec::with_capacity(256);
    loop {
        wire::wait(&epoll, &mut events, None)?;
        for event in &events {
            let number = event.data.u64();
            if number == LISTENER {
                let stream = match listener.accept() {
                    Ok((stream, _)) => stream,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error.into()),
                };
                if connections.len() < CONNECTIONS_MAX {
                    connections.insert(next, Wire::register(stream, &epoll, usize::try_from(next)?)?);
                    next += 1;
                }
                continue;
            }
            let Some(wire) = connections.get_mut(&number) else {
                continue;
            };
            // A connection that breaks, or sends bytes the sink cannot parse, is closed; its events are missing in the
            // count.
            if !answer(wire, event.flags, posts, &mut scratch).unwrap_or(false) {
                connections.remove(&number);
            }
        }
    }
}

/// Answers all requests received so far. Returns `false` at the end of the connection.
fn answer(wire: &mut Wire, flags: EventFlags, posts: &AtomicU64, scratch: &mut [u8]) -> Result<bool> {
    let mut open = wire.fill(flags, scratch)?;
    while let Some(request) = http::request(&wire.inbox)? {
        open &= !request.closes;
        wire.used(request.bytes);
        // The relay's self-test at its start is not part of the stream.
        posts.fetch_add(
            u64::from(request.is_post && !request.is_self_test),
            Ordering::Relaxed,
        );
        wire.push(if request.is_post { ACCEPTED } else { OK }, |_| {});
    }
    wire.flush()?;
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::Sink;
    use crate::load::{Shape, Stream, ask};

    #[test]
    fn the_sink_counts_the_events_that_the_generator_sends_and_nothing_else() {
        let sink = Sink::start().unwrap();
        assert_eq!(ask(sink.address).unwrap(), 200);
        assert_eq!(sink.count(), 0);
        for shape in [Shape::Single, Shape::Batch] {
            let sent = sink.send(sink.address, &Stream::busy(shape, 4, 0.1), 1).unwrap();
            assert!(sent.requests > 0.0 && sent.p99_ms > 0.0, "{sent:?}");
        }
        let twice = sink.send(sink.address, &Stream::busy(Shape::Single, 1, 0.01), 0);
        assert!(twice.is_err_and(|error| error.to_string().contains("arrived twice")));
    }
}
