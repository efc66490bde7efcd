//! A certificate and its key, read and checked as a whole.

use crate::clock::Timestamp;
use crate::config::TlsFiles;
use crate::digest::sha256;
use crate::reload::read_bounded;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerSessionMemoryCache;
use rustls::{InconsistentKeys, ServerConfig};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest file that is read, in bytes. A larger one is not a certificate.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Most sessions kept for resumption. Above it the oldest is removed; its client does a full handshake again.
const SESSIONS_MAX: usize = 4096;
/// Session tickets issued in one TLS 1.3 handshake.
const TICKETS: usize = 1;
/// ALPN protocols, in order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// A file cannot be read.
    #[error("{} cannot be read: {why}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The error of the operating system.
        why: std::io::Error,
    },
    /// A file is too large.
    #[error("{} is longer than {FILE_BYTES_MAX} bytes, so it is not a certificate or key", .0.display())]
    Long(PathBuf),
    /// The certificate file contains no certificate.
    #[error("{} holds no certificate: it must be PEM, with -----BEGIN CERTIFICATE-----", .0.display())]
    NoCertificate(PathBuf),
    /// The key file contains no key.
    #[error("{} holds no private key: it must be PEM, unencrypted, with -----BEGIN PRIVATE KEY-----", .0.display())]
    NoKey(PathBuf),
    /// The certificate and the key do not match.
    #[error("the key in {} is not that of the first certificate in {}: put the listener's own certificate first, its chain after it", .key.display(), .cert.display())]
    Mismatch {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The certificate cannot be parsed or used.
    #[error("the certificate in {} cannot be used: {why}", .cert.display())]
    Unusable {
        /// The certificate file.
        cert: PathBuf,
        /// The error.
        why: String,
    },
}

/// A certificate and its key, ready for connections.
pub struct Pair {
    /// The TLS configuration of new connections.
    pub(in crate::http) config: Arc<ServerConfig>,
    /// Identifies the content of the files.
    pub(in crate::http) fingerprint: String,
    /// When the certificate expires, in seconds since 1970.
    pub expires_s: i64,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair(hidden)")
    }
}

impl Pair {
    /// Reads and checks a pair.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn read(files: &TlsFiles) -> Result<Self, PairError> {
        Look::at(files)?.pair(files)
    }

    /// Identifies the content of the files.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether the certificate has expired.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.days_left(now) < 0
    }

    /// Whole days until the certificate expires; negative if it has expired.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        (self.expires_s - now.0.div_euclid(1000)).div_euclid(24 * 60 * 60)
    }
}

/// The content of the files at one time.
pub(in crate::http) struct Look {
    cert: Vec<u8>,
    key: Vec<u8>,
    pub(in crate::http) fingerprint: String,
}

impl Look {
    pub(in crate::http) fn at(files: &TlsFiles) -> Result<Self, PairError> {
        let (cert, key) = (read(&files.cert_file)?, read(&files.key_file)?);
        // A hash of both hashes, so that moving bytes from one file to the other changes it, and no key is stored.
        let fingerprint = sha256((sha256(&cert) + &sha256(&key)).as_bytes());
        Ok(Self {
            cert,
            key,
            fingerprint,
        })
    }

    pub(in crate::http) fn is_of(&self, pair: &Pair) -> bool {
        self.fingerprint == pair.fingerprint
    }

    pub(in crate::http) fn pair(self, files: &TlsFiles) -> Result<Pair, PairError> {
        let cert_file = || files.cert_file.clone();
        let unusable = |why| PairError::Unusable {
            cert: cert_file(),
            why,
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(|_| PairError::NoCertificate(cert_file()))?;
        let own = chain
            .first()
            .ok_or_else(|| PairError::NoCertificate(cert_file()))?;
        let expires_s = x509_parser::parse_x509_certificate(own)
            .map_err(|_| unusable("it is not an X.509 certificate".into()))?
            .1
            .validity()
            .not_after
            .timestamp();
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| PairError::NoKey(files.key_file.clone()))?;
        let config = server_config(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => PairError::Mismatch {
                cert: cert_file(),
                key: files.key_file.clone(),
            },
            error => unusable(error.to_string()),
        })?;
        Ok(Pair {
            config: Arc::new(config),
            fingerprint: self.fingerprint,
            expires_s,
        })
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    config.send_tls13_tickets = TICKETS;
    // Early data can be replayed, because it is sent before the handshake is complete.
    config.max_early_data_size = 0;
    Ok(config)
}

fn read(path: &Path) -> Result<Vec<u8>, PairError> {
    read_bounded(path, FILE_BYTES_MAX).map_err(|why| match why.kind() {
        ErrorKind::FileTooLarge => PairError::Long(path.to_owned()),
        _ => PairError::Read {
            file: path.to_owned(),
            why,
        },
    })
}
