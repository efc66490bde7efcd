//! The closed list of oddities in how a request arrives, with their meaning and the recommended action.

/// An oddity. The relay works regardless, but counts visitors wrongly or refuses pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    /// An untrusted peer forwards for others.
    UntrustedProxy,
    /// A trusted proxy sends no forwarding header that the relay reads.
    SilentProxy,
    /// The header of a trusted proxy names no address.
    UnreadableHeader,
    /// The two headers name two different clients.
    HeadersDiffer,
    /// The header has more entries than trusted proxies account for.
    LongerChain,
    /// Nearly all requests come from one address.
    OneAddress,
    /// A page on the relay's own origin was refused as foreign.
    OwnOriginRefused,
    /// A page of another origin was refused.
    OriginRefused,
    /// Events name a site that is not configured.
    UnknownSite,
}

impl Oddity {
    /// All oddities, in the order of their numbers.
    pub(super) const ALL: [Self; 9] = [
        Self::UntrustedProxy,
        Self::SilentProxy,
        Self::UnreadableHeader,
        Self::HeadersDiffer,
        Self::LongerChain,
        Self::OneAddress,
        Self::OwnOriginRefused,
        Self::OriginRefused,
        Self::UnknownSite,
    ];

    /// Its name in metrics and logs.
    pub(super) fn name(self) -> &'static str {
        self.text().0
    }

    /// The observation.
    pub(super) fn says(self) -> &'static str {
        self.text().1
    }

    /// The recommended action.
    pub(super) fn advice(self) -> &'static str {
        self.text().2
    }

    /// Whether `count` of `requests` is more than an exception: single clients can forge each of these.
    pub(super) fn is_general(self, count: u32, requests: u32) -> bool {
        count.saturating_mul(2) >= requests
    }

    fn text(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::UntrustedProxy => (
                "untrusted_proxy",
                "a peer that is not in `public.trusted_proxies` forwards them for other clients, but its header \
                 is ignored: all visitors behind it count as one",
                "if it is your own proxy, trust it",
            ),
            Self::SilentProxy => (
                "silent_proxy",
                "a trusted proxy sends neither X-Forwarded-For nor Forwarded: all visitors behind it count as one",
                "configure the proxy to send the client's address; for nginx: \
                 proxy_set_header X-Forwarded-For $remote_addr;",
            ),
            Self::UnreadableHeader => (
                "unreadable_header",
                "the forwarding header of a trusted proxy names no address: all visitors behind it count as one",
                "configure the proxy to send the client's address as X-Forwarded-For; for nginx: \
                 proxy_set_header X-Forwarded-For $remote_addr;",
            ),
            Self::HeadersDiffer => (
                "headers_differ",
                "X-Forwarded-For and Forwarded name different clients, and X-Forwarded-For is used",
                "configure the proxy to remove the one it does not write itself; for nginx: \
                 proxy_set_header Forwarded \"\";",
            ),
            Self::LongerChain => (
                "longer_chain",
                "the proxy's header lists more addresses before the one that the relay takes for the client's",
                "if a CDN or another proxy of yours stands in front, the relay takes its address for the \
                 visitors': add its networks to `public.trusted_proxies`",
            ),
            Self::OneAddress => (
                "one_address",
                "nearly all requests come from one address",
                "correct if all visitors share one, as in one office; otherwise a proxy hides them: configure \
                 it to send X-Forwarded-For, and list it in `public.trusted_proxies`",
            ),
            Self::OwnOriginRefused => (
                "own_origin_refused",
                "pages that call the relay's origin their own were refused, because their origin is not in `origins` of the site",
                "strangers can claim this as well; if these pages are yours",
            ),
            Self::OriginRefused => (
                "origin_refused",
                "pages were refused, because their origin is not in `origins` of the site",
                "if these pages are yours",
            ),
            Self::UnknownSite => (
                "unknown_site",
                "their events name a site that no [[site]] configures, and are dropped",
                "compare `data-site`, or `data-domain` of Plausible's tracker, in the pages with `domain` in [[site]]",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_oddity_has_its_place() {
        for (i, oddity) in Oddity::ALL.iter().enumerate() {
            assert_eq!(*oddity as usize, i);
        }
    }
}
