//! Page tokens: short-lived, bound to a site and the origin of its pages, checked without state.
//!
//! `GET /api/config` issues one to a page of a configured origin, and the module sends it with each batch. A script that
//! poses as a page of that origin and posts events without this request has none. A program that does request one gets
//! it: a token makes forging a deliberate act, and the budgets bound its effect (ADR 0021).
//!
//! A token holds nothing about a user. All pages of one origin have the same one for an hour, so it cannot distinguish two
//! browsers. The key is random and lives as long as the process.

use crate::clock::{self, Clock};
use crate::digest::hmac;
use crate::hidden::hidden_debug;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The version of a token's layout. Raise it with any change, so that no token is valid under another layout.
const VERSION: u8 = 1;
/// How long the same token is issued, in milliseconds. It is accepted for this long afterwards as well, so a token lives
/// for one to two hours. A shorter life would cost the last events of pages that stay open and idle.
const SLICE_MS: i64 = 60 * 60 * 1000;
/// Bytes of the HMAC-SHA-256 that a token keeps. 128 bits cannot be guessed.
const TAG_BYTES: usize = 16;
/// Version, slice and tag. A multiple of three, so its base64 is unique.
const BYTES: usize = 1 + 4 + TAG_BYTES;
/// Length of a token as text. Any other length is refused before it is decoded.
const CHARS: usize = BYTES / 3 * 4;

/// How old a valid token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Issued in this slice: a new request returns the same token.
    Current,
    /// Issued in the slice before: still valid, but there is a newer one.
    Earlier,
}

/// Issues and checks page tokens.
pub struct PageTokens {
    key: [u8; 32],
    /// Monotonic: setting the wall clock invalidates no token.
    clock: Clock,
}

hidden_debug!(PageTokens);

impl PageTokens {
    /// Uses a fresh key: tokens of an earlier process are not valid.
    pub fn new(clock: &Clock) -> Self {
        Self::with_key(clock::random(), clock)
    }

    fn with_key(key: [u8; 32], clock: &Clock) -> Self {
        let clock = clock.steady(clock.now());
        Self { key, clock }
    }

