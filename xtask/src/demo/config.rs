//! The relay's configuration file as the demo writes it, and what may be put in it.

use std::{fs::File, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::{Context as _, Result};

use super::{METRICS_USER, Ports, SITE, ports::listen};
use crate::check::ORIGIN;

/// What differs from run to run.
#[derive(Debug)]
pub(super) struct Config<'a> {
    pub(super) data: &'a Path,
    pub(super) ports: Ports,
    pub(super) metrics_password: &'a str,
    pub(super) upstream: &'a str,
    pub(super) profile: &'a str,
    pub(super) address_header: Option<&'a str>,
}

impl Config<'_> {
    /// Writes the file, which only its owner can read.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = self.text()?;
        File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn text(&self) -> Result<String> {
        let data = self
            .data
            .to_str()
            .context("the target folder's name is not UTF-8")?;
        let panel = self.ports.panel;
        // A JSON string is a TOML string, with the same escapes.
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        Ok(format!(
            r#"# Written by `cargo xtask demo`, anew for each run.
data_dir = {data}

[public]
listen = {public}
# The demo panel passes requests on, as the web server in front of a real relay does.
trusted_proxies = ["127.0.0.0/8", "::1/128"]

[admin]
listen = {admin}

[metrics]
username = {username}
password = {password}

[[site]]
domain = {site}
origins = ["http://127.0.0.1:{panel}", "http://localhost:{panel}", {checked}]

[upstream]
url = {upstream}
profile = {profile}
{header}"#,
            checked = quote(ORIGIN),
            data = quote(data),
            public = quote(&listen(self.ports.relay)),
            admin = quote(&listen(self.ports.admin)),
            username = quote(METRICS_USER),
            password = quote(self.metrics_password),
            site = quote(SITE),
            upstream = quote(self.upstream),
            profile = quote(self.profile),
            header = self
                .address_header
                .map_or_else(String::new, |name| format!("address_header = {}\n", quote(name))),
        ))
    }
}

/// Takes what can be an upstream server. The relay looks closer, but only after the build.
pub(super) fn http_url(text: &str) -> Result<String, String> {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    if host.is_some_and(|host| !host.is_empty() && !host.starts_with('/')) {
        Ok(text.to_owned())
    } else {
        Err("expected something like https://plausible.example.com".to_owned())
    }
}

/// Takes what can be the name of a header.
pub(super) fn header_name(text: &str) -> Result<String, String> {
    if !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("expected the name of a header, such as x-plausible-ip".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn address_headers_are_header_names() {
        let rows = [
            ("x-vince-ip", true),
            ("X-Plausible-IP", true),
            ("x ip", false),
            ("x\r\nip", false),
            ("", false),
        ];
        for (name, passes) in rows {
            assert_eq!(header_name(name).is_ok(), passes, "{name}");
        }
    }
}
