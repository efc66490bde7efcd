//! Causes: why the way to Plausible does not work, and what to do about it.
//!
//! One type from the socket to the log, health and `doctor`, so that nothing on the way has to guess. A cause
//! names hosts, addresses and statuses of the upstream, never anything of an event.

mod advice;
mod answer;
mod tls;

pub use tls::Certificate;

use axum::http::Response;
use bytes::Bytes;
use std::fmt;
use std::io::{Error, ErrorKind};
use std::net::IpAddr;

/// Longest text of another party in a cause, in characters, such as a redirect's target. A longer one is cut.
const TEXT_CHARS_MAX: usize = 200;

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// DNS knows no such name, or no address for it.
    NameUnknown(String),
    /// DNS could not be asked, or did not answer in time.
    NameServer(String),
    /// No process listens on the port.
    Refused,
    /// There is no route to the address.
    NoRoute,
    /// A firewall on this machine forbids it.
    Blocked,
    /// No answer to the attempt to connect.
    ConnectTimedOut,
    /// The operating system refused, with its error code if there is one.
    System(Option<i32>),
    /// Several addresses were tried, and they failed for different reasons.
    Addresses(Vec<(IpAddr, Cause)>),
    /// The proxy on the way cannot be reached, or does not let the relay through.
    Proxy {
        /// Its address.
        proxy: String,
        /// Why.
        cause: Box<Cause>,
    },
    /// The proxy requires credentials (407), or does not accept those it was sent.
    ProxyLogin,
    /// The proxy answers CONNECT with this status.
    ProxyRefused(u16),
    /// The certificate is not accepted.
    Certificate(Certificate),
    /// The port does not speak TLS.
    NoTls,
    /// The port expects TLS and was sent plain HTTP.
    TlsPort,
    /// The connection closed during the TLS handshake.
    TlsClosed,
    /// The TLS handshake took too long.
    TlsTimedOut,
    /// No TLS version or cipher is spoken by both sides.
    TlsVersion,
    /// The server requires a client certificate, or does not accept the one it was shown.
    ClientCertificate,
    /// Another failure of TLS, as rustls words it.
    Tls(String),
    /// The connection broke before any of the request was written.
    BrokenBefore,
    /// At least a part was sent, and the connection broke before there was an answer.
    BrokenAfter,
    /// It was sent, and no answer came in time.
    AnswerTimedOut,
    /// It was sent, and the bytes that came back are not HTTP.
    NotHttp,
    /// Answered with a redirect, to this address without its query if it names one.
    Redirect(Option<String>),
    /// Answered with a web page.
    Page(u16),
    /// Answered with a page on which to log in.
    LoginPage(u16),
    /// Answered 401: credentials are missing or wrong.
    LoginNeeded,
    /// Answered 403.
    Forbidden,
    /// Answered that nothing is there.
    NothingThere(u16),
    /// Answered in JSON, but not as Plausible does.
    OtherApi(u16),
    /// The network wants a login first (511).
    NetworkLogin,
    /// A gateway in front of Plausible does not reach it (502, 504).
    Gateway(u16),
    /// Answered that it cannot now (408, 429, 5xx).
    Busy(u16),
    /// Answered with another status than Plausible's.
    Status(u16),
}

impl Cause {
    /// A short name from a closed list, for log fields and health.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NameUnknown(_) => "name_unknown",
            Self::NameServer(_) => "name_server",
            Self::Refused => "refused",
            Self::NoRoute => "no_route",
            Self::Blocked => "blocked",
            Self::ConnectTimedOut => "connect_timed_out",
            Self::System(_) => "system",
            Self::Addresses(tried) => tried.first().map_or("no_route", |(_, cause)| cause.name()),
            Self::Proxy { cause, .. } => match **cause {
                Self::ProxyLogin => "proxy_login",
                Self::ProxyRefused(_) => "proxy_refused",
                _ => "proxy",
            },
            Self::ProxyLogin => "proxy_login",
            Self::ProxyRefused(_) => "proxy_refused",
            Self::Certificate(certificate) => certificate.name(),
            Self::NoTls => "no_tls",
            Self::TlsPort => "tls_port",
            Self::TlsClosed => "tls_closed",
            Self::TlsTimedOut => "tls_timed_out",
            Self::TlsVersion => "tls_version",
            Self::ClientCertificate => "client_certificate",
            Self::Tls(_) => "tls",
            Self::BrokenBefore => "broken_before",
            Self::BrokenAfter => "broken_after",
            Self::AnswerTimedOut => "answer_timed_out",
            Self::NotHttp => "not_http",
            Self::Redirect(_) => "redirect",
            Self::Page(_) => "page",
            Self::LoginPage(_) => "login_page",
            Self::LoginNeeded => "login_needed",
            Self::Forbidden => "forbidden",
            Self::NothingThere(_) => "nothing_there",
            Self::OtherApi(_) => "other_api",
            Self::NetworkLogin => "network_login",
            Self::Gateway(_) => "gateway",
            Self::Busy(_) => "busy",
            Self::Status(_) => "status",
        }
    }

    /// Of a request that failed: it has no answer, or not Plausible's.
    pub fn of(url: &str, answer: Result<Response<Bytes>, Self>) -> Option<Self> {
        match answer {
            Ok(answer) => Self::of_answer(url, &answer),
            Err(cause) => Some(cause),
        }
    }

    /// Whether the upstream may have taken the request all the same. A server that ended TLS, or expected it, never
    /// saw the request.
    pub fn may_have_arrived(&self) -> bool {
        matches!(self, Self::BrokenAfter | Self::AnswerTimedOut | Self::NotHttp)
    }

    /// Of a failed look-up of a name. The standard library keeps no code of the resolver's, only its text.
    pub(super) fn of_lookup(host: &str, error: &Error) -> Self {
        if error.raw_os_error().is_some() {
            return Self::of_connect(error);
        }
        let text = error.to_string();
        // glibc, musl: EAI_AGAIN and EAI_FAIL. All others are about the name.
        let resolver_failed = ["emporary failure", "ry again", "recoverable"];
        match error.kind() == ErrorKind::TimedOut || resolver_failed.iter().any(|say| text.contains(say)) {
            true => Self::NameServer(host.to_owned()),
            false => Self::NameUnknown(host.to_owned()),
        }
    }

    /// Of a failed attempt to connect.
    pub(super) fn of_connect(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut => Self::ConnectTimedOut,
            ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable => Self::NoRoute,
            ErrorKind::PermissionDenied => Self::Blocked,
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Self::BrokenBefore,
            _ => Self::System(error.raw_os_error()),
        }
    }

    /// Of the attempts at all addresses of a host: the one cause they share, or all of them, the most telling
    /// first.
    pub(super) fn of_addresses(mut tried: Vec<(IpAddr, Self)>) -> Self {
        // Stable, so that equal causes stay in the order in which their addresses were tried.
        tried.sort_by_key(|(_, cause)| match cause {
            Self::Refused => 0,
            Self::ConnectTimedOut => 1,
            Self::NoRoute => 3,
            _ => 2,
        });
        match tried.first() {
            Some((_, first)) if tried.iter().all(|(_, cause)| cause == first) => first.clone(),
            Some(_) => Self::Addresses(tried),
            None => Self::NoRoute,
        }
    }
}

