//! A TCP proxy that makes the network bad: between browser and relay, or between relay and Plausible.
//!
//! What it does to connections can be changed at any time and counts at once, for those that are open too.

use crate::address_of_its_own;
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

/// Most connections at once. Further ones wait in the kernel until one ends.
const CONNECTIONS_MAX: usize = 256;
/// Most bytes in the proxy's hands per connection and direction.
const BUFFER_BYTES: usize = 4096;

/// What the proxy does to connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it passes on what comes.
    #[default]
    None,
    /// Every piece in each direction is late by so much, and by up to so much more.
    Late(Duration, Duration),
    /// No more bytes per second in each direction.
    Narrow(NonZeroU32),
    /// The connection is reset when so many bytes went to the server.
    CutRequest(usize),
    /// The connection is reset when so many bytes came from the server.
    CutAnswer(usize),
    /// Everything is swallowed, and connections stay open.
    BlackHole,
    /// What comes from the server is swallowed; what goes there arrives.
    NoAnswers,
    /// Nobody listens, and connections that are open end.
    Refuse,
    /// Every connection is reset, the open ones too.
    Reset,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    FromServer,
}

/// The proxy. It ends when it is dropped, and every connection with it.
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
    /// One to a server, as `http://127.0.0.1:4711`. The dice throw how late things are.
    ///
    /// # Panics
    /// When no address is free.
    pub fn to(server: &str, dice: &mut Dice) -> Self {
        let address = address_of_its_own();
        // Listens before anybody is told where.
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

    /// Its address, as others are configured with it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Does this to connections from now on.
    pub fn set(&self, fault: Fault) {
        self.faults.send_replace(fault);
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// What a connection needs to know.
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
        listener = TcpListener::bind(address).await.unwrap();
    }
}

async fn converse(mut client: TcpStream, line: Line) {
    let Ok(mut server) = TcpStream::connect(line.target).await else {
        return reset([&client]);
    };
    // What is late is so by the dice, not by the kernel.
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
        // First, so that nothing slips through a connection that is to be reset.
        biased;
        _ = faults.wait_for(|fault| matches!(fault, Fault::Refuse | Fault::Reset)) => false,
        both = both => both.is_ok(),
    };
    if !ended_well {
        reset([&client, &server]);
    }
}

/// The connections are reset as soon as they are dropped.
fn reset<const N: usize>(streams: [&TcpStream; N]) {
    for stream in streams {
        // Nothing is left to be reset where it failed.
        let _ = stream.set_zero_linger();
    }
}

/// Passes on one direction until it ends. An error when the connection is to be reset.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    line: &Line,
) -> std::io::Result<()> {
    let mut buffer = [0; BUFFER_BYTES];
    let mut passed = 0;
    // Once something was swallowed nothing comes any more: TCP never leaves out a piece.
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
            // A black hole does not tell that the other end has gone.
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
