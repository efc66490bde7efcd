//! `cargo xtask demo`: from a fresh clone to three running processes, and their addresses in a box.

mod config;
mod ports;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use self::{
    config::{Config, header_name, http_url},
    ports::{Ports, listen},
};
use crate::{
    bundle,
    check::{self, Proof},
    children::Children,
    random::random_hex,
    step::{run as run_command, say, show, step},
    workspace,
};

/// The site whose events the demo collects.
pub(crate) const SITE: &str = "panel.example.com";
const ADMIN: &str = "admin";
const METRICS_USER: &str = "prometheus";

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
    #[arg(long, value_name = "NAME", value_parser = header_name)]
    upstream_address_header: Option<String>,
    /// Send one event through everything without a browser, print what arrived, and end
    #[arg(long, conflicts_with = "port_base")]
    check: bool,
    /// Use ports PORT (relay), PORT+1 (admin), PORT+2 (panel) and PORT+3 (receiver) instead of 8080, 8081, 8600, 8700
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=65532))]
    port_base: Option<u16>,
}

/// What is made up anew for each run.
#[derive(Debug)]
struct Secrets {
    admin: String,
    metrics: String,
}

/// Where the processes listen.
#[derive(Debug)]
struct Addresses {
    relay: String,
    admin: String,
    panel: String,
    receiver: Option<String>,
}

