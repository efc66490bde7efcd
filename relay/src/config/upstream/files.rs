//! The files of `[upstream]`: certificates to trust, headers to send, and a client certificate.
//!
//! They are read at startup and again after each change. Headers and key are secrets: no error, log line or `Debug`
//! output shows a value.

use crate::config::toml::Table;
use crate::digest::sha256;
use crate::hidden::hidden_debug;
use crate::reload::{Stamps, read_bounded};
use axum::http::{HeaderName, HeaderValue};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Maximum number of certificates in `ca_file`; a system's bundle has a few hundred. More is a mistake.
const CERTIFICATES_MAX: usize = 1000;
/// Maximum size of a file, in bytes: enough for such a bundle. A longer one is a mistake.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Maximum number of headers in `headers_file`. More is a mistake.
const HEADERS_MAX: usize = 32;
/// Longest line of `headers_file`, in bytes; servers accept header sections of 8 KiB. A longer one is a mistake.
const HEADER_BYTES_MAX: usize = 4096;

/// Headers that only the relay or HTTP itself may set.
const OWN: [&str; 17] = [
    "host",
    "connection",
    "proxy-connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "content-type",
    "content-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "accept",
    "accept-encoding",
    "user-agent",
    "x-debug-request",
    "proxy-authorization",
];
/// Whether a header may carry the visitor's address: excludes those that HTTP or the relay itself uses.
pub(super) fn may_carry_an_address(name: &HeaderName) -> bool {
    !OWN.contains(&name.as_str()) && !["authorization", "cookie"].contains(&name.as_str())
}

/// Headers in which Plausible or Vince looks for the visitor's address (contract b.1, b.7).
const ADDRESS: [&str; 12] = [
    "x-plausible-ip",
    "x-plausible-ip-type",
    "x-vince-ip",
    "cf-connecting-ip",
    "true-client-ip",
    "b-forwarded-for",
    "x-forwarded-for",
    "x-real-ip",
    "x-client-ip",
    "fly-client-ip",
    "client-ip",
    "forwarded",
];

/// The paths of the files, if set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamFiles {
    /// The CA certificates for the server. `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// Headers for each request, one per line.
    pub headers: Option<PathBuf>,
    /// The client certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// How often the relay checks them for a change.
    pub reload_interval: Duration,
}

/// The content of the files.
#[derive(Clone, Default)]
pub struct Loaded {
    /// The CA certificates. Empty: those that the system trusts.
    pub ca: Vec<CertificateDer<'static>>,
    /// Headers for each request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The client certificate.
    pub client: Option<Arc<CertifiedKey>>,
    /// The SHA-256 of each file, by its setting.
    pub digests: BTreeMap<&'static str, String>,
}

hidden_debug!(Loaded);

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`upstream.{setting}`: {why}")]
pub struct FileError {
    /// The setting that names it.
    pub setting: &'static str,
    /// The problem.
    pub why: String,
}

impl UpstreamFiles {
    pub(super) fn read(section: &Table<'_>, folder: &Path) -> Self {
        let file = |key: &str| section.text(key).map(|file| folder.join(file));
        let client = match (file("client_cert_file"), file("client_key_file")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => {
                section.mistake("client_cert_file", "needs `client_key_file` beside it");
                None
            }
            (None, Some(_)) => {
                section.mistake("client_key_file", "needs `client_cert_file` beside it");
                None
            }
        };
        let files = Self {
            ca: file("ca_file"),
            headers: file("headers_file"),
            client,
            reload_interval: section.seconds("reload_interval_s", 1..=86_400, 5),
        };
        if let Err(error) = files.load() {
            section.mistake(error.setting, error.why);
        }
        files
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn load(&self) -> Result<Loaded, FileError> {
        let mut loaded = Loaded::default();
        if let Some(path) = &self.ca {
            loaded.ca = certificates(&loaded.take("ca_file", path)?, path).map_err(|why| FileError {
                setting: "ca_file",
                why,
            })?;
        }
        if let Some(path) = &self.headers {
            loaded.headers = headers(&loaded.take("headers_file", path)?).map_err(|why| FileError {
                setting: "headers_file",
                why,
            })?;
        }
        if let Some((cert, key)) = &self.client {
            let chain = loaded.take("client_cert_file", cert)?;
            let failed = |setting| move |why| FileError { setting, why };
            let chain = certificates(&chain, cert).map_err(failed("client_cert_file"))?;
            let secret = loaded.take("client_key_file", key)?;
            loaded.client = Some(certified(chain, &secret).map_err(failed("client_key_file"))?);
        }
        Ok(loaded)
    }

    /// The current stamps of the files.
    pub fn stamps(&self) -> Stamps {
        let client = self.client.iter().flat_map(|(cert, key)| [cert, key]);
        Stamps::of(
            self.ca
                .iter()
                .chain(&self.headers)
                .chain(client)
                .map(PathBuf::as_path),
        )
    }
}

impl Loaded {
    fn take(&mut self, setting: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
        let bytes = read_bounded(path, FILE_BYTES_MAX).map_err(|error| FileError {
            setting,
            why: format!("{} cannot be read: {error}", path.display()),
        })?;
        self.digests.insert(setting, sha256(&bytes));
        Ok(bytes)
    }
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem)
        .take(CERTIFICATES_MAX + 1)
        .collect();
    match found {
        Ok(found) if (1..=CERTIFICATES_MAX).contains(&found.len()) => Ok(found),
        Ok(found) => Err(format!(
            "{} holds {} certificates; it must hold 1 to {CERTIFICATES_MAX} in PEM",
            path.display(),
            found.len()
        )),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

fn certified(chain: Vec<CertificateDer<'static>>, key: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| "holds no private key: it must be PEM, unencrypted, with -----BEGIN PRIVATE KEY-----")?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map(Arc::new)
        .map_err(|error| format!("is not usable with `client_cert_file`: {error}"))
}

/// Parses `Name: value` lines; skips empty lines and those that begin with `#`. No error quotes a line.
fn headers(text: &[u8]) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "is not UTF-8 text".to_owned())?;
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        let at = |why: &str| format!("line {}: {why}", number + 1);
        let (name, value) = header(line).map_err(|why| at(&why))?;
        if headers.iter().any(|(known, _)| *known == name) {
            return Err(at(&format!("{name} is listed twice")));
        }
        headers.push((name, value));
        if headers.len() > HEADERS_MAX {
            return Err(format!("holds more than {HEADERS_MAX} headers"));
        }
    }
    match headers.is_empty() {
        true => Err("holds no header: write one `Name: value` per line".to_owned()),
        false => Ok(headers),
    }
}

