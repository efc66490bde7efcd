//! `[public.tls]` and `[admin.tls]`: the certificate of a listener.

use crate::config::toml::Table;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A certificate and its key, as files. They are read at startup and after each change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain in PEM: the listener's own certificate first, then the intermediates.
    pub cert_file: PathBuf,
    /// Its private key in PEM.
    pub key_file: PathBuf,
    /// How often the relay checks the files for a change.
    pub reload_interval: Duration,
    /// How long a browser that connected by TLS once must use TLS only (RFC 6797, `Strict-Transport-Security`).
    /// Applies to all ports of the host. Zero: no header is sent.
    pub hsts: Duration,
}

impl TlsFiles {
    /// Reads the section `tls`; `None` if it is missing.
    pub(super) fn read(listener: &Table<'_>, folder: &Path) -> Option<Self> {
        if !listener.has("tls") {
            return None;
        }
        listener.section("tls", |section| {
            let file = |key: &str| {
                section.require(key, "TLS needs `cert_file` and `key_file`, both PEM");
                section.text(key).map(|path| folder.join(path))
            };
            let (cert_file, key_file) = (file("cert_file"), file("key_file"));
            let reload_interval = section.seconds("reload_interval_s", 1..=86_400, 5);
            let hsts = section.seconds("hsts_s", 0..=10 * 365 * 86_400, 365 * 86_400);
            Some(Self {
                cert_file: cert_file?,
                key_file: key_file?,
                reload_interval,
                hsts,
            })
        })
    }
}
