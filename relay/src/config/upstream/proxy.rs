//! The proxy for Plausible: from `upstream.proxy`, otherwise from the environment.
//!
//! hyper-util's matcher for these variables ignores an invalid value and does not support ports in `NO_PROXY`. Here a
//! mistyped proxy must not mean "direct to the internet", so it is a configuration mistake.

use crate::config::Env;
use crate::config::toml::Table;
use axum::http::{HeaderValue, Uri};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

const KEY: &str = "proxy";
const WANTED: &str = "the address of an http or https proxy, such as \"http://proxy.example.com:3128\"";

/// The route to Plausible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Without a proxy.
    Direct(Direct),
    /// Through a proxy.
    Proxy(Proxy, ProxySource),
}

/// Why there is no proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direct {
    /// Neither the setting nor the environment names one.
    NoneNamed,
    /// `upstream.proxy` is empty.
    Setting,
    /// This entry of `NO_PROXY` exempts the host.
    NoProxy(String),
    /// The host is this machine, and the environment's proxies apply only to others.
    Loopback,
}

/// The setting or variable that names the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxySource {
    /// `upstream.proxy`.
    Setting,
    /// An environment variable.
    Variable(&'static str),
}

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Whether the connection to the proxy itself uses TLS.
    pub is_tls: bool,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The credentials, as the value of `Proxy-Authorization`.
    pub authorization: Option<HeaderValue>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Without its credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy(proxy, ProxySource::Setting) => write!(f, "the proxy {proxy}, from `upstream.proxy`"),
            Self::Proxy(proxy, ProxySource::Variable(name)) => write!(f, "the proxy {proxy}, from {name}"),
            Self::Direct(Direct::NoneNamed) => {
                f.write_str("no proxy: neither `upstream.proxy` nor a variable such as HTTPS_PROXY is set")
            }
            Self::Direct(Direct::Setting) => f.write_str("no proxy: `upstream.proxy` is empty"),
            Self::Direct(Direct::NoProxy(entry)) => {
                write!(f, "no proxy: the entry \"{entry}\" of NO_PROXY exempts the host")
            }
            Self::Direct(Direct::Loopback) => f.write_str(
                "no proxy: the host is this machine, for which the environment's proxies are not used",
            ),
        }
    }
}

impl Way {
    /// Reads the section and the environment, for an upstream at this address.
    pub(super) fn read(section: &Table<'_>, env: Env<'_>, url: &str) -> Self {
        if section.has(KEY) {
            let setting = section.parsed(KEY, &format!("{WANTED}, or empty for none"), |text| match text {
                "" => Some(Self::Direct(Direct::Setting)),
                text => Some(Self::Proxy(parse(text)?, ProxySource::Setting)),
            });
            return setting.unwrap_or(Self::Direct(Direct::Setting));
        }
        Self::of_environment(env, url).unwrap_or_else(|name| {
            let why = format!(
                "is taken from the environment variable {name}, which must be {WANTED}; \
                 write `proxy = \"\"` for no proxy"
            );
            section.mistake(KEY, why);
            Self::Direct(Direct::NoneNamed)
        })
    }

    /// The route that the environment selects, or the name of an invalid variable.
    fn of_environment(env: Env<'_>, url: &str) -> Result<Self, &'static str> {
        let variables = match url.starts_with("https:") {
            true => ["https_proxy", "HTTPS_PROXY"],
            false => ["http_proxy", "HTTP_PROXY"],
        };
        let first = |names: [&'static str; 2]| {
            let set = |name| Some((name, env(name).filter(|text| !text.trim().is_empty())?));
            names.into_iter().find_map(set)
        };
        let Some((name, text)) = first(variables) else {
            return Ok(Self::Direct(Direct::NoneNamed));
        };
        // The configuration has already checked the address.
        let Some((host, port)) = host_and_port(url) else {
            return Ok(Self::Direct(Direct::NoneNamed));
        };
        if is_this_machine(&host) {
            return Ok(Self::Direct(Direct::Loopback));
        }
        if let Some((_, list)) = first(["no_proxy", "NO_PROXY"]) {
            let mut entries = list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
            if let Some(entry) = entries.find(|entry| exempts(entry, &host, port)) {
                return Ok(Self::Direct(Direct::NoProxy(entry.to_owned())));
            }
        }
        let proxy = parse(text.trim()).ok_or(name)?;
        Ok(Self::Proxy(proxy, ProxySource::Variable(name)))
    }
}

fn host_and_port(url: &str) -> Option<(String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let standard = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let host = uri.host()?.trim_matches(['[', ']']).trim_end_matches('.');
    Some((host.to_ascii_lowercase(), uri.port_u16().unwrap_or(standard)))
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Parses a proxy's address; without a scheme it is http, as in other programs.
fn parse(text: &str) -> Option<Proxy> {
    let text = match text.contains("://") {
        true => text.to_owned(),
        false => format!("http://{text}"),
    };
    let (scheme, rest) = text.split_once("://")?;
    let is_tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    // The last `@`: a password may contain an unescaped one.
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let uri: Uri = format!("http://{host}").parse().ok()?;
    has_good_port(&uri).then_some(())?;
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    (matches!(path, "" | "/") && !host.is_empty()).then_some(())?;
    Some(Proxy {
        is_tls,
        host,
        port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
        authorization: match user {
            Some(user) => Some(basic(user)?),
            None => None,
        },
    })
}

/// Whether the port of an address is valid, if there is one: `Uri` treats 70000 as no port at all.
pub(super) fn has_good_port(uri: &Uri) -> bool {
    uri.port_u16().is_some() || uri.authority().map(|authority| authority.as_str()) == uri.host()
}

/// The credentials before the `@`, as basic authentication (RFC 7617).
fn basic(user: &str) -> Option<HeaderValue> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let mut plain = unescaped(name)?;
    plain.push(b':');
    plain.extend(unescaped(password)?);
    let mut value = HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(plain))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Decodes percent escapes. `None` for an invalid escape.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|d| u8::try_from(d).ok());
        plain.push(match byte {
            b'%' => digit(bytes.next())? * 16 + digit(bytes.next())?,
            byte => byte,
        });
    }
    Some(plain)
}

/// Whether an entry of `NO_PROXY` exempts a host: `*`, an address or a block of addresses, or a domain with all its
/// subdomains, each with or without a port.
fn exempts(entry: &str, host: &str, port: u16) -> bool {
    let (name, of_port) = split_port(entry);
    if of_port.is_some_and(|of_port| of_port != port) {
        return false;
    }
    if name == "*" {
        return true;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return match (name.parse::<IpAddr>(), name.parse::<IpNet>()) {
            (Ok(entry), _) => entry == address,
            (_, Ok(block)) => block.contains(&address),
            _ => false,
        };
    }
    let name = name.strip_prefix('*').unwrap_or(name);
    let domain = name.trim_matches('.').to_ascii_lowercase();
    let below = host.strip_suffix(domain.as_str());
    !domain.is_empty() && below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
}

/// `host:port`, `[address]:port` or no port. More than one colon without brackets is an IPv6 address.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.split_once(':') {
        Some((name, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

#[cfg(test)]
mod tests;
