//! The demo: a stand-in for Plausible, and a page whose web server passes `/feedback` on to the relay.
//!
//! Both listen on the loopback interface of a developer's machine and keep everything in memory. They share no code
//! with the relay: they talk to it over HTTP, and the relay's binary passes in the clock and the files of their pages.

pub mod panel;
pub mod receiver;

use axum::Router;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Serves until `stop`, then finishes the requests in flight.
async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop).await
}
