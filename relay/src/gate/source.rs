//! The source of a request, as its headers describe it: a page of the site, or a tool.
//!
//! Browsers do not let a page choose `Origin`, `Sec-Fetch-Site` and `Sec-Fetch-Mode`; other programs can send any value.
//! These rules therefore keep out foreign pages, and scripts that do not even pretend. They do not authenticate.

use super::page_token::{Age, PageTokens};
use crate::clock::Clock;
use crate::config::{Config, Tool};
use crate::hidden::hidden_debug;
use crate::switch::Site;
use relay_event::Outcome;
use std::sync::Arc;

/// The origin that a page token is bound to if the browser says that the page is on the relay's own origin, and a proxy
/// hides which one that is. It is valid with `Sec-Fetch-Site: same-origin` only.
const SAME_ORIGIN: &str = "same-origin";

/// A header that a browser sends at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Once<'r> {
    /// It is missing.
    #[default]
    Absent,
    /// Its only value.
    Value(&'r str),
    /// It was sent twice, or is not text.
    Unclear,
}

/// The format of a request's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A batch of the relay's module.
    #[default]
    Batch,
    /// Plausible's, as its trackers send it. They cannot carry a page token.
    Tracker,
}

/// The bearer token of a request.
#[derive(Clone, Debug, Default)]
pub enum Bearer {
    /// There is none.
    #[default]
    Absent,
    /// It belongs to no configured tool. A gateway may add a token of its own to requests of pages, so this is no error.
    Unknown,
    /// A tool's.
    Tool(Arc<Tool>),
}

/// The headers and fields of a request that describe its source. In memory only.
#[derive(Clone, Default)]
pub struct Source<'r> {
    /// `Origin`.
    pub origin: Once<'r>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Once<'r>,
    /// `Sec-Fetch-Mode`.
    pub fetch_mode: Once<'r>,
    /// The hosts, each with its port if it is not the default, at which the browser may have reached the relay: `Host`, and
    /// from a trusted proxy `X-Forwarded-Host`.
    pub hosts: Vec<&'r str>,
    /// `Authorization: Bearer`.
    pub bearer: Bearer,
    /// The format of its events.
    pub format: Format,
    /// The page token in the batch.
    pub page_token: Option<String>,
}

hidden_debug!(Source<'_>);

/// The source of a request, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub enum From<'a> {
    /// A page of this origin of the site. `None` if the request names none and none is required.
    Page(Option<&'a str>),
    /// A tool.
    Tool(&'a Tool),
}

/// The rules for who may send events: pages of a site's origins, and tools.
#[derive(Debug)]
pub struct SourceRules {
    /// Whether a request without `Origin` is refused.
    require_origin: bool,
    /// Whether a batch needs a page token.
    require_page_token: bool,
    /// Whether pages may send events in Plausible's format.
    trackers: bool,
    tokens: PageTokens,
}

impl SourceRules {
    /// Uses the configuration's rules and a fresh key for page tokens.
    pub fn new(config: &Config, clock: &Clock) -> Self {
        Self {
            require_origin: config.public.require_origin,
            require_page_token: config.public.require_page_token,
            trackers: config.public.trackers,
            tokens: PageTokens::new(clock),
        }
    }

    /// Determines the source of a request for a site.
    ///
    /// # Errors
    /// The outcome of all its events.
    pub fn judge<'a>(&self, site: &'a Site, source: &'a Source<'_>) -> Result<From<'a>, Outcome> {
        if let Bearer::Tool(tool) = &source.bearer {
            return match tool.may_send_for(&site.domain) {
                true => Ok(From::Tool(tool)),
                false => Err(Outcome::ToolToken),
            };
        }
        if source.format == Format::Tracker && !self.trackers {
            return Err(Outcome::TrackersClosed);
        }
        let origin = origin(source, &site.origins, self.require_origin);
        origin.map(From::Page).map_err(|why| match (&source.bearer, why) {
            (Bearer::Unknown, Outcome::NoOrigin) => Outcome::ToolToken,
            _ => why,
        })
    }

    /// Checks the page token of a request whose source is known, if it needs one.
    ///
    /// # Errors
    /// `PageToken`.
    pub fn check_page_token(&self, site: &Site, source: &Source<'_>, from: From<'_>) -> Result<(), Outcome> {
        match from {
            From::Page(origin) if self.needs_page_token(source) => match self.age(site, source, origin) {
                Some(_) => Ok(()),
                None => Err(Outcome::PageToken),
            },
            From::Page(_) | From::Tool(_) => Ok(()),
        }
    }

    /// A page token for the sender of a request, if it is a page of the site that needs one and has no current one.
    pub fn renew(&self, site: &Site, source: &Source<'_>) -> Option<String> {
        if !self.needs_page_token(source) || matches!(source.bearer, Bearer::Tool(_)) {
            return None;
        }
        let origin = origin(source, &site.origins, true).ok()??;
        let is_current = self.age(site, source, Some(origin)) == Some(Age::Current);
        (!is_current).then(|| self.tokens.issue(&site.domain, origin))
    }

    /// The page token for a page that requests the configuration. With a `GET` to the page's own origin, browsers send no
    /// `Origin`; they send `Sec-Fetch-Site: same-origin` or, in a page without TLS, only the `Referer`.
    pub fn first(&self, site: &Site, source: &Source<'_>, referer: Option<&str>) -> Option<String> {
        if !self.require_page_token {
            return None;
        }
        let origin = match (origin(source, &site.origins, true), fetch_site(source)) {
            (Ok(origin), _) => origin?,
            (Err(Outcome::NoOrigin), Some("same-origin")) => SAME_ORIGIN,
            (Err(Outcome::NoOrigin), None) => {
                let is_below = |origin: &&String| {
                    let rest = referer.and_then(|referer| referer.strip_prefix(origin.as_str()));
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                site.origins.iter().find(is_below)?
            }
            (Err(_), _) => return None,
        };
        Some(self.tokens.issue(&site.domain, origin))
    }

    fn needs_page_token(&self, source: &Source<'_>) -> bool {
        self.require_page_token && source.format == Format::Batch
    }

    /// The age of the request's page token. Without an origin, which is allowed if none is required, a token of any of the
    /// site's origins is valid.
    fn age(&self, site: &Site, source: &Source<'_>, origin: Option<&str>) -> Option<Age> {
        let token = source.page_token.as_deref()?;
        let check = |origin: &str| self.tokens.check(token, &site.domain, origin);
        match origin {
            Some(origin) if fetch_site(source) == Some("same-origin") => {
                check(origin).or_else(|| check(SAME_ORIGIN))
            }
            Some(origin) => check(origin),
            None => site.origins.iter().find_map(|origin| check(origin)),
        }
    }
}

fn fetch_site<'r>(source: &Source<'r>) -> Option<&'r str> {
    match &source.fetch_site {
        Once::Value(value) => Some(value),
        _ => None,
    }
}

