//! Which origins were refused: attackers choose them, so only well-formed ones are kept, and a few.

use crate::config::name::ORIGIN_BYTES_MAX;
use url::Url;

/// Origins that are kept. Of further ones only their number is.
const ORIGINS_MAX: usize = 16;
/// The origin of a file, of a sandboxed frame, or of a page whose referrer policy hides it.
pub(super) const OPAQUE: &str = "null";

/// An origin that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) origin: String,
    pub(super) count: u32,
    /// Whether a browser said that the relay is on this very origin: a proxy of the operator's brings it there.
    pub(super) same_origin: bool,
}

/// The origins that were refused.
#[derive(Debug, Default)]
pub(super) struct Origins {
    known: Vec<Refused>,
    others: u32,
}

impl Origins {
    /// Counts one; gives it back if it is kept from now on.
    pub(super) fn add(&mut self, origin: &[u8], same_origin: bool) -> Option<&str> {
        let found = self
            .known
            .iter()
            .position(|known| known.origin.as_bytes() == origin);
        if let Some(known) = found.and_then(|at| self.known.get_mut(at)) {
            known.count = known.count.saturating_add(1);
            known.same_origin |= same_origin;
            return None;
        }
        if self.known.len() < ORIGINS_MAX
            && let Some(origin) = well_formed(origin)
        {
            self.known.push(Refused {
                origin: origin.to_owned(),
                count: 1,
                same_origin,
            });
            return self.known.last().map(|known| known.origin.as_str());
        }
        self.others = self.others.saturating_add(1);
        None
    }

    /// The origins kept, the most frequent first.
    pub(super) fn known(&self) -> Vec<Refused> {
        let mut known = self.known.clone();
        known.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.origin.cmp(&b.origin)));
        known
    }

    /// How often it was another one.
    pub(super) fn others(&self) -> u32 {
        self.others
    }
}

/// An origin exactly as a browser writes it.
fn well_formed(origin: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(origin).ok()?;
    if text == OPAQUE {
        return Some(text);
    }
    let url = (text.len() <= ORIGIN_BYTES_MAX).then(|| Url::parse(text))?.ok()?;
    let is_web = matches!(url.scheme(), "http" | "https");
    (is_web && url.origin().ascii_serialization() == text).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_browser_can_have_written_is_kept() {
        let check = |origin: &str, kept: bool| {
            let mut origins = Origins::default();
            assert_eq!(
                origins.add(origin.as_bytes(), false),
                kept.then_some(origin),
                "{origin}"
            );
            assert_eq!(origins.others(), u32::from(!kept), "{origin}");
        };
        check("https://other.example.com", true);
        check("http://127.0.0.1:8080", true);
        check("http://[2001:db8::7]:1", true);
        check("https://xn--mller-kva.example", true);
        check("null", true);
        check("https://other.example.com/", false);
        check("https://other.example.com:443", false);
        check("https://Other.example.com", false);
        check("https://müller.example", false);
        check("https://jane:doe@other.example.com", false);
        check("https://other.example.com/jane", false);
        check("jane@example.com", false);
        check("chrome-extension://abcdef", false);
        check("", false);
        check(&format!("https://{}.example", "x.".repeat(130)), false);
    }

    #[test]
    fn the_first_sixteen_are_kept_and_the_rest_is_counted() {
        let mut origins = Origins::default();
        for round in 0..3 {
            for n in 0..20 {
                let origin = format!("https://{n}.example");
                let first = origins.add(origin.as_bytes(), n == 3).is_some();
                assert_eq!(first, round == 0 && n < ORIGINS_MAX, "{origin}");
            }
        }
        origins.add(b"https://7.example", true);
        let known = origins.known();
        assert_eq!((known.len(), origins.others()), (ORIGINS_MAX, 12));
        assert_eq!(
            (known[0].origin.as_str(), known[0].count, known[0].same_origin),
            ("https://7.example", 4, true)
        );
        assert_eq!(known.iter().filter(|known| known.same_origin).count(), 2);
    }
}
