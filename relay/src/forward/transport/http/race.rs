//! Happy Eyeballs (RFC 8305): all addresses of a host, of both families, race to be connected.
//!
//! A dead address costs a quarter of a second, not the connection: the next one is tried beside it. The first
//! that connects wins, and the others are dropped.

use crate::forward::transport::Cause;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// Most addresses of one host that are tried. Further ones are left out.
pub(super) const ADDRESSES_MAX: usize = 8;
/// How long an attempt has before the next one starts beside it (RFC 8305 section 5).
pub(super) const STAGGER: Duration = Duration::from_millis(250);

/// The addresses of a name, as they come.
pub(super) type Resolving<'h> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'h>>;

/// Resolves names: the system, or in tests a table.
pub(super) trait Resolve: fmt::Debug + Send + Sync {
    /// All addresses of a host, the preferred ones first.
    fn resolve<'h>(&'h self, host: &'h str, port: u16) -> Resolving<'h>;
}

/// The system's resolver: hosts file, then DNS, sorted by RFC 6724. It keeps nothing, so a changed record is seen by
/// the next connection.
#[derive(Debug)]
pub(super) struct System;

impl Resolve for System {
    fn resolve<'h>(&'h self, host: &'h str, port: u16) -> Resolving<'h> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// The order in which addresses are tried: the families take turns, beginning with that of the first.
pub(super) fn order(found: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = found.first() else {
        return Vec::new();
    };
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for address in found {
        let family = if address.is_ipv4() == first.is_ipv4() {
            &mut ours
        } else {
            &mut others
        };
        if !family.contains(address) {
            family.push(*address);
        }
    }
    let pairs = ours.len().max(others.len());
    (0..pairs)
        .flat_map(|i| [ours.get(i), others.get(i)])
        .flatten()
        .copied()
        .take(ADDRESSES_MAX)
        .collect()
}

/// Connects to one of the addresses.
///
/// # Errors
/// Why none of them could be connected until the deadline.
pub(super) async fn connect(addresses: Vec<SocketAddr>, deadline: Instant) -> Result<TcpStream, Cause> {
    // Dropped at the end, and with it every attempt that still runs.
    let mut racing = JoinSet::new();
    let mut left = addresses.into_iter();
    let (mut waiting, mut failed) = (Vec::<SocketAddr>::new(), Vec::new());
    loop {
        if let Some(address) = left.next() {
            waiting.push(address);
            racing.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        let has_more = left.len() > 0;
        tokio::select! {
            ended = racing.join_next() => match ended {
                Some(Ok((_, Ok(stream)))) => return Ok(stream),
                Some(Ok((address, Err(error)))) => {
                    waiting.retain(|other| *other != address);
                    failed.push((address.ip(), Cause::of_connect(&error)));
                }
                // An attempt that panicked has ended as well.
                Some(Err(_)) => {}
                None if has_more => {}
                None => return Err(Cause::of_addresses(failed)),
            },
            () = sleep(STAGGER), if has_more => {}
            () = sleep_until(deadline) => {
                failed.extend(waiting.into_iter().map(|address| (address.ip(), Cause::ConnectTimedOut)));
                return Err(Cause::of_addresses(failed));
            }
        }
    }
}

#[cfg(test)]
mod tests;
