//! The random values by which the relay distinguishes browsers of one make behind one address.

use crate::event::EventId;
use std::fmt;

/// The module of a user who opted in adds them to each batch. They go into the visitor's keyed hash and nowhere else.
/// Plausible's own trackers send none.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct DayValues {
    /// The browser's value of this UTC day.
    pub today: Option<[u8; 16]>,
    /// The value of the day before, in the first hour of a day: by it a visit over midnight stays one.
    pub before: Option<[u8; 16]>,
}

impl DayValues {
    /// Reads a value: 32 lower-case hexadecimal digits, as of an event's id. Anything else is none.
    pub fn parse(text: &str) -> Option<[u8; 16]> {
        EventId::parse(text).map(|EventId(bytes)| bytes)
    }
}

impl fmt::Debug for DayValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DayValues(hidden)")
    }
}
