//! An event on its way out.

use crate::forward::attempts::Attempts;
use crate::spool::Waiting;

/// An event that the courier has read.
#[derive(Debug)]
pub(super) struct Pending {
    /// As it was read from the spool.
    pub(super) event: Waiting,
    pub(super) attempts: Attempts,
    /// In how many probes of its site it was dropped.
    pub(super) probes: u32,
    /// Among the events that are held.
    pub(super) is_counted: bool,
}

impl Pending {
    /// An event that was read from the spool.
    pub(super) fn of(event: Waiting) -> Self {
        Self {
            attempts: Attempts::new(event.was_parked),
            event,
            probes: 0,
            is_counted: false,
        }
    }
}
