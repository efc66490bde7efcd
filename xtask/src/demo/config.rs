//! The demo's configuration file for the relay.

use std::{fs::File, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::{Context as _, Result};

use super::check::ORIGIN;
use super::{Demo, METRICS_USER, SITE};

/// Writes the file, which only its owner can read, and returns its path.
pub(super) fn write(
    demo: &Demo,
    folder: &Path,
    [public, admin, panel, _]: &[String; 4],
    metrics_password: &str,
    upstream: &str,
) -> Result<String> {
    let folder = folder.to_str().context("the target folder's name is not UTF-8")?;
    // A JSON string is a TOML string, with the same escapes.
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let header = demo.upstream_address_header.as_ref();
    let text = format!(
        r#"# Written by `cargo xtask demo`, anew for each run.
data_dir = {data}

[public]
listen = "{public}"
# The demo panel passes requests on, as the web server in front of a real relay does.
trusted_proxies = ["127.0.0.0/8", "::1/128"]

[admin]
listen = "{admin}"

[metrics]
username = "{METRICS_USER}"
password = "{metrics_password}"

[[site]]
domain = "{SITE}"
origins = ["http://{panel}", "http://{named}", "{ORIGIN}"]

[upstream]
url = {url}
profile = "{profile}"
{header}"#,
        data = quote(&format!("{folder}/data")),
        named = panel.replace("127.0.0.1", "localhost"),
        url = quote(upstream),
        profile = demo.upstream_profile,
        header = header.map_or_else(String::new, |name| format!("address_header = \"{name}\"\n")),
    );
    let path = format!("{folder}/relay.toml");
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {path}"))?;
    Ok(path)
}