/// Sets up, starts, and then either checks or waits for Ctrl-C.
pub(crate) fn run(demo: &Demo) -> Result<ExitCode> {
    let ports = demo.ports();
    // Before the build, so that nobody waits minutes for this.
    ports.check(demo.upstream.is_none())?;
    bundle::all()?;
    workspace::build_relay()?;

    let folder = demo.fresh_folder()?;
    let secrets = Secrets {
        admin: random_hex(8)?,
        metrics: random_hex(16)?,
    };
    let mut children = Children::new(&folder)?;
    let addresses = step("starting the demo", || {
        start(demo, ports, &secrets, &folder, &mut children)
    })?;

    if demo.check {
        let arrived = step("walking one event through", || {
            check::walk(&addresses.panel, &addresses.proof(&secrets)).inspect_err(|_| {
                eprintln!("The logs are in {}", folder.display());
            })
        })?;
        children.check()?;
        children.stop();
        say(&arrived);
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in boxed(&addresses.lines(demo, &secrets, &folder)) {
        say(&line);
    }
    let watched = children.watch();
    eprintln!("\nstopping …");
    children.stop();
    watched.map(|()| ExitCode::SUCCESS)
}

/// Starts the processes in the order in which they need each other's addresses.
fn start(
    demo: &Demo,
    ports: Ports,
    secrets: &Secrets,
    folder: &Path,
    children: &mut Children,
) -> Result<Addresses> {
    let receiver = match demo.upstream {
        Some(_) => None,
        None => {
            let mut command = relay(&["receiver", "--listen", &listen(ports.receiver)]);
            let [receiver] = children.start("receiver", &mut command, ["receiver"])?;
            Some(receiver)
        }
    };
    let upstream = demo
        .upstream
        .as_ref()
        .or(receiver.as_ref())
        .context("no upstream")?;

    let config = folder.join("relay.toml");
    Config {
        data: &folder.join("data"),
        ports,
        metrics_password: &secrets.metrics,
        upstream,
        profile: &demo.upstream_profile,
        address_header: demo.upstream_address_header.as_deref(),
    }
    .write(&config)?;
    let config = config.to_str().context("the target folder's name is not UTF-8")?;
    add_admin(config, &secrets.admin)?;
    run_command(&mut relay(&["switch", "on", "--site", SITE, "--config", config]))?;
    let [relay_address, admin] = children.start(
        "relay",
        &mut relay(&["serve", "--config", config]),
        ["relay public", "relay admin"],
    )?;

    let mut panel = relay(&[
        "demo-panel",
        "--listen",
        &listen(ports.panel),
        "--relay",
        &relay_address,
    ]);
    panel.args(["--admin", &admin]);
    if let Some(receiver) = &receiver {
        panel.args(["--receiver", receiver]);
    }
    let [panel] = children.start("demo-panel", &mut panel, ["demo-panel"])?;
    Ok(Addresses {
        relay: relay_address,
        admin,
        panel,
        receiver,
    })
}

impl Demo {
    fn ports(&self) -> Ports {
        match self.port_base {
            _ if self.check => Ports::ANY,
            Some(base) => Ports::from_base(base),
            None => Ports::USUAL,
        }
    }

    /// An empty folder for this run. Demos that can run beside each other have different ones.
    fn fresh_folder(&self) -> Result<PathBuf> {
        let name = match self.port_base {
            _ if self.check => format!("demo-check-{}", std::process::id()),
            Some(base) => format!("demo-{base}"),
            None => "demo".to_owned(),
        };
        let folder = workspace::target().join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(folder.join("data"))
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }
}

impl Addresses {
    fn proof<'a>(&'a self, secrets: &'a Secrets) -> Proof<'a> {
        match &self.receiver {
            Some(address) => Proof::Receiver { address },
            None => Proof::Metrics {
                admin: &self.admin,
                username: METRICS_USER,
                password: &secrets.metrics,
            },
        }
    }

    /// What a newcomer should know.
    fn lines(&self, demo: &Demo, secrets: &Secrets, folder: &Path) -> Vec<String> {
        let mut lines = vec![
            "The demo is running. Ctrl-C stops it.".to_owned(),
            String::new(),
            format!("Panel     {}   say yes, click around, rate", self.panel),
        ];
        lines.push(match (&self.receiver, &demo.upstream) {
            (Some(receiver), _) => {
                format!("Receiver  {receiver}   what has arrived in place of Plausible")
            }
            (None, upstream) => format!("Upstream  {}", upstream.as_deref().unwrap_or_default()),
        });
        lines.extend([
            format!(
                "Admin     {}   user {ADMIN}, password {}",
                self.admin, secrets.admin
            ),
            format!(
                "Metrics   {}/metrics   user {METRICS_USER}, password {}",
                self.admin, secrets.metrics
            ),
            format!("Relay     {}", self.relay),
            String::new(),
            format!("Collection is off by default. The demo has switched it on for {SITE};"),
            "the admin page switches it off again.".to_owned(),
            format!("Configuration, data and logs: {}", folder.display()),
        ]);
        lines
    }
}

/// Draws a frame around lines.
fn boxed(lines: &[String]) -> Vec<String> {
    let width = lines
        .iter()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or_default();
    let bar = "─".repeat(width + 2);
    let mut framed = vec![String::new(), format!("┌{bar}┐")];
    framed.extend(lines.iter().map(|line| format!("│ {line:<width$} │")));
    framed.push(format!("└{bar}┘"));
    framed
}

/// The relay's binary with these arguments.
fn relay(arguments: &[&str]) -> Command {
    let mut command = Command::new(workspace::relay_binary());
    command.current_dir(workspace::root()).args(arguments);
    command
}

fn add_admin(config: &str, password: &str) -> Result<()> {
    let mut command = relay(&["user", "add", ADMIN, "--config", config, "--password-stdin"]);
    let shown = show(&command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(std::io::stderr())
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    // Dropping the handle closes the pipe, which is what the child waits for. A child that does not read
    // has said why, and its exit status is what counts.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = writeln!(stdin, "{password}");
    }
    let status = child.wait()?;
    ensure!(status.success(), "`{shown}` failed ({status})");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_box_is_as_wide_as_its_longest_line() {
        let lines = ["ab".to_owned(), "▸ abc".to_owned()];
        assert_eq!(
            boxed(&lines),
            ["", "┌───────┐", "│ ab    │", "│ ▸ abc │", "└───────┘"]
        );
    }
}