/// As a clause that completes "Plausible is away: …".
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameUnknown(host) => return write!(f, "DNS knows no address for {host}"),
            Self::NameServer(host) => return write!(f, "DNS did not answer for {host}"),
            Self::Refused => "the connection was refused: no process listens on that port",
            Self::NoRoute => "there is no route to the address",
            Self::Blocked => "a firewall on this machine forbids the connection",
            Self::ConnectTimedOut => "the connection attempt was not answered in time",
            Self::System(None) => "the operating system refused the connection",
            Self::System(Some(code)) => {
                return write!(f, "cannot connect: {}", Error::from_raw_os_error(*code));
            }
            Self::Addresses(tried) => {
                for (i, (address, cause)) in tried.iter().enumerate() {
                    let comma = if i > 0 { "; " } else { "" };
                    write!(f, "{comma}{address}: {cause}")?;
                }
                return Ok(());
            }
            Self::Proxy { proxy, cause } => return write!(f, "the proxy {proxy}: {cause}"),
            Self::ProxyLogin => "it requires authentication (407)",
            Self::ProxyRefused(status @ 502..=504) => {
                return write!(f, "it does not reach Plausible ({status})");
            }
            Self::ProxyRefused(status) => return write!(f, "it refuses to connect to Plausible ({status})"),
            Self::Certificate(certificate) => return certificate.fmt(f),
            Self::NoTls => "the port does not speak TLS",
            Self::TlsPort => "the port expects TLS, and `upstream.url` says http",
            Self::TlsClosed => "the server closed the connection during the TLS handshake",
            Self::TlsTimedOut => "the TLS handshake was not finished in time",
            Self::TlsVersion => "the server speaks no TLS version or cipher that the relay accepts",
            Self::ClientCertificate => {
                "the server requires a client certificate, or does not accept the relay's"
            }
            Self::Tls(error) => return write!(f, "the TLS handshake failed: {error}"),
            Self::BrokenBefore => "the connection broke before the request was sent",
            Self::BrokenAfter => "the connection broke before there was an answer",
            Self::AnswerTimedOut => "no answer came in time",
            Self::NotHttp => "the server does not speak HTTP/1.1",
            Self::Redirect(Some(to)) => return write!(f, "the server redirects to {to}"),
            Self::Redirect(None) => "the server redirects, and does not say where to",
            Self::Page(status) => return write!(f, "the server answers with a web page ({status})"),
            Self::LoginPage(status) => return write!(f, "the server answers with a login page ({status})"),
            Self::LoginNeeded => "the server requires authentication (401)",
            Self::Forbidden => "the server forbids the request (403)",
            Self::NothingThere(status) => {
                return write!(f, "the server has no events API at this path ({status})");
            }
            Self::OtherApi(status) => return write!(f, "a JSON API answers, but not Plausible's ({status})"),
            Self::NetworkLogin => "the network requires a login before it lets requests out (511)",
            Self::Gateway(status) => {
                return write!(
                    f,
                    "the gateway in front of Plausible does not reach it ({status})"
                );
            }
            Self::Busy(status) => {
                return write!(f, "the server says that it cannot take requests now ({status})");
            }
            Self::Status(status) => return write!(f, "the server answers {status}, as Plausible never does"),
        })
    }
}

/// A text of another party, cut to a length that a log line can bear, without control characters.
fn short(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    let mut cut: String = printable.clone().take(TEXT_CHARS_MAX).collect();
    if printable.count() > TEXT_CHARS_MAX {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests;