fn header(line: &str) -> Result<(HeaderName, HeaderValue), String> {
    if line.len() > HEADER_BYTES_MAX {
        return Err(format!("is longer than {HEADER_BYTES_MAX} bytes"));
    }
    let (name, value) = line.split_once(':').ok_or("has no colon: write `Name: value`")?;
    let name: HeaderName = name
        .parse()
        .map_err(|_| "has no valid header name before the colon")?;
    if OWN.contains(&name.as_str()) {
        return Err(format!("{name} is set by the relay itself"));
    }
    if ADDRESS.contains(&name.as_str()) {
        return Err(format!(
            "{name} carries a visitor's address: see `address_header`"
        ));
    }
    let value = value.trim();
    if value.is_empty() {
        return Err(format!("{name} has no value"));
    }
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| format!("{name} has a value with characters that HTTP forbids"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_line_by_line_and_no_error_shows_a_value() {
        let check = |text: &str, want: Result<&[(&str, &str)], &str>| match (headers(text.as_bytes()), want) {
            (Ok(got), Ok(want)) => {
                let got: Vec<_> = got
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
                    .collect();
                assert_eq!(got, want, "{text}");
            }
            (Err(got), Err(want)) => {
                assert!(got.contains(want), "{text}: {got}");
                assert!(!got.contains("s3cret"), "{got}");
            }
            (got, want) => panic!("{text}: {got:?}, not {want:?}"),
        };
        check("Authorization: Basic abc", Ok(&[("authorization", "Basic abc")]));
        check(
            "# a comment\n\nCF-Access-Client-Id: a.access\r\nCF-Access-Client-Secret:s3cret: with colon \r\n",
            Ok(&[
                ("cf-access-client-id", "a.access"),
                ("cf-access-client-secret", "s3cret: with colon"),
            ]),
        );
        check("\u{feff}X-Token: a", Ok(&[("x-token", "a")]));
        check(
            "Cookie: CF_Authorization=s3cret",
            Ok(&[("cookie", "CF_Authorization=s3cret")]),
        );
        check("X-Forwarded-Proto: https", Ok(&[("x-forwarded-proto", "https")]));
        check("", Err("holds no header"));
        check("# only a comment\n", Err("holds no header"));
        check("s3cret", Err("line 1: has no colon"));
        check("\nX Token: s3cret", Err("line 2: has no valid header name"));
        check("X-Token:  ", Err("x-token has no value"));
        check("X-Token: s3cret\u{1}", Err("characters that HTTP forbids"));
        check(
            "X-Token: a\nx-token: s3cret",
            Err("line 2: x-token is listed twice"),
        );
        for name in OWN {
            check(&format!("{name}: s3cret"), Err("is set by the relay itself"));
        }
        for name in ADDRESS {
            check(
                &format!("{}: s3cret", name.to_uppercase()),
                Err("carries a visitor's address"),
            );
        }
        check(&format!("X-Token: {}", "x".repeat(5000)), Err("is longer than"));
        let many: String = (0..=HEADERS_MAX).map(|n| format!("X-{n}: s3cret\n")).collect();
        check(&many, Err("more than 32 headers"));
        assert!(headers(b"X-Token: \xff").unwrap_err().contains("UTF-8"));
    }
}
