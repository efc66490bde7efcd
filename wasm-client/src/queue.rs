//! The bounded queue of written events; it knows sizes and order, not what an event means or when it is sent.

/// Most events kept. A page that cannot reach its relay must not grow without end.
pub(crate) const EVENTS_MAX: usize = 200;
/// Most bytes kept, over all events.
pub(crate) const BYTES_MAX: usize = 64 * 1024;
/// Largest single event; with all allowed properties at full length it could outgrow a batch.
pub(crate) const EVENT_BYTES_MAX: usize = 16 * 1024;
/// Most events in one batch, so that the relay judges them in one pass of its sandbox.
pub(crate) const BATCH_EVENTS_MAX: usize = 20;
/// Largest request body. Browsers let a page have 64 KiB under way when it closes, all requests together.
pub(crate) const BATCH_BYTES_MAX: usize = 48 * 1024;

/// Events in the order they happened. The first [`Queue::busy`] of them are under way.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    events: Vec<String>,
    bytes: usize,
    busy: usize,
    dropped: u32,
}

impl Queue {
    /// Adds an event. When the queue is full the oldest one that is not under way is dropped and counted.
    pub(crate) fn push(&mut self, event: String) {
        if event.len() > EVENT_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        self.bytes += event.len();
        self.events.push(event);
        while self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            self.remove(self.busy, 1);
            self.dropped += 1;
        }
    }

    /// The body for the oldest events that are not under way, and how many it holds.
    pub(crate) fn batch(&self, head: &str, events_max: usize) -> Option<(usize, String)> {
        let mut body = String::from(head);
        let mut count = 0;
        for event in self.events.iter().skip(self.busy).take(events_max) {
            // A comma before it and the two closing brackets after it.
            if body.len() + event.len() + 3 > BATCH_BYTES_MAX {
                break;
            }
            if count > 0 {
                body.push(',');
            }
            body.push_str(event);
            count += 1;
        }
        if count == 0 {
            return None;
        }
        body.push_str("]}");
        Some((count, body))
    }

    /// Says that the first `count` events are under way.
    pub(crate) fn depart(&mut self, count: usize) {
        self.busy = count;
    }

    /// The events under way did not arrive; they stay where they are, with the ids they have.
    pub(crate) fn turn_back(&mut self) {
        self.busy = 0;
    }

    /// The events under way arrived.
    pub(crate) fn arrive(&mut self) {
        let count = self.busy;
        self.busy = 0;
        self.remove(0, count);
    }

    /// The events under way are given up.
    pub(crate) fn give_up(&mut self) {
        self.dropped = self
            .dropped
            .saturating_add(u32::try_from(self.busy).unwrap_or(u32::MAX));
        self.arrive();
    }

    /// Takes out the oldest `count` events that are not under way.
    pub(crate) fn remove_waiting(&mut self, count: usize) {
        self.remove(self.busy, count);
    }

    /// Counts an event that was refused before it got here.
    pub(crate) fn refuse(&mut self) {
        self.dropped += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Events lost so far: the queue was full, the event too large, or the relay did not take it.
    pub(crate) fn dropped(&self) -> u32 {
        self.dropped
    }

    fn remove(&mut self, from: usize, count: usize) {
        let end = (from + count).min(self.events.len());
        for event in self.events.drain(from.min(end)..end) {
            self.bytes -= event.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, BYTES_MAX, EVENT_BYTES_MAX, EVENTS_MAX, Queue};

    fn filled(count: usize, event_bytes: usize) -> Queue {
        let mut queue = Queue::default();
        for n in 0..count {
            queue.push(format!("{n:0event_bytes$}"));
        }
        queue
    }

    fn first(queue: &Queue) -> usize {
        queue
            .events
            .first()
            .and_then(|e| e.parse().ok())
            .unwrap_or(usize::MAX)
    }

    #[test]
    fn a_full_queue_drops_the_oldest_and_counts_it() {
        // count, bytes each → kept, dropped, number of the oldest kept
        let check = |count, bytes, kept: usize, dropped, oldest| {
            let queue = filled(count, bytes);
            assert_eq!(
                (queue.events.len(), queue.dropped, first(&queue)),
                (kept, dropped, oldest)
            );
            assert_eq!(queue.bytes, kept * bytes);
        };
        check(EVENTS_MAX, 10, 200, 0, 0);
        check(EVENTS_MAX + 3, 10, 200, 3, 3);
        check(BYTES_MAX / 1024, 1024, 64, 0, 0);
        check(BYTES_MAX / 1024 + 1, 1024, 64, 1, 1);
        check(5, EVENT_BYTES_MAX, 4, 1, 1);
        check(2, EVENT_BYTES_MAX + 1, 0, 2, usize::MAX);
    }

    #[test]
    fn a_full_queue_spares_the_events_under_way() {
        let mut queue = filled(EVENTS_MAX, 10);
        queue.depart(20);
        queue.push("the newest".into());
        assert_eq!(first(&queue), 0);
        queue.arrive();
        assert_eq!((queue.events.len(), queue.dropped, first(&queue)), (180, 1, 21));
    }

    #[test]
    fn a_batch_keeps_both_limits() {
        let check = |count, bytes, expected: Option<usize>| {
            let batch = filled(count, bytes).batch("[", BATCH_EVENTS_MAX);
            assert_eq!(batch.as_ref().map(|(n, _)| *n), expected, "{count} of {bytes}");
            assert!(batch.is_none_or(|(_, body)| body.len() <= BATCH_BYTES_MAX));
        };
        check(0, 10, None);
        check(1, 10, Some(1));
        check(21, 10, Some(20));
        check(4, EVENT_BYTES_MAX, Some(2));
    }

    #[test]
    fn events_under_way_are_in_no_other_batch() {
        let mut queue = filled(3, 1);
        queue.depart(2);
        assert_eq!(queue.batch("[", 20), Some((1, "[2]}".into())));
        queue.remove_waiting(1);
        assert_eq!(queue.batch("[", 20), None);
        queue.turn_back();
        assert_eq!(queue.batch("[", 20), Some((2, "[0,1]}".into())));
    }

    #[test]
    fn given_up_events_are_counted() {
        let mut queue = filled(3, 1);
        queue.depart(2);
        queue.give_up();
        assert_eq!((queue.dropped(), queue.is_empty(), first(&queue)), (2, false, 2));
    }
}
