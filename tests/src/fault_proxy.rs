//! A TCP proxy that simulates a bad network: between browser and relay, or between relay and Plausible.
//!
//! Its fault can be changed at any time and applies at once, to open connections as well.

use crate::address::{address_of_its_own, listen_at};
use crate::dice::Dice;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Limit of concurrent connections. Further ones wait in the kernel until one ends.
const CONNECTIONS_MAX: usize = 256;
/// Limit of bytes buffered per connection and direction.
const BUFFER_BYTES: usize = 4096;

/// The effect on connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// None: it forwards everything.
    #[default]
    None,
    /// Delays each piece in each direction by the first duration, and by up to the second in addition.
    Late(Duration, Duration),
    /// Limits each direction to this many bytes per second.
    Narrow(NonZeroU32),
    /// Resets the connection after this many bytes to the server.
    CutRequest(usize),
    /// Resets the connection after this many bytes from the server.
    CutAnswer(usize),
    /// Drops everything; connections stay open.
    BlackHole,
    /// Drops all bytes from the server; those to the server arrive.
    NoAnswers,
    /// Refuses connections, and ends the open ones.
    Refuse,
    /// Resets every connection, including the open ones.
    Reset,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    FromServer,
}

/// The proxy. Dropping it ends it and every connection.
pub struct FaultProxy {
    address: SocketAddr,
    faults: watch::Sender<Fault>,
    connections: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl std::fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FaultProxy({}, {:?})", self.address, *self.faults.borrow())
    }
}

impl FaultProxy {
    /// A proxy to a server, such as `http://127.0.0.1:4711`. The dice determine the delays.
    ///
    /// # Panics
    /// If no address is free.
    pub fn to(server: &str, dice: &mut Dice) -> Self {
        let address = address_of_its_own();
        // Listens before the address is published.
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let target = server.strip_prefix("http://").unwrap().parse().unwrap();
        let faults = watch::Sender::default();
        let connections = Arc::new(AtomicUsize::new(0));
        let line = Line {
            target,
            faults: faults.subscribe(),
            dice: Arc::new(Mutex::new(dice.another())),
        };
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, line, Arc::clone(&connections)));
        Self {
            address,
            faults,
            connections,
            _serving: serving,
        }
    }

    /// Its URL, for the configuration of its clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Applies this fault from now on.
    pub fn set(&self, fault: Fault) {
        self.faults.send_replace(fault);
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// The parameters of a connection.
#[derive(Clone)]
struct Line {
    target: SocketAddr,
    faults: watch::Receiver<Fault>,
    dice: Arc<Mutex<Dice>>,
}

async fn serve(mut listener: TcpListener, line: Line, connections: Arc<AtomicUsize>) {
    let address = listener.local_addr().unwrap();
    let mut faults = line.faults.clone();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut open = JoinSet::new();
    loop {
        let accepting = async {
            loop {
                let place = Arc::clone(&places).acquire_owned().await.unwrap();
                let (client, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let line = line.clone();
                open.spawn(async move {
                    converse(client, line).await;
                    drop(place);
                });
                while open.try_join_next().is_some() {}
            }
        };
        tokio::select! {
            () = accepting => {}
            _ = faults.wait_for(|fault| *fault == Fault::Refuse) => {}
        }
        // Without a listener the kernel refuses.
        drop(listener);
        if faults.wait_for(|fault| *fault != Fault::Refuse).await.is_err() {
            return;
        }
        listener = listen_at(address).await;
    }
}

async fn converse(mut client: TcpStream, line: Line) {
    let Ok(mut server) = TcpStream::connect(line.target).await else {
        return reset([&client]);
    };
    // Only the dice may delay data, not the kernel.
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let mut faults = line.faults.clone();
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let both = async {
        tokio::try_join!(
            pump(from_client, to_server, Direction::ToServer, &line),
            pump(from_server, to_client, Direction::FromServer, &line),
        )
    };
    let ended_well = tokio::select! {
        // First, so that no data passes on a connection that is to be reset.
        biased;
        _ = faults.wait_for(|fault| matches!(fault, Fault::Refuse | Fault::Reset)) => false,
        both = both => both.is_ok(),
    };
    if !ended_well {
        reset([&client, &server]);
    }
}

/// Makes the connections send a reset when they are dropped.
fn reset<const N: usize>(streams: [&TcpStream; N]) {
    for stream in streams {
        // On an error the connection is already gone.
        let _ = stream.set_zero_linger();
    }
}

/// Forwards one direction until it ends. Returns an error if the connection is to be reset.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    line: &Line,
) -> std::io::Result<()> {
    let mut buffer = [0; BUFFER_BYTES];
    let mut passed = 0;
    // Once bytes were dropped, no further ones may pass: TCP never skips data.
    let mut swallows = false;
    loop {
        let n = from.read(&mut buffer).await?;
        let fault = line.faults.borrow().clone();
        match (&fault, direction) {
            (Fault::BlackHole, _) | (Fault::NoAnswers, Direction::FromServer) => swallows = true,
            (Fault::Late(least, jitter), _) => {
                let more = line.dice.lock().unwrap().up_to(*jitter);
                tokio::time::sleep(*least + more).await;
            }
            (Fault::Narrow(bytes_per_s), _) => {
                let takes = f64::from(u32::try_from(n).unwrap()) / f64::from(bytes_per_s.get());
                tokio::time::sleep(Duration::from_secs_f64(takes)).await;
            }
            _ => {}
        }
        if n == 0 {
            // A black hole does not forward the end of the stream.
            return if swallows { Ok(()) } else { to.shutdown().await };
        }
        if swallows {
            continue;
        }
        let allowed = match (fault, direction) {
            (Fault::CutRequest(bytes), Direction::ToServer)
            | (Fault::CutAnswer(bytes), Direction::FromServer) => bytes.saturating_sub(passed),
            _ => n,
        };
        to.write_all(&buffer[..n.min(allowed)]).await?;
        passed += n;
        if n > allowed {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
    }
}