    /// The current token for pages of an origin that send events for a site.
    pub fn issue(&self, site: &str, origin: &str) -> String {
        let slice = self.slice();
        let tag = self.mac(slice, site, origin).finalize().into_bytes();
        let mut token = [0; BYTES];
        token[0] = VERSION;
        token[1..5].copy_from_slice(&slice.to_be_bytes());
        token[5..].copy_from_slice(&tag[..TAG_BYTES]);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The age of a token; `None` if this process did not issue it for this site and origin, or it has expired.
    pub fn check(&self, token: &str, site: &str, origin: &str) -> Option<Age> {
        if token.len() != CHARS {
            return None;
        }
        let token: [u8; BYTES] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
        let (&[version, a, b, c, d], tag) = token.split_first_chunk()?;
        let slice = u32::from_be_bytes([a, b, c, d]);
        // In constant time.
        self.mac(slice, site, origin).verify_truncated_left(tag).ok()?;
        if version != VERSION {
            return None;
        }
        match self.slice().checked_sub(slice)? {
            0 => Some(Age::Current),
            1 => Some(Age::Earlier),
            _ => None,
        }
    }

    /// The number of the current slice since 1970.
    fn slice(&self) -> u32 {
        u32::try_from(self.clock.now().0.div_euclid(SLICE_MS)).unwrap_or(0)
    }

    /// The MAC of everything a token is bound to. Lengths separate the parts.
    fn mac(&self, slice: u32, site: &str, origin: &str) -> Hmac<Sha256> {
        let mut mac = hmac(&self.key);
        mac.update(b"feedback-relay page token");
        mac.update(&[VERSION]);
        mac.update(&slice.to_be_bytes());
        for part in [site, origin] {
            mac.update(&(part.len() as u64).to_be_bytes());
            // Sites and origins are case-insensitive.
            mac.update(part.to_ascii_lowercase().as_bytes());
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use proptest::prelude::*;

    const SITE: &str = "panel.example.com";
    const ORIGIN: &str = "https://panel.example.com";
    /// 2026-01-01, at the start of a slice.
    const START: Timestamp = Timestamp(1_767_225_600_000);

    fn tokens(key: u8, clock: &Clock) -> PageTokens {
        PageTokens::with_key([key; 32], clock)
    }

    #[test]
    fn a_token_is_valid_for_its_site_origin_and_process_alone() {
        let clock = Clock::standing_at(START);
        let ours = tokens(1, &clock);
        let token = ours.issue(SITE, ORIGIN);
        let check = |what: &str, token: &str, site: &str, origin: &str, want: Option<Age>| {
            assert_eq!(ours.check(token, site, origin), want, "{what}");
        };
        check("as issued", &token, SITE, ORIGIN, Some(Age::Current));
        check(
            "in capitals",
            &token,
            SITE,
            "HTTPS://Panel.example.com",
            Some(Age::Current),
        );
        check("for another site", &token, "shop.example.com", ORIGIN, None);
        check(
            "from another origin",
            &token,
            SITE,
            "https://panel.example.com:8443",
            None,
        );
        check("from plain http", &token, SITE, "http://panel.example.com", None);
        check("for no site", &token, "", &format!("{SITE}{ORIGIN}"), None);
        check(
            "with the border moved",
            &token,
            &SITE[..16],
            &format!("m{ORIGIN}"),
            None,
        );
        let theirs = tokens(2, &clock).issue(SITE, ORIGIN);
        check("of another process", &theirs, SITE, ORIGIN, None);
        check("empty", "", SITE, ORIGIN, None);
        check("a character short", &token[..CHARS - 1], SITE, ORIGIN, None);
        check("four characters short", &token[..CHARS - 4], SITE, ORIGIN, None);
        check("a character long", &format!("{token}A"), SITE, ORIGIN, None);
        check("padded", &format!("{token}===="), SITE, ORIGIN, None);
        check("twice", &format!("{token}{token}"), SITE, ORIGIN, None);
        check("two, in a list", &format!("{token},{token}"), SITE, ORIGIN, None);
        check("with space", &format!(" {token}"), SITE, ORIGIN, None);
        check("very long", &"A".repeat(100_000), SITE, ORIGIN, None);
        check("not base64", &"*".repeat(CHARS), SITE, ORIGIN, None);
        check("not ASCII", &"é".repeat(CHARS / 2), SITE, ORIGIN, None);
    }

    #[test]
    fn no_flipped_bit_passes() {
        let ours = tokens(1, &Clock::standing_at(START));
        let token = URL_SAFE_NO_PAD.decode(ours.issue(SITE, ORIGIN)).unwrap();
        for bit in 0..BYTES * 8 {
            let mut flipped = token.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let flipped = URL_SAFE_NO_PAD.encode(flipped);
            assert_eq!(ours.check(&flipped, SITE, ORIGIN), None, "bit {bit}");
        }
    }

    #[test]
    fn a_token_lives_one_to_two_hours_whatever_the_wall_clock_does() {
        let clock = Clock::standing_at(START);
        let ours = tokens(1, &clock);
        let token = ours.issue(SITE, ORIGIN);
        let check = |what: &str, move_clock: &dyn Fn(&Clock), want: Option<Age>| {
            move_clock(&clock);
            assert_eq!(ours.check(&token, SITE, ORIGIN), want, "{what}");
        };
        let pass = |ms: i64| move |clock: &Clock| clock.set(Timestamp(clock.now().0 + ms));
        check("at once", &|_| (), Some(Age::Current));
        check(
            "after an hour but a millisecond",
            &pass(SLICE_MS - 1),
            Some(Age::Current),
        );
        check("after an hour", &pass(1), Some(Age::Earlier));
        let year = 365 * 24 * SLICE_MS;
        check(
            "when the clock is set a year ahead",
            &|c| c.jump(Timestamp(START.0 + year)),
            Some(Age::Earlier),
        );
        check(
            "when the clock is set a year back",
            &|c| c.jump(Timestamp(START.0 - year)),
            Some(Age::Earlier),
        );
        check(
            "after two hours but a millisecond",
            &pass(SLICE_MS - 1),
            Some(Age::Earlier),
        );
        check("after two hours", &pass(1), None);
        check("much later", &pass(year), None);
    }

    #[test]
    fn a_token_from_the_future_is_refused_though_its_signature_is_right() {
        let now = tokens(1, &Clock::standing_at(START));
        for hours in [1, 2, 1000] {
            let later = tokens(1, &Clock::standing_at(Timestamp(START.0 + hours * SLICE_MS)));
            assert_eq!(
                now.check(&later.issue(SITE, ORIGIN), SITE, ORIGIN),
                None,
                "{hours}"
            );
        }
    }

    #[test]
    fn all_pages_of_an_origin_have_the_same_token_for_an_hour() {
        let clock = Clock::standing_at(START);
        let ours = tokens(1, &clock);
        let first = ours.issue(SITE, ORIGIN);
        clock.set(Timestamp(START.0 + SLICE_MS - 1));
        assert_eq!(ours.issue(SITE, ORIGIN), first);
        clock.set(Timestamp(START.0 + SLICE_MS));
        assert_ne!(ours.issue(SITE, ORIGIN), first);
    }

    proptest! {
        #[test]
        fn nothing_unsigned_passes(text in "\\PC*", token in "[A-Za-z0-9_-]{28}", tag: [u8; TAG_BYTES], ahead in -3_i64..3) {
            let ours = tokens(1, &Clock::standing_at(START));
            let slice = u32::try_from(START.0 / SLICE_MS + ahead).unwrap();
            let mut made = vec![VERSION];
            made.extend(slice.to_be_bytes());
            made.extend(tag);
            for guess in [text, token, URL_SAFE_NO_PAD.encode(made)] {
                prop_assert_eq!(ours.check(&guess, SITE, ORIGIN), None);
            }
        }
    }
}
