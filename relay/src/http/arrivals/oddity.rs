//! What can be odd about how a request arrives: a closed list, with what it means and what to do.

/// An oddity. A relay works on with each of them, but counts visitors wrongly or keeps pages out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// A peer that is not trusted forwards for others.
    UntrustedProxy,
    /// A trusted proxy sends no forwarding header the relay reads.
    SilentProxy,
    /// The header of a trusted proxy names no address.
    UnreadableHeader,
    /// The two headers name two clients.
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
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
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
    pub fn name(self) -> &'static str {
        self.text().0
    }

    /// What was seen.
    pub fn says(self) -> &'static str {
        self.text().1
    }

    /// What to do about it.
    pub fn advice(self) -> &'static str {
        self.text().2
    }

    /// Whether so many requests of so many are no exception: single clients can make each of these up.
    pub fn is_general(self, count: u32, requests: u32) -> bool {
        count.saturating_mul(2) >= requests
    }

    fn text(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::UntrustedProxy => (
                "untrusted_proxy",
                "a peer that is not in `public.trusted_proxies` forwards them for other clients, and its header is not used: all visitors behind it count as one",
                "if it is your own proxy, trust it",
            ),
            Self::SilentProxy => (
                "silent_proxy",
                "a trusted proxy sends neither X-Forwarded-For nor Forwarded: all visitors behind it count as one",
                "let the proxy send the client's address; for nginx: proxy_set_header X-Forwarded-For $remote_addr;",
            ),
            Self::UnreadableHeader => (
                "unreadable_header",
                "the forwarding header of a trusted proxy names no address: all visitors behind it count as one",
                "let the proxy send the client's address as X-Forwarded-For; for nginx: proxy_set_header X-Forwarded-For $remote_addr;",
            ),
            Self::HeadersDiffer => (
                "headers_differ",
                "X-Forwarded-For and Forwarded name different clients, and X-Forwarded-For is used",
                "let the proxy remove the one it does not write itself; for nginx: proxy_set_header Forwarded \"\";",
            ),
            Self::LongerChain => (
                "longer_chain",
                "the proxy's header names further addresses before the one that is taken for the client's",
                "if a CDN or another proxy of yours stands in front, its address is taken for the visitors': add its networks to `public.trusted_proxies`",
            ),
            Self::OneAddress => (
                "one_address",
                "nearly all requests come from one address",
                "right if all visitors share one, as in one office; else a proxy hides them: let it send X-Forwarded-For, and list it in `public.trusted_proxies`",
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
                "their events name a site that no [[site]] has, and are dropped",
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
