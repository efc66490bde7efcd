//! The event as received, before anything is removed from it.

pub use crate::value::{VALUE_BYTES_MAX, Value};

use crate::revenue::{Revenue, Unreadable};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest event name, in characters: Plausible rejects a longer one (contract a.3).
pub const NAME_CHARS_MAX: usize = 120;
/// Longest page address or referrer accepted, in bytes. The part that leaves is far shorter.
pub const ADDRESS_BYTES_MAX: usize = 8 * 1024;
/// Most properties accepted with one event; Plausible keeps 30 (contract a.4).
pub const PROPS_MAX: usize = 100;
/// Longest property key, in bytes: Plausible rejects the whole event over it (contract a.4).
pub const KEY_BYTES_MAX: usize = 300;
/// Most events in one batch.
pub const BATCH_EVENTS_MAX: usize = 100;
/// Longest engagement, in milliseconds: 30 days, as in Plausible (contract a.3).
pub const ENGAGEMENT_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000 - 1;
/// The scroll depth that means "not known" (contract a.3).
pub const SCROLL_DEPTH_UNKNOWN: u8 = 255;

/// The name of Plausible's own engagement event, the only one whose [`Engagement`] is read.
pub const ENGAGEMENT: &str = "engagement";

/// One event as a browser sent it. Holds personal data: it is never logged, and has no `Debug`.
#[derive(Clone, PartialEq)]
pub struct Event {
    /// The sender's random id; repeated ids are one event. Plausible's own format has none.
    pub id: Option<EventId>,
    /// The name, not blank, at most [`NAME_CHARS_MAX`] characters.
    pub name: String,
    /// The site that the event belongs to, according to the sender.
    pub site: String,
    /// The page's address, fragment included.
    pub url: String,
    /// The page the visitor came from.
    pub referrer: Option<String>,
    /// Custom properties in the order received, each key once.
    pub props: Vec<Prop>,
    /// Whether the event counts as an interaction (it ends a "bounce").
    pub interactive: bool,
    /// Attention paid to the page; only on [`ENGAGEMENT`] events.
    pub engagement: Option<Engagement>,
    /// The event's revenue, if the sender gave one. An unreadable revenue does not affect the rest of the event.
    pub revenue: Option<Result<Revenue, Unreadable>>,
}

/// One custom property.
#[derive(Clone, PartialEq)]
pub struct Prop {
    /// The key, at most [`KEY_BYTES_MAX`] bytes, not blank.
    pub key: String,
    /// The value.
    pub value: Value,
}

/// How long and how far a page was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engagement {
    /// Visible and focused time, in milliseconds, at most [`ENGAGEMENT_MS_MAX`].
    pub ms: u64,
    /// Deepest point seen, in percent of the page's height, or [`SCROLL_DEPTH_UNKNOWN`].
    pub scroll_depth: u8,
}

/// A random 128-bit event id, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId(pub [u8; 16]);

impl EventId {
    /// Reads 32 lower-case hexadecimal digits, nothing else: a looser form could carry a message.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return None;
        }
        let id = u128::from_str_radix(text, 16).ok()?;
        Some(Self(id.to_be_bytes()))
    }
}

// These `Debug` implementations keep content out of logs and panic messages: they print only the type's name.
macro_rules! debug_hides_content {
    ($($t:ty => $name:literal),+) => {$(
        impl fmt::Debug for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($name, "(hidden)"))
            }
        }
    )+};
}
debug_hides_content!(Event => "Event", Prop => "Prop", EventId => "EventId");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_spelling() {
        let check = |text: &str, ok: bool| assert_eq!(EventId::parse(text).is_some(), ok, "{text}");
        check("00112233445566778899aabbccddeeff", true);
        check("00112233445566778899AABBCCDDEEFF", false);
        check("00112233445566778899aabbccddeef", false);
        check("00112233445566778899aabbccddeeff0", false);
        check("jane.doe@example.com-------------", false);
        check("", false);
    }
}
