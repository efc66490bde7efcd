//! Names that the relay compares with the values that browsers send: origins and the domains of sites. They are
//! stored in the one spelling that browsers and Plausible use. An ambiguous spelling is refused, with a suggestion.

use crate::config::toml::Table;
use url::Url;

/// Longest domain, in bytes, as in DNS. A longer one is a mistake.
const DOMAIN_BYTES_MAX: usize = 253;
/// Longest origin, in bytes: a domain, a scheme and a port. A longer one is a mistake.
pub(crate) const ORIGIN_BYTES_MAX: usize = DOMAIN_BYTES_MAX + 14;

/// An origin, as browsers write it in the `Origin` header: lower case, punycode, no default port.
///
/// # Errors
/// Why no browser sends this, and a correct spelling.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    let origin = http_address(text)
        .and_then(|url| only_origin(&url))
        .map_err(|why| format!("{text:?} {why}"))?;
    match origin.len() > ORIGIN_BYTES_MAX {
        true => Err(format!("one of them has more than {ORIGIN_BYTES_MAX} bytes")),
        false => Ok(origin),
    }
}

const WILDCARD: &str = "has a wildcard, and browsers send no wildcards; list each origin separately";

/// Parses an http or https address. The error completes a sentence that begins with the text.
fn http_address(text: &str) -> Result<Url, String> {
    if text.eq_ignore_ascii_case("null") {
        return Err(
            "is the origin of local files and sandboxed frames of any site; serve the page from an address"
                .into(),
        );
    }
    if text.contains('*') {
        return Err(WILDCARD.into());
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(
            "has a character that an origin cannot have; write one such as \"https://panel.example.com\""
                .into(),
        );
    }
    let Some((scheme, _)) = text.split_once("://") else {
        let meant = Url::parse(&format!("https://{text}"));
        return Err(meant.map_or_else(
            |_| "has no scheme; write one such as \"https://panel.example.com\"".into(),
            |url| format!("has no scheme; write \"{}\"", url.origin().ascii_serialization()),
        ));
    };
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err("is not http or https, and only http and https pages can send events".into());
    }
    Url::parse(text).map_err(|why| format!("is not a valid address: {why}"))
}

/// The origin of an address that is nothing else.
fn only_origin(url: &Url) -> Result<String, String> {
    let origin = url.origin().ascii_serialization();
    let rest = [
        url.username(),
        url.password().unwrap_or_default(),
        url.path().trim_start_matches('/'),
    ];
    if rest.iter().any(|part| !part.is_empty()) || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("has more than scheme, host and port; write \"{origin}\""));
    }
    let host = url.host_str().unwrap_or_default();
    if host.contains('*') {
        return Err(WILDCARD.into());
    }
    if host.starts_with('.') || host.contains("..") {
        return Err("has an empty label in its host; list each origin in full".into());
    }
    if host.ends_with('.') {
        let without = without_final_dot(url);
        return Err(format!("has a dot at the end of its host; write \"{without}\""));
    }
    Ok(origin)
}

fn without_final_dot(url: &Url) -> String {
    let mut url = url.clone();
    let host = url
        .host_str()
        .unwrap_or_default()
        .trim_end_matches('.')
        .to_owned();
    // A host without its final dots is still valid; otherwise the suggestion is the original text.
    let _ = url.set_host(Some(&host));
    url.origin().ascii_serialization()
}

/// Reads the domain of a site. `None` if the key is missing, or wrong, which is recorded.
pub(super) fn read_domain(section: &Table<'_>, key: &str) -> Option<String> {
    domain(&section.text(key)?)
        .map_err(|why| section.mistake(key, format!("is wrong: {why}")))
        .ok()
}

