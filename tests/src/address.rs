//! Loopback addresses that no other test uses.

use crate::PATIENCE;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket};

/// A unique address in 127/8 with a free port, for a server that goes away and must find its port still free when it
/// comes back.
pub(crate) fn address_of_its_own() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = u8::try_from(std::process::id() % 200).unwrap();
    let ip = Ipv4Addr::new(127, 77, process + 1, NEXT.fetch_add(1, Ordering::Relaxed));
    // Bound once to learn a free port, and closed again. It never listens: a process that another test starts at this
    // moment has a copy of the socket until its program begins, and a copy that listens keeps the port taken.
    let probe = TcpSocket::new_v4().unwrap();
    probe.set_reuseaddr(true).unwrap();
    probe.bind((ip, 0).into()).unwrap();
    probe.local_addr().unwrap()
}

/// Listens at [`address_of_its_own`], at the first time or again.
pub(crate) async fn listen_at(address: SocketAddr) -> TcpListener {
    let start = Instant::now();
    loop {
        match TcpListener::bind(address).await {
            // A process that is being started may have a copy of the previous listener for a moment.
            Err(error) if error.kind() == ErrorKind::AddrInUse && start.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            listener => return listener.unwrap(),
        }
    }
}
