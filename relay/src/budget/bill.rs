//! The charges of one batch to several limits: all of them or none.

use super::limit::{Left, Limit, Part};
use governor::clock::Clock;
use std::hash::Hash;
use std::time::Duration;

/// The charges so far. Dropping it before [`Bill::paid`] returns all of them.
#[derive(Default)]
pub(super) struct Bill<'l>(Vec<Part<'l>>);

impl<'l> Bill<'l> {
    /// Charges `cells` to one limit.
    ///
    /// # Errors
    /// The time to wait.
    pub(super) fn take<C: Clock>(
        &mut self,
        limit: &'l Limit<C>,
        key: &(impl Hash + ?Sized),
        cells: usize,
    ) -> Result<Left, Duration> {
        let (left, part) = limit.take_part(key, cells)?;
        self.0.extend(part);
        Ok(left)
    }

    /// Keeps all charges: no limit refused.
    pub(super) fn paid(mut self) {
        self.0.clear();
    }
}

impl Drop for Bill<'_> {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Part::give_back);
    }
}
