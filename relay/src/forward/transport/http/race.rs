//! Happy Eyeballs (RFC 8305): connection attempts to all addresses of a host, of both families, race.
//!
//! A dead address costs a quarter of a second, not the connection: the next one is tried concurrently. The first to
//! connect wins, and the others are dropped.

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

/// Limit of addresses tried per host. Further ones are ignored.
pub(super) const ADDRESSES_MAX: usize = 8;
/// The delay before the next attempt starts concurrently (RFC 8305 section 5).
pub(super) const STAGGER: Duration = Duration::from_millis(250);

/// The addresses of a name, as they come.
pub(super) type Resolving<'h> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'h>>;

/// Resolves names: the system's resolver, or a table in tests.
pub(super) trait Resolve: fmt::Debug + Send + Sync {
    /// All addresses of a host, the preferred ones first.
    fn resolve<'h>(&'h self, host: &'h str, port: u16) -> Resolving<'h>;
}

/// The system's resolver: hosts file, then DNS, sorted by RFC 6724. It caches nothing, so the next connection sees a
/// changed record.
#[derive(Debug)]
pub(super) struct System;

impl Resolve for System {
    fn resolve<'h>(&'h self, host: &'h str, port: u16) -> Resolving<'h> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// The order in which addresses are tried: the families alternate, beginning with that of the first.
pub(super) fn order(found: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut ranked: Vec<(usize, bool, SocketAddr)> = Vec::new();
    for address in found {
        let is_other_family = address.is_ipv4() != found[0].is_ipv4();
        if ranked.iter().all(|(.., known)| known != address) {
            let rank = ranked
                .iter()
                .filter(|(_, is_other, _)| *is_other == is_other_family);
            ranked.push((rank.count(), is_other_family, *address));
        }
    }
    ranked.sort_by_key(|(rank, is_other_family, _)| (*rank, *is_other_family));
    let addresses = ranked.into_iter().map(|(.., address)| address);
    addresses.take(ADDRESSES_MAX).collect()
}

/// Connects to one of the addresses.
///
/// # Errors
/// Why none of them connected before the deadline.
pub(super) async fn connect(addresses: Vec<SocketAddr>, deadline: Instant) -> Result<TcpStream, Cause> {
    // Dropped at the end, together with every attempt that still runs.
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