/// A site's domain, as Plausible spells it: Plausible stores names in lower case, looks them up exactly, and strips a
/// leading `www.` from the domain that trackers send (contract a.3).
///
/// # Errors
/// The problem, and a correct spelling.
fn domain(text: &str) -> Result<String, String> {
    let name = text.trim().trim_end_matches('/').to_ascii_lowercase();
    if is_domain(&name) {
        return Ok(name);
    }
    if name.contains(',') {
        return Err(format!(
            "{text:?} is a list; write a separate [[site]] for each site"
        ));
    }
    match meant(&name).filter(|meant| is_domain(meant)) {
        Some(meant) => Err(format!(
            "{text:?} is not the name that events give the site; write \"{meant}\", and give the site that name in \
             Plausible"
        )),
        None => Err(format!(
            "{text:?} is not a domain; write one such as \"panel.example.com\""
        )),
    }
}

fn is_domain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._/".contains(c);
    name.len() <= DOMAIN_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(plain)
        && !name.contains("//")
        && !name.contains("..")
        && !name.starts_with("www.")
}

/// The domain that an operator meant by an address, a port, an umlaut or the like.
fn meant(name: &str) -> Option<String> {
    let bare = name.split_once("://").map_or(name, |(_, rest)| rest);
    let url = Url::parse(&format!("https://{bare}")).ok()?;
    let host = url.host_str()?.trim_end_matches('.');
    let host = host.strip_prefix("www.").unwrap_or(host);
    Some(format!("{host}{}", url.path().trim_end_matches('/')))
}

