//! The sink: answers each POST as Plausible does, and counts it. GET tells the count.

use crate::http;
use crate::wire::Wire;
use anyhow::Result;
use rustix::event::epoll::{self, EventData, EventFlags};
use std::collections::HashMap;
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener};

/// Most connections. Further ones are closed at once, which fails the run.
const CONNECTIONS_MAX: usize = 4096;
/// The number of the listener in the epoll.
const LISTENER: u64 = u64::MAX;

const ACCEPTED: &[u8] =
    b"HTTP/1.1 202 Accepted\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 2\r\n\r\nok";

/// The header of a relay's self-test.
const SELF_TEST: &[u8] = b"x-debug-request";

/// Serves until it is killed.
pub(crate) fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    writeln!(std::io::stdout(), "ready sink http://{}", listener.local_addr()?)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;

    let mut connections: HashMap<u64, Wire> = HashMap::new();
    let mut next = 0;
    let mut posts = 0_u64;
    let mut scratch = vec![0; 64 * 1024];
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
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
            // A connection that breaks, or says what the sink does not know, is closed; what it would have
            // brought is missed in the count.
            if !answer(wire, event.flags, &mut posts, &mut scratch).unwrap_or(false) {
                connections.remove(&number);
            }
        }
    }
}

/// Answers all that has come. `false` when the connection is at its end.
fn answer(wire: &mut Wire, flags: EventFlags, posts: &mut u64, scratch: &mut [u8]) -> Result<bool> {
    let mut open = wire.fill(flags, scratch)?;
    loop {
        let Some(message) = http::message(&wire.inbox)? else {
            break;
        };
        let (is_post, bytes) = (message.first_line.starts_with("POST "), message.bytes);
        open &= !message.closes;
        // The relay's test of itself at the start is no event of the stream.
        let is_self_test = wire.inbox[..bytes]
            .windows(SELF_TEST.len())
            .any(|part| part == SELF_TEST);
        wire.used(bytes);
        if is_post {
            *posts += u64::from(!is_self_test);
            wire.push(ACCEPTED, |_| {});
        } else {
            let count = posts.to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{count}",
                count.len()
            );
            wire.push(answer.as_bytes(), |_| {});
        }
    }
    wire.flush()?;
    Ok(open)
}
