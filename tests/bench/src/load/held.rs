//! Connections that stay open after one request each, as those of browsers do.

use super::Sink;
use super::events::{self, Shape};
use super::http;
use anyhow::{Context as _, Result, ensure};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

/// Requests in flight at a time.
const AT_ONCE: usize = 64;
/// The events are drawn from this seed.
const SEED: u64 = 1;

/// Open connections, closed when dropped.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "they are only kept open")] Vec<TcpStream>);

impl Sink {
    /// Sends an event of each of these sites, each on a connection of its own, waits until all events have arrived, and
    /// keeps the connections.
    pub(crate) fn hold<'s>(
        &self,
        to: SocketAddr,
        sites: impl ExactSizeIterator<Item = &'s str>,
    ) -> Result<Held> {
        let before = self.count();
        let requests: Vec<Vec<u8>> = events::one_each(Shape::Single, sites, SEED).collect();
        let mut held = Vec::with_capacity(requests.len());
        for (nth, some) in requests.chunks(AT_ONCE).enumerate() {
            let from = held.len();
            for request in some {
                let mut connection = http::connect(to)
                    .with_context(|| format!("connection {} could not be opened", held.len() + 1))?;
                connection.write_all(request)?;
                held.push(connection);
            }
            for connection in &mut held[from..] {
                let status = http::answer(connection)
                    .with_context(|| format!("a request of the {AT_ONCE} after {} others", nth * AT_ONCE))?;
                ensure!(status == 202, "an event was answered with {status}");
            }
        }
        self.wait_for(before, requests.len() as u64)?;
        Ok(Held(held))
    }
}

#[cfg(test)]
mod tests {
    use crate::load::{SITE, Sink};

    #[test]
    fn every_connection_sends_one_event() {
        let sink = Sink::start().unwrap();
        sink.hold(sink.address, std::iter::repeat_n(SITE, 100)).unwrap();
        assert_eq!(sink.count(), 100);
    }
}
