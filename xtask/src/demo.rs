//! `cargo xtask demo`: from a fresh clone to three running processes and their addresses.

mod check;
mod config;

use std::{
    env, fs,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use tests_common::workspace::empty;
use ureq::http::{HeaderName, Uri};

use crate::{
    bundle,
    children::Children,
    step::{run as run_command, say, step},
    workspace::{self, RELAY_BINARY},
};

/// The site whose events the demo collects.
const SITE: &str = "panel.example.com";
const ADMIN: &str = "admin";
const METRICS_USER: &str = "prometheus";
/// The processes and listeners that have a port each, in the order of [`Demo::ports`].
const LISTENERS: [&str; 4] = ["relay", "admin page", "demo panel", "receiver"];

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Send the events to this Plausible, or compatible, server instead of the demo's receiver
    #[arg(long, value_name = "URL", value_parser = http_url)]
    upstream: Option<String>,
    /// The kind of that server
    #[arg(long, value_name = "PROFILE", default_value = "plausible-ce",
        value_parser = ["plausible-ce", "plausible-cloud", "vince"])]
    upstream_profile: String,
    /// The header that carries the visitor's stand-in address, if it is not the profile's
    #[arg(long, value_name = "NAME")]
    upstream_address_header: Option<HeaderName>,
    /// Send one event through everything without a browser, print what arrived, and exit
    #[arg(long, conflicts_with = "port_base")]
    check: bool,
    /// Use ports PORT (relay), PORT+1 (admin), PORT+2 (panel) and PORT+3 (receiver) instead of 8080, 8081, 8600, 8700
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=65532))]
    port_base: Option<u16>,
}

/// The running processes' addresses, and passwords that are new in each run.
#[derive(Debug)]
struct Running {
    relay: String,
    admin: String,
    panel: String,
    /// `None` if the events go to another server.
    receiver: Option<String>,
    admin_password: String,
    metrics_password: String,
}

