//! Connections that stay open after one request each, as those of browsers do.

use super::Sink;
use super::events::{self, Shape};
use super::http;
use anyhow::{Context as _, Result, ensure};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

/// Requests in flight at a time: as many as the relay takes without shedding load.
const AT_ONCE: usize = 1000;
/// The events are drawn from this seed.
const SEED: u64 = 1;

/// Open connections, closed when dropped.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "they are only kept open")] Vec<TcpStream>);

impl Sink {
    /// Opens a connection for each of these sites, then sends an event of it on each, waits until all events have arrived,
    /// and keeps the connections.
    pub(crate) fn hold<'s>(
        &self,
        to: SocketAddr,
        sites: impl ExactSizeIterator<Item = &'s str>,
    ) -> Result<Held> {
        let before = self.count();
        let requests: Vec<Vec<u8>> = events::one_each(Shape::Single, sites, SEED).collect();
        let open = |nth| http::connect(to).with_context(|| format!("connection {nth} could not be opened"));
        let mut held: Vec<TcpStream> = (1..=requests.len()).map(open).collect::<Result<_>>()?;
        for (connections, requests) in held.chunks_mut(AT_ONCE).zip(requests.chunks(AT_ONCE)) {
            for (connection, request) in connections.iter_mut().zip(requests) {
                connection.write_all(request)?;
            }
            for connection in connections {
                let status = http::answer(connection).context("an event was not answered")?;
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
