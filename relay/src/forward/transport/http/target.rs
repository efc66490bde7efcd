//! The target of connections: the upstream's address, the proxy in between, and the content of its files.

use super::TransportError;
use super::encoded::{Encoded, write_header};
use super::race::Resolve;
use crate::clock;
use crate::config::{Loaded, Proxy, Upstream, Way};
use axum::http::header::{HOST, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use axum::http::uri::{Authority, Scheme};
use axum::http::{Request, Uri};
use bytes::{Bytes, BytesMut};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::{BuilderVerifierExt, Verifier};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_rustls::TlsConnector;

/// TLS with a server of this name.
pub(super) type Tls = (TlsConnector, ServerName<'static>);

/// The parameters of connections to one upstream. Replaced when a file changes.
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<Tls>,
    pub(super) proxy: Option<Hop>,
    pub(super) answer_timeout: Duration,
    pub(super) names: Arc<dyn Resolve>,
    /// For jitter.
    pub(super) random: fn() -> u32,
    /// The address of the last connection.
    pub(super) peer: Arc<Mutex<Option<SocketAddr>>>,
    host_header: HeaderValue,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Plain HTTP requests to a proxy carry the absolute URI (RFC 9112 section 3.2.2).
    absolute: Option<Authority>,
}

/// The proxy on the way.
pub(super) struct Hop {
    pub(super) proxy: Proxy,
    pub(super) tls: Option<Tls>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({}:{})", self.host, self.port)
    }
}

impl Target {
    /// The configured upstream.
    ///
    /// # Errors
    /// If its address or certificates cannot be used.
    pub(super) fn new(
        upstream: &Upstream,
        loaded: &Loaded,
        names: Arc<dyn Resolve>,
        peer: Arc<Mutex<Option<SocketAddr>>>,
    ) -> Result<Self, TransportError> {
        let uri: Uri = upstream.url.parse().map_err(|_| TransportError::Address)?;
        let authority = uri.authority().ok_or(TransportError::Address)?;
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let tls = is_tls.then(|| tls(tls_config(loaded)?, &host)).transpose()?;
        let proxy = match &upstream.way {
            Way::Direct(_) => None,
            Way::Proxy(proxy, _) => Some(Hop::new(proxy, &loaded.ca)?),
        };
        Ok(Self {
            host_header: HeaderValue::from_str(authority.as_str()).map_err(|_| TransportError::Address)?,
            absolute: (proxy.is_some() && !is_tls).then(|| authority.clone()),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            host,
            tls,
            proxy,
            headers: loaded.headers.clone(),
            answer_timeout: upstream.timeout,
            names,
            random: clock::random_number,
            peer,
        })
    }

    /// Writes requests, with the headers and the form of the address that the proxy and the files require.
    pub(super) fn encode(&self, requests: &[Request<Bytes>]) -> Encoded {
        let mut encoded = Encoded::default();
        for request in requests {
            encoded.push(request, |out| self.write_first_lines(request, out));
        }
        encoded
    }

    /// Writes the lines that come before a request's own headers. A header of the request replaces one of the files.
    fn write_first_lines(&self, request: &Request<Bytes>, out: &mut BytesMut) {
        let (method, uri) = (request.method(), request.uri());
        // Memory takes everything.
        let _ = match &self.absolute {
            None => write!(out, "{method} {uri} HTTP/1.1\r\n"),
            Some(authority) => write!(out, "{method} http://{authority}{uri} HTTP/1.1\r\n"),
        };
        write_header(out, &HOST, &self.host_header);
        for (name, value) in &self.headers {
            if !request.headers().contains_key(name) {
                write_header(out, name, value);
            }
        }
        if self.absolute.is_some()
            && let Some(credentials) = self
                .proxy
                .as_ref()
                .and_then(|hop| hop.proxy.authorization.as_ref())
        {
            write_header(out, &PROXY_AUTHORIZATION, credentials);
        }
    }
}

impl Hop {
    fn new(proxy: &Proxy, ca: &[CertificateDer<'static>]) -> Result<Self, TransportError> {
        let tls = || tls(proxy_tls_config(ca)?, &proxy.host);
        Ok(Self {
            tls: proxy.is_tls.then(tls).transpose()?,
            proxy: proxy.clone(),
        })
    }
}

fn tls(config: ClientConfig, host: &str) -> Result<Tls, TransportError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| TransportError::Address)?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

/// Trusts only the CA of `upstream.ca_file` if it is set, otherwise the system's CAs.
fn tls_config(loaded: &Loaded) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match loaded.ca.is_empty() {
        true => builder.with_platform_verifier()?,
        false => {
            let mut roots = RootCertStore::empty();
            for certificate in &loaded.ca {
                roots.add(certificate.clone())?;
            }
            builder.with_root_certificates(roots)
        }
    };
    Ok(match &loaded.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(client))))
        }
    })
}

/// For a proxy: its certificate may be signed by one of the system's CAs or by `ca_file`, which may be for Plausible
/// alone. It never receives the client certificate.
fn proxy_tls_config(ca: &[CertificateDer<'static>]) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(ca.iter().cloned(), Arc::clone(&provider))?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}
