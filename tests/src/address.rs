//! Loopback addresses that no other test uses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};

/// A unique address in 127/8 with a free port, for a server that goes away and must find its port still free when it
/// comes back.
pub(crate) fn address_of_its_own() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = u8::try_from(std::process::id() % 200).unwrap();
    let ip = Ipv4Addr::new(127, 77, process + 1, NEXT.fetch_add(1, Ordering::Relaxed));
    // Bound once to learn a free port, and closed again.
    let probe = TcpListener::bind((ip, 0)).unwrap();
    probe.local_addr().unwrap()
}
