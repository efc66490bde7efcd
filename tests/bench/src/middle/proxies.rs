//! The proxies, each configured to forward everything to the sink.

use super::Place;
use anyhow::Result;
use std::process::Command;

/// Connections each proxy may keep open to the sink.
const KEEP_ALIVE: usize = 256;

pub(super) fn nginx(place: &Place<'_>) -> Result<Command> {
    let &Place {
        program,
        folder,
        address,
        sink,
    } = place;
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
    let config = place.write("nginx.conf", &text)?;
    let mut command = Command::new(program);
    command.args(["-c", &config, "-e", "stderr"]);
    Ok(command)
}

pub(super) fn caddy(place: &Place<'_>) -> Result<Command> {
    let &Place {
        program,
        folder,
        address,
        sink,
    } = place;
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
    let config = place.write("Caddyfile", &text)?;
    let mut command = Command::new(program);
    command.args(["run", "--adapter", "caddyfile", "--config", &config]);
    command.env("HOME", folder).env("XDG_DATA_HOME", folder);
    Ok(command)
}

pub(super) fn traefik(place: &Place<'_>) -> Result<Command> {
    let &Place {
        program,
        folder: _,
        address,
        sink,
    } = place;
    let text = format!(
        r#"[http.routers.all]
rule = "PathPrefix(`/`)"
service = "sink"
entryPoints = ["web"]

[[http.services.sink.loadBalancer.servers]]
url = "http://{sink}"
"#
    );
    let routes = place.write("traefik.toml", &text)?;
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