/// Sets up, starts, and then either checks or waits for Ctrl-C.
pub(crate) fn run(demo: &Demo) -> Result<ExitCode> {
    // Before the build: it takes minutes.
    demo.check_ports()?;
    if env::var_os(RELAY_BINARY).is_none() {
        bundle::all()?;
        workspace::build_relay()?;
    }

    let folder = demo.fresh_folder()?;
    let mut children = Children::new(&folder)?;
    let running = step("starting the demo", || start(demo, &folder, &mut children))?;

    if demo.check {
        let arrived = step("sending one event through", || {
            check::walk(&running).inspect_err(|_| {
                eprintln!("The logs are in {}", folder.display());
            })
        })?;
        children.check()?;
        children.stop();
        say(&arrived);
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    say(&running.description(demo, &folder));
    let watched = children.watch();
    eprintln!("\nstopping …");
    children.stop();
    watched.map(|()| ExitCode::SUCCESS)
}

/// Starts the processes in the order in which they need each other's addresses.
fn start(demo: &Demo, folder: &Path, children: &mut Children) -> Result<Running> {
    let listen = demo.ports().map(|port| format!("127.0.0.1:{port}"));
    let receiver = match demo.upstream {
        Some(_) => None,
        None => {
            let mut command = relay(&["receiver", "--listen", &listen[3]]);
            let [receiver] = children.start("receiver", &mut command, ["receiver"])?;
            Some(receiver)
        }
    };
    let upstream = demo.upstream.as_ref().or(receiver.as_ref());
    let upstream = upstream.context("no upstream")?;

    let password = || anyhow::Ok(format!("{:016x}", getrandom::u64()?));
    let (admin_password, metrics_password) = (password()?, password()?);
    let config = config::write(demo, folder, &listen, &metrics_password, upstream)?;
    add_admin(&config, &admin_password)?;
    run_command(&mut relay(&["switch", "on", "--site", SITE, "--config", &config]))?;
    let [public, admin] = children.start(
        "relay",
        &mut relay(&["serve", "--config", &config]),
        ["relay public", "relay admin"],
    )?;

    let mut panel = relay(&["demo-panel", "--listen", &listen[2], "--relay", &public]);
    panel.args(["--admin", &admin]);
    if let Some(receiver) = &receiver {
        panel.args(["--receiver", receiver]);
    }
    let [panel] = children.start("demo-panel", &mut panel, ["demo-panel"])?;
    Ok(Running {
        relay: public,
        admin,
        panel,
        receiver,
        admin_password,
        metrics_password,
    })
}

impl Demo {
    /// The ports of [`LISTENERS`]; 0 lets the system choose.
    fn ports(&self) -> [u16; 4] {
        match self.port_base {
            _ if self.check => [0; 4],
            Some(base) => [base, base + 1, base + 2, base + 3],
            None => [8080, 8081, 8600, 8700],
        }
    }

    /// Fails if a port is already in use.
    fn check_ports(&self) -> Result<()> {
        let listeners = LISTENERS.len() - usize::from(self.upstream.is_some());
        for (port, name) in self.ports().into_iter().zip(LISTENERS).take(listeners) {
            TcpListener::bind(("127.0.0.1", port)).with_context(|| {
                format!(
                    "port {port} for the {name} cannot be used; `cargo xtask demo --port-base 9000` uses 9000 to 9003"
                )
            })?;
        }
        Ok(())
    }

    /// An empty folder for this run. Demos that can run concurrently have different ones.
    fn fresh_folder(&self) -> Result<PathBuf> {
        let name = match self.port_base {
            _ if self.check => format!("demo-check-{}", std::process::id()),
            Some(base) => format!("demo-{base}"),
            None => "demo".to_owned(),
        };
        let folder = workspace::target().join(name);
        empty(&folder)?;
        fs::create_dir(folder.join("data")).context("cannot create the data folder")?;
        Ok(folder)
    }
}

impl Running {
    /// Addresses, passwords and folders.
    fn description(&self, demo: &Demo, folder: &Path) -> String {
        let receiver = match (&self.receiver, &demo.upstream) {
            (None, Some(upstream)) => format!("Upstream  {upstream}"),
            (receiver, _) => format!(
                "Receiver  {}   stands in for Plausible and shows the events",
                receiver.as_deref().unwrap_or_default()
            ),
        };
        format!(
            "
The demo is running. Ctrl-C stops it.

Panel     {panel}   give consent, click around, rate
{receiver}
Admin     {admin}   user {ADMIN}, password {}
Metrics   {admin}/metrics   user {METRICS_USER}, password {}
Relay     {relay}

Collection is off by default. The demo has switched it on for {SITE};
the admin page switches it off again.
Configuration, data and logs: {folder}
",
            self.admin_password,
            self.metrics_password,
            panel = self.panel,
            admin = self.admin,
            relay = self.relay,
            folder = folder.display()
        )
    }
}

/// The relay's binary with these arguments.
fn relay(arguments: &[&str]) -> Command {
    let program = env::var_os(RELAY_BINARY).map_or_else(workspace::relay_binary, PathBuf::from);
    let mut command = Command::new(program);
    command.current_dir(workspace::root()).args(arguments);
    command
}

fn add_admin(config: &str, password: &str) -> Result<()> {
    let mut child = relay(&["user", "add", ADMIN, "--config", config, "--password-stdin"])
        .stdin(Stdio::piped())
        .stdout(std::io::stderr())
        .spawn()
        .context("cannot start the relay")?;
    // Dropping the handle closes the pipe, for which the child waits. A child that does not read has logged why, and
    // its exit status counts.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = writeln!(stdin, "{password}");
    }
    ensure!(child.wait()?.success(), "cannot add the administrator");
    Ok(())
}

/// Accepts the URL of an upstream server. The relay checks more, but only after the build.
fn http_url(text: &str) -> Result<String, String> {
    let scheme = text
        .parse()
        .ok()
        .and_then(|url: Uri| url.scheme_str().map(str::to_owned));
    match scheme.as_deref() {
        Some("http" | "https") => Ok(text.to_owned()),
        _ => Err("expected something like https://plausible.example.com".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::http_url;

    #[test]
    fn upstreams_are_urls() {
        let rows = [
            ("https://plausible.example.com", true),
            ("http://127.0.0.1:8000/sub", true),
            ("plausible.example.com", false),
            ("ftp://plausible.example.com", false),
            ("https:///api", false),
            ("", false),
        ];
        for (url, passes) in rows {
            assert_eq!(http_url(url).is_ok(), passes, "{url}");
        }
    }
}
