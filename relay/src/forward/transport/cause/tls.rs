//! Causes in TLS, read from what rustls says.

use super::{Cause, short};
use rustls::{AlertDescription, CertificateError, Error};
use std::error::Error as StdError;
use std::fmt;
use std::io::{self, ErrorKind};

/// Most names of a certificate that are shown. The others are left out.
const NAMES_MAX: usize = 5;

/// Why a certificate is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// It is no longer valid, or one it depends on is not.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It is for other names: these.
    WrongName(Vec<String>),
    /// No trusted CA signed it.
    UnknownIssuer,
    /// It is a CA's own certificate, shown as a server's.
    IsCa,
    /// It may not be used for a server.
    WrongPurpose,
    /// It was revoked.
    Revoked,
    /// Another reason, as rustls words it.
    Other(String),
}

impl Certificate {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::WrongName(_) => "certificate_wrong_name",
            Self::UnknownIssuer => "certificate_unknown_issuer",
            Self::IsCa => "certificate_is_ca",
            Self::WrongPurpose => "certificate_wrong_purpose",
            Self::Revoked => "certificate_revoked",
            Self::Other(_) => "certificate",
        }
    }

    fn of(error: &CertificateError) -> Self {
        use CertificateError as E;
        match error {
            E::Expired | E::ExpiredContext { .. } => Self::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => Self::NotYetValid,
            E::NotValidForName => Self::WrongName(Vec::new()),
            E::NotValidForNameContext { presented, .. } => {
                Self::WrongName(presented.iter().take(NAMES_MAX).map(|name| plain(name)).collect())
            }
            // A CA that was made anew under its old name has another key.
            E::UnknownIssuer | E::BadSignature => Self::UnknownIssuer,
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => Self::WrongPurpose,
            E::Revoked => Self::Revoked,
            E::Other(other) if other.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) => {
                Self::IsCa
            }
            // The system's verifier keeps its own type for this to itself.
            E::Other(other) if other.0.to_string() == "certificate had invalid extensions" => {
                Self::WrongPurpose
            }
            other => Self::Other(short(&other.to_string())),
        }
    }
}

/// webpki presents a name as `DnsName("a.example")`.
fn plain(name: &str) -> String {
    let quoted = name.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"'));
    short(quoted.map_or(name, |(name, _)| name))
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "its certificate has expired",
            Self::NotYetValid => "its certificate is not valid yet",
            Self::WrongName(names) if names.is_empty() => "its certificate is for no name at all",
            Self::WrongName(names) => {
                return write!(f, "its certificate is for another name: {}", names.join(", "));
            }
            Self::UnknownIssuer => "its certificate is not signed by a trusted CA",
            Self::IsCa => "it shows a CA's certificate as its own",
            Self::WrongPurpose => "its certificate is not made for a server",
            Self::Revoked => "its certificate was revoked",
            Self::Other(why) => return write!(f, "its certificate is not accepted: {why}"),
        })
    }
}

impl Cause {
    /// Of a failed TLS handshake.
    pub(in crate::forward::transport) fn of_handshake(error: &io::Error) -> Self {
        match rustls_error(error) {
            Some(error) => Self::of_tls(error),
            None if error.kind() == ErrorKind::TimedOut => Self::TlsTimedOut,
            None => Self::TlsClosed,
        }
    }

    fn of_tls(error: &Error) -> Self {
        use AlertDescription as Alert;
        match error {
            Error::InvalidCertificate(error) => Self::Certificate(Certificate::of(error)),
            // Its first bytes are no TLS: an HTTP server answers 400 in plain text, a mail server greets.
            Error::InvalidMessage(_) => Self::NoTls,
            Error::PeerIncompatible(_)
            | Error::AlertReceived(Alert::ProtocolVersion | Alert::InsufficientSecurity) => Self::TlsVersion,
            // The server's view of the relay's certificate: an alert about the server's own is sent by the relay.
            Error::AlertReceived(
                Alert::CertificateRequired
                | Alert::NoCertificate
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied,
            ) => Self::ClientCertificate,
            other => Self::Tls(short(&other.to_string())),
        }
    }

    /// Of a connection that failed after the handshake, with this error somewhere in its chain. In TLS 1.3 a server
    /// judges the client's certificate only then.
    pub(in crate::forward::transport) fn of_broken(error: &(dyn StdError + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let tls = error.downcast_ref::<io::Error>().and_then(rustls_error);
            if tls.map(Self::of_tls) == Some(Self::ClientCertificate) {
                return Self::ClientCertificate;
            }
            next = error.source();
        }
        Self::BrokenAfter
    }
}

fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}
