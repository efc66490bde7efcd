//! Causes in TLS, read from what rustls says.

use super::{Cause, causes, short};
use rustls::{AlertDescription, CertificateError, Error};
use std::borrow::Cow;
use std::error::Error as StdError;
use std::io::{self, ErrorKind};

/// Most names of a certificate that are shown. The others are left out.
const NAMES_MAX: usize = 5;

causes! {
    /// Why a certificate is not accepted.
    pub enum Certificate {
        /// It is no longer valid, or one it depends on is not.
        Expired = "certificate_expired",
            "its certificate has expired",
            "renew the certificate of the server in `upstream.url`; if it is valid, set this machine's clock";
        /// It is not valid yet.
        NotYetValid = "certificate_not_yet_valid",
            "its certificate is not valid yet",
            "set this machine's clock, or wait until the certificate is valid";
        /// It is for other names: these.
        WrongName(names: Vec<String>) = "certificate_wrong_name",
            match names.is_empty() {
                true => "its certificate names no host".to_owned(),
                false => format!("its certificate is for another name: {}", names.join(", ")),
            },
            "write a host in `upstream.url` that the certificate names, or get a certificate for that host";
        /// No trusted CA signed it.
        UnknownIssuer = "certificate_unknown_issuer",
            "its certificate is not signed by a trusted CA",
            "set `upstream.ca_file` to the CA that signed it, and configure the server to send its intermediate \
             certificates; while `ca_file` is set, the system's CAs are not trusted";
        /// It is a CA's own certificate, shown as a server's.
        IsCa = "certificate_is_ca",
            "it presents a CA's certificate as its own",
            "give the server a certificate of its own, signed by that CA, and put the CA into `upstream.ca_file`";
        /// It must not be used for a server.
        WrongPurpose = "certificate_wrong_purpose",
            "its certificate is not valid for server authentication",
            "get a certificate for server authentication (extended key usage serverAuth)";
        /// It was revoked.
        Revoked = "certificate_revoked", "its certificate was revoked", NEW_CERTIFICATE;
        /// Another reason, as rustls words it.
        Other(why: String) = "certificate", format!("its certificate is not accepted: {why}"), NEW_CERTIFICATE;
    }
}

const NEW_CERTIFICATE: &str = "get the server a new certificate";

impl Certificate {
    fn of(error: &CertificateError) -> Self {
        use CertificateError as E;
        match error {
            E::Expired | E::ExpiredContext { .. } => Self::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => Self::NotYetValid,
            E::NotValidForName => Self::WrongName(Vec::new()),
            E::NotValidForNameContext { presented, .. } => {
                Self::WrongName(presented.iter().take(NAMES_MAX).map(|name| plain(name)).collect())
            }
            // A CA that was recreated under its old name has another key.
            E::UnknownIssuer | E::BadSignature => Self::UnknownIssuer,
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => Self::WrongPurpose,
            E::Revoked => Self::Revoked,
            E::Other(other) if other.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) => {
                Self::IsCa
            }
            // The system's verifier uses a private type for this.
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
