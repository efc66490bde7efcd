//! Web addresses, split by hand: only the parts that coarsening needs. Accepts any text without failing.
//!
//! The `url` crate would be the library for this, but it adds 60 KB of tables to the guest and repairs malformed input;
//! here anything unusual simply has no host.

/// The parts of an address that coarsening looks at.
#[derive(Clone, Copy)]
pub struct Address<'a> {
    /// The scheme, as written.
    pub scheme: &'a str,
    /// The host without user info and port, as written.
    pub host: &'a str,
    /// The path, starting with a slash or empty.
    pub path: &'a str,
    /// The query, without the question mark.
    pub query: &'a str,
    /// The fragment, without the hash sign.
    pub fragment: &'a str,
}

impl std::fmt::Debug for Address<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Address(hidden)")
    }
}

impl<'a> Address<'a> {
    /// Splits an absolute `http` or `https` address. Anything else, or an address without a host, is `None`.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return None;
        }
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path_at = rest.find(['/', '\\']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        let host = host_of(authority)?;
        Some(Self {
            scheme,
            host,
            path,
            query,
            fragment,
        })
    }

    /// The route that the page shows: the hash route if there is one, else the path.
    pub fn route(&self) -> &'a str {
        let fragment = self.fragment.strip_prefix('!').unwrap_or(self.fragment);
        if fragment.starts_with('/') {
            fragment.split_once('?').map_or(fragment, |(route, _query)| route)
        } else {
            self.path
        }
    }
}

/// The host within `user:password@host:port`.
fn host_of(authority: &str) -> Option<&str> {
    let after_user = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = if after_user.starts_with('[') {
        &after_user[..=after_user.find(']')?]
    } else {
        after_user
            .split_once(':')
            .map_or(after_user, |(host, _port)| host)
    };
    (!host.is_empty()).then_some(host)
}

/// The page a visitor came from.
#[derive(Clone, Copy, Debug)]
pub enum Referrer<'a> {
    /// A page of the same host.
    Own,
    /// A page of another host.
    Foreign(Address<'a>),
}

impl<'a> Referrer<'a> {
    /// Reads a referrer. `None` for addresses of other schemes or without a host: Plausible treats an empty host as
    /// spam and drops the event (contract c.2).
    pub fn parse(referrer: &'a str, page: &str) -> Option<Self> {
        let from = Address::parse(referrer)?;
        let own = Address::parse(page).map_or("", |page| page.host);
        Some(if is_same_host(from.host, own) {
            Self::Own
        } else {
            Self::Foreign(from)
        })
    }
}

/// The part of a foreign page that may leave: its origin, if the host is a name. Hosts that are numbers or single words
/// identify private machines.
pub fn coarse_origin(page: &Address<'_>) -> Option<String> {
    coarse_host(page.host).map(|host| format!("{}://{host}/", page.scheme.to_ascii_lowercase()))
}

/// The part of an outbound link that may leave: `https://host/`, or nothing.
pub fn coarse_link(link: &str) -> Option<String> {
    let to = Address::parse(link)?;
    coarse_host(to.host).map(|host| format!("https://{host}/"))
}

/// The part of a file download that may leave: its extension, one to five lower-case letters or digits.
pub fn coarse_file(link: &str) -> Option<String> {
    let path = match Address::parse(link) {
        Some(to) => to.path,
        // A page may send the link as written in its markup, so it may be relative.
        None if link.starts_with('/') => link.split(['?', '#']).next().unwrap_or(""),
        None => "",
    };
    let file = path.rsplit('/').next().unwrap_or("");
    let (stem, extension) = file.rsplit_once('.')?;
    let plain = (1..=5).contains(&extension.len())
        && extension.bytes().all(|b| b.is_ascii_alphanumeric())
        && extension.bytes().any(|b| b.is_ascii_alphabetic());
    (plain && !stem.is_empty()).then(|| extension.to_ascii_lowercase())
}

