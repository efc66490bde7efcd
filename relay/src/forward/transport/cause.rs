//! Causes: why the way to Plausible does not work, and what to do about it.
//!
//! One type from the socket to the log, health and `doctor`, so that no layer has to guess. A cause names hosts,
//! addresses and statuses of the upstream, and no event data.

mod answer;
mod tls;

pub use tls::Certificate;

use axum::http::Response;
use bytes::Bytes;
use std::borrow::Cow;
use std::io::{Error, ErrorKind};
use std::net::IpAddr;

/// Longest text of another party in a cause, in characters, such as a redirect's target. A longer one is cut.
const TEXT_CHARS_MAX: usize = 200;

/// Declares an enum of causes, each with three expressions: its name, a clause that completes "Plausible is away: …", and
/// its remedy.
macro_rules! causes {
    (
        $(#[$about:meta])+
        pub enum $Name:ident {$(
            $(#[$help:meta])+
            $variant:ident $(($($field:ident: $type:ty),+))? = $name:expr, $says:expr, $advice:expr;
        )+}
    ) => {
        $(#[$about])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $Name {$(
            $(#[$help])+
            $variant $(($($type),+))?,
        )+}

        impl $Name {
            /// A short name from a closed list, for log fields and health.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant $(($($field),+))? => { $($(let _ = $field;)+)? $name })+
                }
            }

            /// The remedy.
            pub fn advice(&self) -> Cow<'static, str> {
                match self {
                    $(Self::$variant $(($($field),+))? => { $($(let _ = $field;)+)? $advice.into() })+
                }
            }
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let says: Cow<'_, str> = match self {
                    $(Self::$variant $(($($field),+))? => { $($(let _ = $field;)+)? $says.into() })+
                };
                f.write_str(&says)
            }
        }
    };
}

use causes;