/// Finds the origin, one of the site's, of the page that a request comes from. `None` if the request names no page and
/// `required` is not set. ADR 0021 has the reasons, and the headers that each browser sends.
///
/// # Errors
/// `NoOrigin`, `WrongOrigin`, or `FetchMetadata` if the browser's own headers contradict an event of a page.
fn origin<'o>(
    source: &Source<'_>,
    origins: &'o [String],
    required: bool,
) -> Result<Option<&'o str>, Outcome> {
    // Scripts send in these modes. A form of another page sends "navigate".
    match &source.fetch_mode {
        Once::Absent => {}
        Once::Value(mode) if ["cors", "no-cors", "same-origin"].contains(mode) => {}
        Once::Value(_) | Once::Unclear => return Err(Outcome::FetchMetadata),
    }
    // "none" is a request by the browser's user, not by a page.
    let is_page = match &source.fetch_site {
        Once::Absent => true,
        Once::Value(site) => ["same-origin", "same-site", "cross-site"].contains(site),
        Once::Unclear => false,
    };
    if !is_page {
        return Err(Outcome::FetchMetadata);
    }
    let says = |site| fetch_site(source) == Some(site);
    let is_here = |origin: &str| source.hosts.iter().any(|host| is_at(origin, host));
    let known = |sent: &str| origins.iter().find(|known| known.eq_ignore_ascii_case(sent));
    let missing = match &source.origin {
        Once::Value(sent) if *sent != "null" => {
            let origin = known(sent).ok_or(Outcome::WrongOrigin)?;
            // A page is never cross-site to its own host. It is same-site if the relay has another port of that host; many
            // proxies pass `Host` on without its port, so the two look alike.
            if says("cross-site") && is_here(origin) {
                return Err(Outcome::FetchMetadata);
            }
            return Ok(Some(origin));
        }
        Once::Value(_) | Once::Unclear => Outcome::WrongOrigin,
        Once::Absent => Outcome::NoOrigin,
    };
    // Browsers hide the origin under Referrer-Policy: no-referrer, in beacons and, in old versions, in all requests.
    if source.origin != Once::Unclear
        && says("same-origin")
        && let Some(origin) = origins.iter().find(|origin| is_here(origin))
    {
        return Ok(Some(origin));
    }
    let says_nothing = missing == Outcome::NoOrigin && fetch_site(source).is_none();
    match says_nothing && !required {
        true => Ok(None),
        false => Err(missing),
    }
}

/// Whether a host is that of an origin. Never for a plain http origin without a port: a proxy may serve the host by https
/// as well, and `Host` does not say which scheme a request used.
fn is_at(origin: &str, host: &str) -> bool {
    let (scheme, own) = origin.split_once("://").unwrap_or_default();
    let is_https = scheme.eq_ignore_ascii_case("https");
    let host = match is_https {
        true => host.strip_suffix(":443").unwrap_or(host),
        false => host,
    };
    let has_port = own.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    own.eq_ignore_ascii_case(host) && (is_https || has_port)
}

#[cfg(test)]
mod tests;
