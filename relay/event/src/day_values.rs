//! The random values by which the relay distinguishes identical browsers behind one address.

use crate::event::EventId;
use std::fmt;

/// The module of a user who opted in sends them with each batch. They go into the visitor's keyed hash and nowhere
/// else. Plausible's own trackers send none.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct DayValues {
    /// The browser's value of this UTC day.
    pub today: Option<[u8; 16]>,
    /// The value of the day before, sent in the first hour of a day so that a visit across midnight stays one visit.
    pub before: Option<[u8; 16]>,
}

impl DayValues {
    /// Reads a value: 32 lower-case hexadecimal digits, like an event's id. Anything else is `None`.
    pub fn parse(text: &str) -> Option<[u8; 16]> {
        EventId::parse(text).map(|EventId(bytes)| bytes)
    }
}

impl fmt::Debug for DayValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DayValues(hidden)")
    }
}
