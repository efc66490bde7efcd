//! Signs in a request that honest browsers do not show. Observed per request, never stored, and not linked to a
//! person.
//!
//! Each is a fact that can be checked with a browser's developer tools. None of them identifies a user, and a missing
//! one proves nothing: a program can copy a browser's headers.

use crate::metrics;

metrics::label! {
    /// Why events are suspicious. A request with several reasons counts under the first.
    pub enum Suspicion {
        /// A browser's User-Agent without `Origin` and `Sec-Fetch-Site`: browsers send Origin with every POST.
        NoOrigin = "no_origin",
        /// A browser's User-Agent and an `https` Origin without `Sec-Fetch-Site`, which that browser sends to every
        /// `https` address.
        NoFetchMetadata = "no_fetch_metadata",
        /// `Sec-CH-UA`, which only Chromium sends, beside the User-Agent of another browser.
        ClientHints = "client_hints",
        /// A new visitor of a client that has less than a quarter of its new visitors left.
        Crowd = "crowd",
        /// Events of a client that has less than a quarter of its events left.
        Busy = "busy",
    }
}

/// The headers to examine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head<'r> {
    /// `User-Agent`, empty when missing.
    pub user_agent: &'r str,
    /// `Origin`.
    pub origin: Option<&'r str>,
    /// Whether `Sec-Fetch-Site` is present.
    pub has_fetch_site: bool,
    /// Whether `Sec-CH-UA` is present.
    pub has_client_hint: bool,
}

impl Suspicion {
    /// Classifies a request by its head.
    pub fn of(head: Head<'_>) -> Option<Self> {
        if head.has_client_hint && !head.user_agent.contains("Chrome/") {
            return Some(Self::ClientHints);
        }
        if head.has_fetch_site || !sends_fetch_metadata(head.user_agent) {
            return None;
        }
        match head.origin {
            None => Some(Self::NoOrigin),
            // Browsers do not send them to an address without TLS, so a page without TLS shows nothing.
            Some(origin) => origin.starts_with("https://").then_some(Self::NoFetchMetadata),
        }
    }

    /// Whether no browser sends this request. The other reasons concern its client, which may be an office.
    pub const fn is_of_head(self) -> bool {
        !matches!(self, Self::Crowd | Self::Busy)
    }
}

/// Whether a User-Agent names a browser that sends `Sec-Fetch-…`: Chromium since 76, Firefox since 90, Safari since
/// 16.4. The versions checked are well above these, to avoid false positives.
fn sends_fetch_metadata(user_agent: &str) -> bool {
    let major = |product: &str| -> Option<u32> {
        let (_, version) = user_agent.split_once(product)?;
        let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    };
    let from = |product, first| major(product).is_some_and(|version| version >= first);
    from("Chrome/", 80) || from("Firefox/", 95) || (user_agent.contains("Safari/") && from("Version/", 17))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
    const SAFARI: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15";
    const OLD_SAFARI: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.3 Safari/605.1.15";
    const OLD_FIREFOX: &str = "Mozilla/5.0 (Windows NT 6.1; rv:78.0) Gecko/20100101 Firefox/78.0";
    const IPHONE_CHROME: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1";
    const HTTPS: Option<&str> = Some("https://panel.example.com");
    const HTTP: Option<&str> = Some("http://panel.intranet");

    #[test]
    fn a_browser_is_not_suspicious_and_who_copies_its_user_agent_alone_is() {
        let check = |user_agent, origin, has_fetch_site, has_client_hint, want| {
            let head = Head {
                user_agent,
                origin,
                has_fetch_site,
                has_client_hint,
            };
            assert_eq!(Suspicion::of(head), want, "{head:?}");
        };
        use Suspicion::{ClientHints, NoFetchMetadata, NoOrigin};
        //    User-Agent  Origin  fetch  hint   why
        check(CHROME, HTTPS, true, true, None);
        check(FIREFOX, HTTPS, true, false, None);
        check(SAFARI, HTTPS, true, false, None);
        check(IPHONE_CHROME, HTTPS, true, false, None);
        // A page without TLS, and browser versions without these headers.
        check(CHROME, HTTP, false, false, None);
        check(OLD_SAFARI, HTTPS, false, false, None);
        check(OLD_FIREFOX, HTTPS, false, false, None);
        // Some privacy settings omit the Origin, or send null.
        check(FIREFOX, None, true, false, None);
        check(FIREFOX, Some("null"), true, false, None);
        // Tools that do not pretend to be a browser.
        check("curl/8.5.0", None, false, false, None);
        check("", None, false, false, None);
        // Programs that do.
        check(CHROME, None, false, false, Some(NoOrigin));
        check(SAFARI, None, false, false, Some(NoOrigin));
        check(CHROME, HTTPS, false, false, Some(NoFetchMetadata));
        check(FIREFOX, HTTPS, false, false, Some(NoFetchMetadata));
        check(SAFARI, HTTPS, false, false, Some(NoFetchMetadata));
        check(FIREFOX, HTTPS, true, true, Some(ClientHints));
        check(SAFARI, HTTPS, true, true, Some(ClientHints));
        check("curl/8.5.0", None, false, true, Some(ClientHints));
    }

    #[test]
    fn any_user_agent_can_be_judged() {
        for text in [
            "Chrome/",
            "Chrome/x",
            "Chrome/99999999999",
            "Version/ Safari/",
            "\u{0}é",
        ] {
            let head = Head {
                user_agent: text,
                ..Head::default()
            };
            assert_eq!(Suspicion::of(head), None, "{text}");
        }
    }
}