/// Endings of private networks, which do not exist on the public internet.
#[rustfmt::skip]
const INTERNAL: &[&str] = &[
    "box", "corp", "home", "intern", "internal", "intranet", "lan", "local", "localdomain", "localhost",
];
/// Services that give each customer a host of its own: only the service may leave.
#[rustfmt::skip]
const TENANT_SERVICES: &[&str] = &[
    "atlassian.net", "auth0.com", "azurewebsites.net", "b2clogin.com", "blogspot.com", "dyndns.org", "freshdesk.com",
    "github.io", "gitlab.io", "herokuapp.com", "lightning.force.com", "my.salesforce.com", "netlify.app", "okta.com",
    "okta-emea.com", "onelogin.com", "onmicrosoft.com", "pages.dev", "personio.de", "service-now.com", "sharepoint.com",
    "slack.com", "vercel.app", "web.app", "wordpress.com", "workday.com", "zendesk.com",
];
/// Most digits in one label of a host that may leave.
const HOST_LABEL_DIGITS_MAX: usize = 4;
/// Longest host name and label, in bytes (RFC 1035, section 2.3.4). A longer one is rejected.
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A host name of at least two labels whose last is alphabetic, in lower case and ASCII. Labels in other scripts are
/// encoded as in DNS (RFC 5891, without its mapping of rare forms).
fn coarse_host(host: &str) -> Option<String> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.len() > HOST_BYTES_MAX {
        return None;
    }
    let labels: Option<Vec<String>> = host.split('.').map(coarse_label).collect();
    let labels = labels?;
    let last = labels.last()?;
    let is_name = last.starts_with("xn--") || last.bytes().all(|b| b.is_ascii_alphabetic());
    // A name in a private network identifies a private machine.
    if INTERNAL.contains(&last.as_str()) {
        return None;
    }
    let mut host = labels.join(".");
    let is_tenant = |service: &&&str| {
        host.strip_suffix(**service)
            .is_some_and(|tenant| tenant.ends_with('.'))
    };
    if let Some(service) = TENANT_SERVICES.iter().find(is_tenant) {
        host = (*service).to_owned();
    }
    // Encoding in ASCII makes a host longer.
    (labels.len() >= 2 && is_name && host.len() <= HOST_BYTES_MAX).then_some(host)
}

fn coarse_label(label: &str) -> Option<String> {
    let lower = label.to_lowercase();
    // A label with many digits is an account number or an id, not a name.
    let digits = match lower.starts_with("xn--") {
        // The digits of an encoded label encode positions of letters, and only a few occur in a row.
        true => lower.split(|c: char| !c.is_ascii_digit()).map(str::len).max(),
        false => Some(lower.chars().filter(|c| c.is_numeric()).count()),
    };
    let digits = digits.unwrap_or(0);
    let plain = |c: char| {
        c == '-'
            || if c.is_ascii() {
                c.is_ascii_alphanumeric()
            } else {
                c.is_alphanumeric()
            }
    };
    if lower.is_empty() || digits > HOST_LABEL_DIGITS_MAX || !lower.chars().all(plain) {
        return None;
    }
    let ascii = if lower.is_ascii() {
        lower
    } else {
        format!("xn--{}", idna::punycode::encode_str(&lower)?)
    };
    (ascii.len() <= LABEL_BYTES_MAX).then_some(ascii)
}

/// Whether Plausible treats two hosts as the same: case, a leading `www.` and a final dot are ignored.
pub fn is_same_host(one: &str, other: &str) -> bool {
    let bare = |host| {
        let host: &str = without_www(host);
        host.strip_suffix('.').unwrap_or(host)
    };
    bare(one).eq_ignore_ascii_case(bare(other))
}

