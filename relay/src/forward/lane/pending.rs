//! An event on its way through a lane.

use crate::spool::Waiting;

/// An event that a lane is processing.
#[derive(Debug)]
pub(super) struct Pending {
    /// As it was read from the spool.
    pub(super) event: Waiting,
    /// In how many probes of its site it was dropped.
    pub(super) probes: u32,
    /// Among the events that are held.
    pub(super) is_counted: bool,
}

impl Pending {
    /// An event that was read from the spool.
    pub(super) fn of(event: Waiting) -> Self {
        Self {
            event,
            probes: 0,
            is_counted: false,
        }
    }
}
