//! Advice: what to do about a cause.

use super::{Cause, Certificate};
use std::borrow::Cow;

impl Cause {
    /// What to do about it.
    pub fn advice(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::NameUnknown(_) => {
                "check the host in `upstream.url`, and that DNS on this machine, or in this container, knows it"
            }
            Self::NameServer(_) => "check this machine's DNS servers, in /etc/resolv.conf",
            Self::Refused => "start Plausible, or correct the port in `upstream.url`",
            Self::NoRoute => "check this machine's network and routes to the host in `upstream.url`",
            Self::Blocked => "allow the relay's outgoing connections in this machine's firewall",
            Self::ConnectTimedOut => {
                "a firewall in between may drop the packets, or the host is down; if this network needs a proxy, set `upstream.proxy`"
            }
            Self::System(_) => "check the limits of this machine, such as open files and local ports",
            Self::Addresses(tried) => {
                return tried
                    .first()
                    .map_or(Self::NoRoute.advice(), |(_, cause)| cause.advice());
            }
            Self::Proxy { cause, .. } => match **cause {
                Self::ProxyLogin | Self::ProxyRefused(_) => return cause.advice(),
                Self::Certificate(_) => {
                    "check the proxy's certificate; a CA that the system does not know goes into `upstream.ca_file`"
                }
                _ => {
                    "check the proxy's address: `doctor` says whether `upstream.proxy` or the environment names it"
                }
            },
            Self::ProxyLogin => {
                "write the credentials into the proxy's address, as in \"http://user:password@proxy:3128\""
            }
            Self::ProxyRefused(502..=504) => {
                "check the host in `upstream.url` as the proxy's network knows it; a host that needs no proxy goes into NO_PROXY"
            }
            Self::ProxyRefused(_) => "let the proxy allow CONNECT to the host and port in `upstream.url`",
            Self::Certificate(certificate) => return certificate.advice(),
            Self::NoTls => {
                "write the port that speaks TLS in `upstream.url`, or http:// if the server has none; behind a proxy, check that the proxy really connects there"
            }
            Self::TlsPort => "write https:// in `upstream.url`",
            Self::TlsClosed => "check that the port in `upstream.url` speaks TLS, and the server's own log",
            Self::TlsTimedOut => {
                "check that the port in `upstream.url` speaks TLS, and that the server is not overloaded"
            }
            Self::TlsVersion => "let the server speak TLS 1.2 or 1.3",
            Self::ClientCertificate => {
                "set `upstream.client_cert_file` and `upstream.client_key_file` to a pair that the server accepts"
            }
            Self::Tls(_) => "check the server's TLS settings and its own log",
            Self::BrokenBefore | Self::BrokenAfter => {
                "check the log of the server and of any gateway in between; a server that expects TLS closes plain HTTP like this"
            }
            Self::AnswerTimedOut => {
                "check that Plausible and its databases are not overloaded; `upstream.timeout_s` is how long the relay waits"
            }
            Self::NotHttp => "check the port in `upstream.url`: another service listens there",
            Self::Redirect(Some(to)) => return Cow::Owned(move_to(to)),
            Self::Redirect(None) => "set `upstream.url` to the address that Plausible itself has",
            Self::Page(_) => {
                "check `upstream.url`: it must be the address that Plausible itself has, with its path if it has one"
            }
            Self::LoginPage(_) | Self::LoginNeeded => {
                "exempt /api/event from the login in front of Plausible, or put the credentials into `upstream.headers_file`"
            }
            Self::Forbidden => {
                "check the firewall or access rules in front of Plausible; `upstream.headers_file` can carry a service token"
            }
            Self::NothingThere(_) | Self::OtherApi(_) | Self::Status(_) => {
                "check `upstream.url`, its path included, and which server answers there"
            }
            Self::NetworkLogin => "log this machine in to its network, or let the network exempt it",
            Self::Gateway(_) => "check that Plausible runs, and the gateway's own log",
            Self::Busy(_) => "check Plausible's own log: its databases have to be up",
        })
    }
}

impl Certificate {
    fn advice(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Expired => {
                "renew the certificate of the server in `upstream.url`; if it is valid, set this machine's clock"
            }
            Self::NotYetValid => "set this machine's clock, or wait until the certificate is valid",
            Self::WrongName(_) => {
                "write a host in `upstream.url` that the certificate names, or get a certificate for that host"
            }
            Self::UnknownIssuer => {
                "set `upstream.ca_file` to the CA that signed it, and let the server send its intermediate certificates; while `ca_file` is set, the system's CAs are not trusted"
            }
            Self::IsCa => {
                "give the server a certificate of its own, signed by that CA, and put the CA into `upstream.ca_file`"
            }
            Self::WrongPurpose => {
                "get a certificate for server authentication (extended key usage serverAuth)"
            }
            Self::Revoked | Self::Other(_) => "get the server a new certificate",
        })
    }
}

/// A redirect of the events API names the address to configure; any other leads to a login or a page.
fn move_to(to: &str) -> String {
    match to.strip_suffix("/api/event") {
        Some(base) => format!("set `upstream.url` to \"{base}\": the relay follows no redirect, which may lose the event"),
        None => "set `upstream.url` to the address that Plausible itself has; if the redirect leads to a login, exempt /api/event from it".to_owned(),
    }
}