causes! {
    /// Why a request was not taken.
    pub enum Cause {
        /// DNS knows no such name, or no address for it.
        NameUnknown(host: String) = "name_unknown",
            format!("DNS has no address for {host}"),
            "check the host in `upstream.url`, and that DNS on this machine, or in this container, resolves it";
        /// DNS could not be asked, or did not answer in time.
        NameServer(host: String) = "name_server",
            format!("DNS did not answer for {host}"),
            "check this machine's DNS servers, in /etc/resolv.conf";
        /// No process listens on the port.
        Refused = "refused",
            "the connection was refused: no process listens on that port",
            "start Plausible, or correct the port in `upstream.url`";
        /// There is no route to the address.
        NoRoute = "no_route",
            "there is no route to the address",
            "check this machine's network and routes to the host in `upstream.url`";
        /// A firewall on this machine forbids it.
        Blocked = "blocked",
            "a firewall on this machine blocks the connection",
            "allow the relay's outgoing connections in this machine's firewall";
        /// No answer to the attempt to connect.
        ConnectTimedOut = "connect_timed_out",
            "the connection attempt timed out",
            "a firewall in between may drop the packets, or the host is down; if this network needs a proxy, set \
             `upstream.proxy`";
        /// The operating system refused, with its error code if there is one.
        System(code: Option<i32>) = "system",
            match code {
                None => "the operating system refused the connection".to_owned(),
                Some(code) => format!("cannot connect: {}", Error::from_raw_os_error(*code)),
            },
            "check the limits of this machine, such as open files and local ports";
        /// Several addresses were tried, and they failed for different reasons.
        Addresses(tried: Vec<(IpAddr, Cause)>) = first(tried).name(),
            tried.iter().map(|(address, cause)| format!("{address}: {cause}")).collect::<Vec<_>>().join("; "),
            first(tried).advice();
        /// The proxy on the way, with its address, cannot be reached, or does not let the relay through.
        Proxy(proxy: String, cause: Box<Cause>) = match **cause {
                Cause::ProxyLogin | Cause::ProxyRefused(_) => cause.name(),
                _ => "proxy",
            },
            format!("the proxy {proxy}: {cause}"),
            match **cause {
                Cause::ProxyLogin | Cause::ProxyRefused(_) => cause.advice(),
                Cause::Certificate(_) => "check the proxy's certificate; a CA that the system does not know goes \
                    into `upstream.ca_file`".into(),
                _ => "check the proxy's address: `doctor` says whether `upstream.proxy` or the environment names \
                    it".into(),
            };
        /// The proxy requires credentials (407), or does not accept those it was sent.
        ProxyLogin = "proxy_login",
            "it requires authentication (407)",
            "write the credentials into the proxy's address, as in \"http://user:password@proxy:3128\"";
        /// The proxy answers CONNECT with this status.
        ProxyRefused(status: u16) = "proxy_refused",
            match status {
                502..=504 => format!("it cannot reach Plausible ({status})"),
                _ => format!("it refuses to connect to Plausible ({status})"),
            },
            match status {
                502..=504 => "check the host in `upstream.url` as the proxy's network knows it; a host that needs no \
                    proxy goes into NO_PROXY",
                _ => "configure the proxy to allow CONNECT to the host and port in `upstream.url`",
            };
        /// The certificate is not accepted.
        Certificate(certificate: Certificate) = certificate.name(), certificate.to_string(), certificate.advice();
        /// The port does not speak TLS.
        NoTls = "no_tls",
            "the port does not speak TLS",
            "write the port that speaks TLS in `upstream.url`, or http:// if the server has none; behind a proxy, check \
             that the proxy really connects there";
        /// The port expects TLS and was sent plain HTTP.
        TlsPort = "tls_port",
            "the port expects TLS, and `upstream.url` says http",
            "write https:// in `upstream.url`";
        /// The connection closed during the TLS handshake.
        TlsClosed = "tls_closed",
            "the server closed the connection during the TLS handshake",
            "check that the port in `upstream.url` speaks TLS, and the server's own log";
        /// The TLS handshake took too long.
        TlsTimedOut = "tls_timed_out",
            "the TLS handshake timed out",
            "check that the port in `upstream.url` speaks TLS, and that the server is not overloaded";
        /// No TLS version or cipher is spoken by both sides.
        TlsVersion = "tls_version",
            "the server supports no TLS version or cipher that the relay accepts",
            "enable TLS 1.2 or 1.3 on the server";
        /// The server requires a client certificate, or does not accept the one it was shown.
        ClientCertificate = "client_certificate",
            "the server requires a client certificate, or does not accept the relay's",
            "set `upstream.client_cert_file` and `upstream.client_key_file` to a pair that the server accepts";
        /// Another failure of TLS, as rustls words it.
        Tls(error: String) = "tls",
            format!("the TLS handshake failed: {error}"),
            "check the server's TLS settings and its own log";
        /// The connection broke before any of the request was written.
        BrokenBefore = "broken_before", "the connection broke before the request was sent", BROKEN;
        /// At least a part was sent, and the connection broke before an answer arrived.
        BrokenAfter = "broken_after", "the connection broke before an answer arrived", BROKEN;
        /// It was sent, and no answer came in time.
        AnswerTimedOut = "answer_timed_out",
            "no answer came in time",
            "check that Plausible and its databases are not overloaded; `upstream.timeout_s` is how long the relay waits";
        /// It was sent, and the bytes that came back are not HTTP.
        NotHttp = "not_http",
            "the server does not speak HTTP/1.1",
            "check the port in `upstream.url`: another service listens there";
        /// Answered with a redirect, to this address without its query if it names one.
        Redirect(to: Option<String>) = "redirect",
            match to {
                Some(to) => format!("the server redirects to {to}"),
                None => "the server redirects without a usable target".to_owned(),
            },
            match to {
                Some(to) => move_to(to),
                None => "set `upstream.url` to Plausible's own address".to_owned(),
            };
        /// Answered with a web page.
        Page(status: u16) = "page",
            format!("the server answers with a web page ({status})"),
            "check `upstream.url`: it must be Plausible's own address, with its path if it has one";
        /// Answered with a page on which to log in.
        LoginPage(status: u16) = "login_page", format!("the server answers with a login page ({status})"), LOGIN;
        /// Answered 401: credentials are missing or wrong.
        LoginNeeded = "login_needed", "the server requires authentication (401)", LOGIN;
        /// Answered 403.
        Forbidden = "forbidden",
            "the server forbids the request (403)",
            "check the firewall or access rules in front of Plausible; `upstream.headers_file` can carry a service token";
        /// Answered that nothing is there.
        NothingThere(status: u16) = "nothing_there",
            format!("the server has no events API at this path ({status})"),
            OTHER_SERVER;
        /// Answered in JSON, but not as Plausible does.
        OtherApi(status: u16) = "other_api",
            format!("a JSON API answers, but not Plausible's ({status})"),
            OTHER_SERVER;
        /// The network wants a login first (511).
        NetworkLogin = "network_login",
            "the network requires a login before it lets requests out (511)",
            "log this machine in to its network, or have the network exempt it";
        /// A gateway in front of Plausible does not reach it (502, 504).
        Gateway(status: u16) = "gateway",
            format!("the gateway in front of Plausible cannot reach it ({status})"),
            "check that Plausible runs, and the gateway's own log";
        /// Answered that it cannot now (408, 429, 5xx).
        Busy(status: u16) = "busy",
            format!("the server reports that it cannot take requests now ({status})"),
            "check Plausible's own log: its databases must be running";
        /// Answered with another status than Plausible's.
        Status(status: u16) = "status",
            format!("the server answers {status}, a status that Plausible never sends"),
            OTHER_SERVER;
    }
}

const BROKEN: &str = "check the log of the server and of any gateway in between; a server that expects TLS closes plain \
                      HTTP like this";
const LOGIN: &str = "exempt /api/event from the login in front of Plausible, or put the credentials into \
                     `upstream.headers_file`";
const OTHER_SERVER: &str = "check `upstream.url`, its path included, and which server answers there";

/// The most informative of the causes at several addresses.
fn first(tried: &[(IpAddr, Cause)]) -> &Cause {
    tried.first().map_or(&Cause::NoRoute, |(_, cause)| cause)
}

/// A redirect of the events API names the address to configure; any other leads to a login or a page.
fn move_to(to: &str) -> String {
    match to.strip_suffix("/api/event") {
        Some(base) => format!(
            "set `upstream.url` to \"{base}\": the relay does not follow redirects, because \
            they can lose the event"
        ),
        None => "set `upstream.url` to Plausible's own address; if the redirect leads to a login, exempt \
            /api/event from it"
            .to_owned(),
    }
}

impl Cause {
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

    /// The cause of the failed attempts at all addresses of a host: the one they share, or all of them, the most
    /// informative first.
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
