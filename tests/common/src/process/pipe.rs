//! The output of a child: a thread reads it, so that the pipe never fills up, and a caller can read the rest at any moment.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, ioctl_fionbio},
};

use super::lock;

/// Capacity of a pipe on Linux, so the most that was written and not yet read before a call.
const PIPE_BYTES: usize = 64 * 1024;

/// Takes a child's lines, without their ends.
pub(super) type Sink = Box<dyn FnMut(&str) + Send>;

/// A pipe from a child.
#[derive(Clone, Debug)]
pub(super) struct Pipe(Arc<Mutex<Reader>>);

struct Reader {
    /// Does not block.
    end: File,
    /// The beginning of a line.
    begun: Vec<u8>,
    take: Sink,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Pipe {
    /// Reads a pipe on a thread that ends with it.
    pub(super) fn read(end: OwnedFd, take: Sink) -> io::Result<Self> {
        ioctl_fionbio(&end, true)?;
        let end = File::from(end);
        let watched = end.try_clone()?;
        let reader = Reader {
            end,
            begun: Vec::new(),
            take,
        };
        let pipe = Self(Arc::new(Mutex::new(reader)));
        let read = pipe.clone();
        thread::spawn(move || while wait(&watched) && lock(&read.0).drain() {});
        Ok(pipe)
    }

    /// Takes everything that the child has written before the call.
    pub(super) fn drain(&self) {
        lock(&self.0).drain();
    }
}

/// Waits until there is something to read, or the end. Returns `false` if it cannot.
fn wait(end: &File) -> bool {
    let waited = poll(&mut [PollFd::new(end, PollFlags::IN)], None);
    !waited.is_err_and(|error| error != Errno::INTR)
}

impl Reader {
    /// Takes what is there. Returns whether more can come. Stops after [`PIPE_BYTES`], because a child may write as fast as
    /// this reads.
    fn drain(&mut self) -> bool {
        let mut chunk = [0; 8192];
        let mut taken = 0;
        while taken < PIPE_BYTES {
            match self.end.read(&mut chunk) {
                Ok(0) => return self.end(),
                Ok(count) => {
                    self.push(&chunk[..count]);
                    taken += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.end(),
            }
        }
        true
    }

    /// Takes the last line, which may have no end. Nothing more comes.
    fn end(&mut self) -> bool {
        if !self.begun.is_empty() {
            self.push(b"\n");
        }
        false
    }

    fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(&bytes[..end]);
            (self.take)(&String::from_utf8_lossy(&self.begun));
            self.begun.clear();
            bytes = &bytes[end + 1..];
        }
        self.begun.extend_from_slice(bytes);
    }
}
