//! What one batch takes of several limits: all of it or nothing.

use super::limit::{Left, Limit, Part};
use governor::clock::Clock;
use std::hash::Hash;
use std::time::Duration;

/// What was taken so far. Gives all of it back when it is dropped before it is [`Bill::paid`].
#[derive(Default)]
pub(super) struct Bill<'l>(Vec<Part<'l>>);

impl<'l> Bill<'l> {
    /// Takes so much of one limit.
    ///
    /// # Errors
    /// How long to wait.
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

    /// Nothing was refused: all of it stays taken.
    pub(super) fn paid(mut self) {
        self.0.clear();
    }
}

impl Drop for Bill<'_> {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Part::give_back);
    }
}
