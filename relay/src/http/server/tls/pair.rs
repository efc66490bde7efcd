//! A certificate and its key, read and checked as a whole.

use crate::clock::Moment;
use crate::config::TlsFiles;
use crate::reload::read_bounded;
use crate::sandbox::sha256;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerSessionMemoryCache;
use rustls::{InconsistentKeys, ServerConfig};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest file that is read, in bytes. A longer one is no certificate.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Most sessions kept for resumption. The oldest is forgotten; its owner does a whole handshake again.
const SESSIONS_MAX: usize = 4096;
/// Tickets given out in one TLS 1.3 handshake.
const TICKETS: usize = 1;
/// What is agreed on in the handshake, the better first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// A file cannot be read.
    #[error("{} cannot be read: {why}", .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// What the operating system says.
        why: std::io::Error,
    },
    /// A file is too long.
    #[error("{} is longer than {FILE_BYTES_MAX} bytes, so it is no certificate or key", .0.display())]
    Long(PathBuf),
    /// The certificate's file holds none.
    #[error("{} holds no certificate: it has to be PEM, with -----BEGIN CERTIFICATE-----", .0.display())]
    NoCertificate(PathBuf),
    /// The key's file holds none.
    #[error("{} holds no private key: it has to be PEM, unencrypted, with -----BEGIN PRIVATE KEY-----", .0.display())]
    NoKey(PathBuf),
    /// The two do not belong together.
    #[error("the key in {} is not that of the first certificate in {}: put the listener's own certificate first, its chain after it", .key.display(), .cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// The certificate cannot be understood.
    #[error("the certificate in {} cannot be used: {why}", .cert.display())]
    Unusable {
        /// Its file.
        cert: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// A certificate and its key, ready for connections.
pub struct Pair {
    /// What new connections are made with.
    pub(super) config: Arc<ServerConfig>,
    /// By what the files are recognised.
    pub(super) fingerprint: String,
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

    /// By what the files are recognised.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether the certificate is no longer valid.
    pub fn is_expired(&self, now: Moment) -> bool {
        self.days_left(now) < 0
    }

    /// How many whole days the certificate is still valid; negative when it has expired.
    pub fn days_left(&self, now: Moment) -> i64 {
        (self.expires_s - now.0.div_euclid(1000)).div_euclid(24 * 60 * 60)
    }
}

/// What the files hold at one moment.
pub(super) struct Look {
    cert: Vec<u8>,
    key: Vec<u8>,
    pub(super) fingerprint: String,
}

impl Look {
    pub(super) fn at(files: &TlsFiles) -> Result<Self, PairError> {
        let (cert, key) = (read(&files.cert_file)?, read(&files.key_file)?);
        // Of the hashes, so that nothing can move from one file to the other unseen, and no key is kept.
        let fingerprint = sha256((sha256(&cert) + &sha256(&key)).as_bytes());
        Ok(Self {
            cert,
            key,
            fingerprint,
        })
    }

    pub(super) fn is_of(&self, pair: &Pair) -> bool {
        self.fingerprint == pair.fingerprint
    }

    pub(super) fn pair(self, files: &TlsFiles) -> Result<Pair, PairError> {
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
            .map_err(|_| unusable("it is no X.509 certificate".into()))?
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
    // What is sent before the handshake is done could be sent again by somebody else.
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
