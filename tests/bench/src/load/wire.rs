//! One connection that never blocks: what came in and was not read yet, what goes out and was not written yet.

use anyhow::Result;
use rustix::event::epoll::{self, EventData, EventFlags};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;

/// A connection in an epoll, which tells each change once.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    /// What came and is not used up.
    pub(crate) inbox: Vec<u8>,
    outbox: Vec<u8>,
    written: usize,
}

impl Wire {
    /// Registers a connection under a number.
    pub(crate) fn register(stream: TcpStream, epoll: &OwnedFd, number: usize) -> Result<Self> {
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

    /// Reads all there is. `false` when the other side has closed; `flags` tell when that has to be found out.
    pub(crate) fn fill(&mut self, flags: EventFlags, scratch: &mut [u8]) -> std::io::Result<bool> {
        let may_end = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.inbox.extend_from_slice(&scratch[..n]);
                    // Less than there was room for is all there is; what comes later is told again.
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

    /// Forgets the first bytes of the inbox.
    pub(crate) fn used(&mut self, bytes: usize) {
        self.inbox.drain(..bytes);
    }

    /// Adds to what goes out, and lets `change` alter what was added.
    pub(crate) fn push(&mut self, bytes: &[u8], change: impl FnOnce(&mut [u8])) {
        let from = self.outbox.len();
        self.outbox.extend_from_slice(bytes);
        change(&mut self.outbox[from..]);
    }

    /// Writes what goes out as far as the socket takes it; the rest goes when there is room.
    pub(crate) fn flush(&mut self) -> std::io::Result<()> {
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
