//! `[public.tls]` and `[admin.tls]`: which certificate a listener shows.

use crate::config::listen::seconds;
use crate::document::Section;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A certificate and its key, as files. They are read when the relay starts and whenever they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate in PEM, the listener's own first, then those between it and the root.
    pub cert_file: PathBuf,
    /// Its private key in PEM.
    pub key_file: PathBuf,
    /// How often the files are looked at.
    pub look_every: Duration,
    /// For how long a browser that came by TLS once is to come by TLS only (RFC 6797, `Strict-Transport-Security`). It holds
    /// for all ports of the host. Zero: browsers are told nothing.
    pub hsts: Duration,
}

impl TlsFiles {
    /// Reads the section `tls`; `None` when it is missing.
    pub(super) fn read(listener: &Section<'_>, folder: &Path) -> Option<Self> {
        if !listener.has("tls") {
            return None;
        }
        listener.section("tls", |section| {
            let file = |key: &str| {
                let found = section.text(key);
                if found.is_none() && !section.has(key) {
                    section.mistake(key, "is missing: TLS needs `cert_file` and `key_file`, both PEM");
                }
                found.map(|path| folder.join(path))
            };
            let (cert_file, key_file) = (file("cert_file"), file("key_file"));
            let look_every = seconds(section, "look_every_s", 1..=86_400, 5);
            let hsts = seconds(section, "hsts_s", 0..=10 * 365 * 86_400, 365 * 86_400);
            Some(Self {
                cert_file: cert_file?,
                key_file: key_file?,
                look_every,
                hsts,
            })
        })
    }
}