/// The origin of a site's pages, unless the operator lists others.
pub(super) fn origin_of(domain: &str) -> String {
    // A site can be a folder of its host.
    let host = domain.split('/').next().unwrap_or(domain);
    format!("https://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_kept_as_browsers_send_them() {
        let check = |text: &str, want: &str| assert_eq!(origin(text).as_deref(), Ok(want), "{text}");
        check("https://panel.example.com", "https://panel.example.com");
        check("https://panel.example.com/", "https://panel.example.com");
        check("https://panel.example.com//", "https://panel.example.com");
        check(" https://panel.example.com ", "https://panel.example.com");
        check("HTTPS://Panel.Example.COM", "https://panel.example.com");
        check("https://panel.example.com:443", "https://panel.example.com");
        check("http://panel.example.com:80", "http://panel.example.com");
        check("https://panel.example.com:", "https://panel.example.com");
        check("https://panel.example.com:0443", "https://panel.example.com");
        check("https://panel.example.com:80", "https://panel.example.com:80");
        check("http://panel.example.com:443", "http://panel.example.com:443");
        check(
            "https://panel.example.com:8443/",
            "https://panel.example.com:8443",
        );
        check("https://müller.example", "https://xn--mller-kva.example");
        check("https://MÜLLER.example", "https://xn--mller-kva.example");
        check("https://mu\u{308}ller.example", "https://xn--mller-kva.example");
        check("https://xn--mller-kva.example", "https://xn--mller-kva.example");
        check("https://straße.example", "https://xn--strae-oqa.example");
        check("https://例え.jp:443", "https://xn--r8jz45g.jp");
        check("https://panel。example", "https://panel.example");
        check("https://ex%61mple.com", "https://example.com");
        check("http://localhost:3000", "http://localhost:3000");
        check("http://127.0.0.1:8080", "http://127.0.0.1:8080");
        check("http://127.1", "http://127.0.0.1");
        check("http://[::1]:8080", "http://[::1]:8080");
        check("https://[2001:DB8:0:0::7]:443", "https://[2001:db8::7]");
        check("https://[::ffff:192.0.2.1]", "https://[::ffff:c000:201]");
        check("https://my_panel.example.com", "https://my_panel.example.com");
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_refused_with_what_to_write() {
        let check = |text: &str, want: &str| {
            let why = origin(text).expect_err(text);
            assert!(why.contains(want), "{text}: {why}");
        };
        check("null", "serve the page from an address");
        check("*", "list each origin");
        check("https://*.example.com", "list each origin");
        check("https://panel.example.com:*", "list each origin");
        check("https://%2a.example.com", "list each origin");
        check("https://.example.com", "list each origin");
        check("https://panel..example.com", "list each origin");
        check("panel.example.com", "write \"https://panel.example.com\"");
        check(
            "panel.example.com:8443",
            "write \"https://panel.example.com:8443\"",
        );
        check("Müller.example", "write \"https://xn--mller-kva.example\"");
        check("//panel.example.com", "has no scheme");
        check("https:panel.example.com", "has no scheme");
        check("", "has no scheme");
        check(
            "https://panel.example.com/app",
            "write \"https://panel.example.com\"",
        );
        check(
            "https://panel.example.com:443/#/home",
            "write \"https://panel.example.com\"",
        );
        check(
            "https://panel.example.com?x=1",
            "write \"https://panel.example.com\"",
        );
        check(
            "https://panel.example.com#",
            "write \"https://panel.example.com\"",
        );
        check(
            "https://user@panel.example.com",
            "write \"https://panel.example.com\"",
        );
        check(
            "https://panel.example.com.",
            "write \"https://panel.example.com\"",
        );
        check(
            "https://panel.example.com.:8443",
            "write \"https://panel.example.com:8443\"",
        );
        check("ftp://panel.example.com", "http or https");
        check("file:///panel.html", "http or https");
        check("chrome-extension://abcdef", "http or https");
        check("https://", "is not a valid address");
        check("https://panel.example.com:99999", "is not a valid address");
        check("https://panel.example.com:https", "is not a valid address");
        check("https://[::1", "is not a valid address");
        check("https://::1", "is not a valid address");
        check("https://xn--a.example", "is not a valid address");
        check("https://panel example.com", "a character");
        check("https://panel.example.com, https://b.example", "a character");
        check("https:\\\\panel.example.com", "a character");
        check("https://pa\tnel.example.com", "a character");
        check(
            &format!("https://{}.example", "x".repeat(300)),
            "more than 267 bytes",
        );
    }

    #[test]
    fn domains_are_kept_as_plausible_spells_them() {
        let check = |text: &str, want: &str| assert_eq!(domain(text).as_deref(), Ok(want), "{text}");
        check("panel.example.com", "panel.example.com");
        check("Panel.Example.COM", "panel.example.com");
        check(" panel.example.com ", "panel.example.com");
        check("panel.example.com/", "panel.example.com");
        check("example.com/blog/", "example.com/blog");
        check("localhost", "localhost");
        check("192.0.2.1", "192.0.2.1");
        check("xn--mller-kva.example", "xn--mller-kva.example");
        check("wwwx.example", "wwwx.example");
    }

    #[test]
    fn a_domain_that_no_event_names_is_refused_with_what_to_write() {
        let check = |text: &str, want: &str| {
            let why = domain(text).expect_err(text);
            assert!(why.contains(want), "{text}: {why}");
        };
        check("www.panel.example.com", "write \"panel.example.com\"");
        check("WWW.panel.example.com", "write \"panel.example.com\"");
        check("https://panel.example.com", "write \"panel.example.com\"");
        check("https://www.panel.example.com/", "write \"panel.example.com\"");
        check(
            "http://panel.example.com:8080/blog",
            "write \"panel.example.com/blog\"",
        );
        check("panel.example.com:443", "write \"panel.example.com\"");
        check("panel.example.com.", "write \"panel.example.com\"");
        check("müller.example", "write \"xn--mller-kva.example\"");
        check("MÜLLER.example", "write \"xn--mller-kva.example\"");
        check("panel.example.com?x", "write \"panel.example.com\"");
        check("a.example,b.example", "a separate [[site]] for each site");
        check("*.example.com", "is not a domain");
        check("", "is not a domain");
        check(".", "is not a domain");
        check("/", "is not a domain");
        check("two words", "is not a domain");
        check(&"x".repeat(254), "is not a domain");
    }

    #[test]
    fn the_origin_of_a_site_is_that_of_its_host() {
        let check = |domain: &str, want: &str| assert_eq!(origin_of(domain), want);
        check("panel.example.com", "https://panel.example.com");
        check("example.com/blog", "https://example.com");
    }
}
