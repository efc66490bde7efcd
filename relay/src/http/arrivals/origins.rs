//! Refused origins. Attackers choose them, so only a few are kept, and only well-formed ones.

use crate::config::name::ORIGIN_BYTES_MAX;
use url::Url;

/// Most origins of either kind. A further one replaces the least frequent, which is then only counted.
const ORIGINS_MAX: usize = 16;
/// Sent for a file, a sandboxed frame, or a page whose referrer policy hides its origin.
pub(super) const OPAQUE: &str = "null";

/// A refused origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) origin: String,
    pub(super) count: u32,
}

/// Refused origins, the latest last. Those that requests claim to be the relay's own are stored apart from all
/// others, so that neither kind displaces the other.
#[derive(Debug, Default)]
pub(super) struct Origins {
    kept: Vec<Refused>,
    others: u32,
}

impl Origins {
    /// Counts one refusal.
    pub(super) fn add(&mut self, origin: &[u8]) {
        let mut kept = self.kept.iter_mut();
        if let Some(known) = kept.find(|known| known.origin.as_bytes() == origin) {
            known.count = known.count.saturating_add(1);
            return;
        }
        let Some(origin) = well_formed(origin) else {
            self.others = self.others.saturating_add(1);
            return;
        };
        if self.kept.len() >= ORIGINS_MAX {
            self.forget_one();
        }
        self.kept.push(Refused {
            origin: origin.to_owned(),
            count: 1,
        });
    }

    /// Makes room: removes the oldest of the least frequent ones.
    fn forget_one(&mut self) {
        let kept = self.kept.iter().enumerate();
        if let Some((place, _)) = kept.min_by_key(|(_, known)| known.count) {
            let forgotten = self.kept.remove(place);
            self.others = self.others.saturating_add(forgotten.count);
        }
    }

    /// Halves all counts, and removes those that reach zero.
    pub(super) fn halve(&mut self) {
        for known in &mut self.kept {
            known.count /= 2;
        }
        self.kept.retain(|known| known.count > 0);
        self.others /= 2;
    }

    /// The stored origins, the most frequent first.
    pub(super) fn known(&self) -> Vec<Refused> {
        let mut known = self.kept.clone();
        known.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.origin.cmp(&b.origin)));
        known
    }

    /// Refusals of origins that are not stored.
    pub(super) fn others(&self) -> u32 {
        self.others
    }
}

/// The origin, if it is exactly as a browser writes it.
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
            origins.add(origin.as_bytes());
            assert_eq!(origins.known().len(), usize::from(kept), "{origin}");
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
    fn a_new_origin_takes_the_place_of_the_least_frequent() {
        let mut origins = Origins::default();
        let honest = "https://honest.example";
        for n in 0..1000 {
            origins.add(format!("https://{n}.example").as_bytes());
            if n % 10 == 5 {
                origins.add(honest.as_bytes());
            }
        }
        let known = origins.known();
        assert_eq!((known.len(), origins.others()), (ORIGINS_MAX, 985));
        assert_eq!((known[0].origin.as_str(), known[0].count), (honest, 100));
        let latest = |n: usize| {
            known
                .iter()
                .any(|known| known.origin == format!("https://{n}.example"))
        };
        assert!(latest(999) && latest(985) && !latest(984));
        for _ in 0..7 {
            origins.halve();
        }
        assert_eq!((origins.known().len(), origins.others()), (0, 7));
    }
}
