//! A non-blocking connection: received bytes that were not parsed yet, and bytes that were not sent yet.

use anyhow::Result;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Waits for changes of connections, for at most this long.
pub(super) fn wait(epoll: &OwnedFd, changes: &mut Vec<Event>, at_most: Option<Duration>) -> Result<()> {
    let timeout = at_most.map(Timespec::try_from).transpose()?;
    changes.clear();
    match epoll::wait(epoll, rustix::buffer::spare_capacity(changes), timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A connection in an edge-triggered epoll.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    /// Received and not used up.
    pub(super) inbox: Vec<u8>,
    outbox: Vec<u8>,
    written: usize,
}

impl Wire {
    /// Registers a connection under a number.
    pub(super) fn register(stream: TcpStream, epoll: &OwnedFd, number: usize) -> Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let changes = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(epoll, &stream, EventData::new_u64(number as u64), changes)?;
        Ok(Self {
            stream,
            inbox: Vec::new(),
            outbox: Vec::new(),
            written: 0,
        })
    }

    /// Reads all there is. Returns `false` if the peer has closed, which is only checked if `flags` hint at it.
    pub(super) fn fill(&mut self, flags: EventFlags, scratch: &mut [u8]) -> std::io::Result<bool> {
        let may_end = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.inbox.extend_from_slice(&scratch[..n]);
                    // A short read means the socket is empty; epoll reports later data.
                    if n < scratch.len() && !may_end {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Drops the first bytes of the inbox.
    pub(super) fn used(&mut self, bytes: usize) {
        self.inbox.drain(..bytes);
    }

    /// Adds bytes to be sent, and lets `change` alter them.
    pub(super) fn push(&mut self, bytes: &[u8], change: impl FnOnce(&mut [u8])) {
        let from = self.outbox.len();
        self.outbox.extend_from_slice(bytes);
        change(&mut self.outbox[from..]);
    }

    /// Writes as much as the socket accepts; the rest follows when it is writable again.
    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        while self.written < self.outbox.len() {
            match self.stream.write(&self.outbox[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outbox.clear();
        self.written = 0;
        Ok(())
    }
}