fn without_www(host: &str) -> &str {
    match host.get(..4) {
        Some(www) if www.eq_ignore_ascii_case("www.") => &host[4..],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_shows_its_hash_route_or_its_path() {
        let check = |url: &str, route: Option<&str>| {
            assert_eq!(Address::parse(url).map(|a| a.route()), route, "{url}");
        };
        check("https://panel.example.com/#/w/acme/p/x", Some("/w/acme/p/x"));
        check("https://panel.example.com/app/#!/w/acme", Some("/w/acme"));
        check("https://panel.example.com/#/w/acme?token=1", Some("/w/acme"));
        check(
            "https://panel.example.com/docs/intro#chapter-2",
            Some("/docs/intro"),
        );
        check("https://panel.example.com/docs?q=a#", Some("/docs"));
        check("https://panel.example.com", Some(""));
        check("HTTPS://user:pw@panel.example.com:8443/x", Some("/x"));
        check("http://[2001:db8::1]:80/x", Some("/x"));
        check("file:///home/jane/x", None);
        check("javascript:alert(1)", None);
        check("/relative", None);
        check("https:///no-host", None);
        check("", None);
    }

    #[test]
    fn labels_are_encoded_as_rfc_3492_says() {
        let check = |label: &str, want: &str| {
            assert_eq!(coarse_label(label), Some(format!("xn--{want}")), "{label}");
        };
        check("bücher", "bcher-kva");
        check("münchen", "mnchen-3ya");
        check("faß", "fa-hia");
        check("他们为什么不说中文", "ihqwcrb4cv8a8dqg056pqjye");
        check("почемужеонинеговорятпорусски", "b1abfaaepdrnnbgefbadotcwatmq2g4l");
        check("3年b組金八先生", "3b-ww4c5e180e575a65lsy2b");
        check("点看", "3pxu8k");
    }

    fn origin(referrer: &str) -> Option<String> {
        match Referrer::parse(referrer, "https://panel.example.com/#/w/acme")? {
            Referrer::Own => Some("own".to_owned()),
            Referrer::Foreign(page) => coarse_origin(&page),
        }
    }

    #[test]
    fn a_referrer_is_an_own_page_or_a_foreign_origin_or_nothing() {
        let check =
            |referrer: &str, want: Option<&str>| assert_eq!(origin(referrer).as_deref(), want, "{referrer}");
        check(
            "https://Search.Example.org/results?q=jane#x",
            Some("https://search.example.org/"),
        );
        check(
            "http://user:pw@news.example.org:8080/a",
            Some("http://news.example.org/"),
        );
        check("https://panel.example.com/#/w/acme", Some("own"));
        check("https://www.Panel.example.com/x", Some("own"));
        check("https://panel.example.com.:8443/x", Some("own"));
        check("https://apanel.example.com/", Some("https://apanel.example.com/"));
        check("file:///home/jane/notes.html", None);
        check("android-app://com.example/", None);
        check("https://192.168.1.7/x", None);
        check("https://[2001:db8::1]/x", None);
        check("https://intranet/x", None);
        check("https://srv01.acme.lan/x", None);
        check("https://acme.okta.com/login", Some("https://okta.com/"));
        check("https://www.okta.example/", Some("https://www.okta.example/"));
        check("https://jane doe.example/", None);
        check("https://123456789012.signin.example.com/", None);
        check("https://550e8400-e29b-41d4-a716-446655440000.example.com/", None);
        check("https://Bücher.example/a", Some("https://xn--bcher-kva.example/"));
        check(
            "https://пример.испытание/",
            Some("https://xn--e1afmkfd.xn--80akhbyknj4f/"),
        );
        check("https://a\u{200b}b.example/", None);
        check(&format!("https://{}de/", "ä.".repeat(60)), None);
        check(
            "https://xn--bcher-kva.example/a",
            Some("https://xn--bcher-kva.example/"),
        );
        check("https://xn--4111111111111111.example/", None);
        check("", None);
    }

    #[test]
    fn links_keep_the_host_and_files_the_extension() {
        assert_eq!(
            coarse_link("https://docs.example.org/a/b?c=d").as_deref(),
            Some("https://docs.example.org/")
        );
        assert_eq!(coarse_link("mailto:jane@example.org"), None);
        let check = |file: &str, want: Option<&str>| assert_eq!(coarse_file(file).as_deref(), want, "{file}");
        check("https://x.example/a/Report-Jane.PDF", Some("pdf"));
        check("https://x.example/a/backup.tar.gz?sig=1", Some("gz"));
        check("https://x.example/a/report.2024", None);
        check("https://x.example/a/report", None);
        check("https://x.example/.env", None);
        check("/files/Report-Jane.PDF?x=a.b#c.d", Some("pdf"));
        check("/", None);
        check("report.pdf", None);
    }

    proptest! {
        #[test]
        fn coarsening_is_total_and_idempotent(text in "\\PC{0,80}", host in "[a-zA-Z0-9.@:\\[\\]äж-]{0,30}") {
            for referrer in [text.clone(), format!("https://{host}/{text}")] {
                if let Some(once) = origin(&referrer).filter(|once| once.starts_with("http")) {
                    prop_assert!(once.is_ascii());
                    prop_assert_eq!(origin(&once), Some(once.clone()));
                }
                let _ = (coarse_link(&referrer), coarse_file(&referrer));
            }
        }
    }
}
