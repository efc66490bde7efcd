//! Schedules password hashing. Few hashes run at a time, so logins wait in a bounded queue.
//!
//! Known devices go before strangers, and one of the turns is reserved for them. Strangers are served round robin by
//! source: one that sends many logins waits behind one that sends a single one.

use super::lock;
use super::throttle::Source;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// Passwords hashed at once. Each takes 19 MiB and tens of milliseconds; more would starve the corridor of
/// processors.
pub(super) const HASHES_MAX: usize = 2;
/// Of these, the most for strangers.
const STRANGERS_MAX: usize = 1;
/// Most waiting logins of strangers. At the limit a source with the most gives up its last one, which ends as
/// overloaded.
const WAITING_MAX: usize = 32;
/// Of these, the most of one source. Above it: overloaded.
const WAITING_PER_SOURCE_MAX: usize = 8;
/// Most waiting logins of known devices. Above it: overloaded.
const DEVICES_WAITING_MAX: usize = 32;
/// Longest wait. After that a login ends as overloaded.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<Queue>);

/// The right to hash one password. Dropping it passes it to the next login.
#[derive(Debug)]
pub(super) struct Turn {
    all: Arc<Turns>,
    is_stranger: bool,
}

/// The queue is full, or the wait took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overloaded;

#[derive(Debug, Default)]
struct Queue {
    devices: VecDeque<oneshot::Sender<Turn>>,
    strangers: VecDeque<(Source, oneshot::Sender<Turn>)>,
    /// Turns in use, and how many of them strangers hold.
    given: usize,
    given_to_strangers: usize,
}

impl Turns {
    /// Waits for a turn; `None` is a known device.
    ///
    /// # Errors
    /// If too many logins wait, or the wait takes too long.
    pub(super) async fn wait(self: &Arc<Self>, stranger: Option<Source>) -> Result<Turn, Overloaded> {
        let (sender, turn) = oneshot::channel();
        lock(&self.0).enter(stranger, sender)?;
        self.give();
        match tokio::time::timeout(WAIT_MAX, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(Overloaded),
        }
    }

    /// Hands out the free turns.
    fn give(self: &Arc<Self>) {
        loop {
            // The lock is released before the turn is handed over: a turn whose login is gone comes back at once.
            let Some((sender, is_stranger)) = lock(&self.0).next() else {
                return;
            };
            let turn = Turn {
                all: Arc::clone(self),
                is_stranger,
            };
            drop(sender.send(turn));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = lock(&self.all.0);
        queue.given -= 1;
        queue.given_to_strangers -= usize::from(self.is_stranger);
        drop(queue);
        self.all.give();
    }
}

impl Queue {
    fn enter(&mut self, stranger: Option<Source>, sender: oneshot::Sender<Turn>) -> Result<(), Overloaded> {
        // Clients that disconnected give up their places.
        self.devices.retain(|waiting| !waiting.is_closed());
        self.strangers.retain(|(_, waiting)| !waiting.is_closed());
        let Some(source) = stranger else {
            if self.devices.len() >= DEVICES_WAITING_MAX {
                return Err(Overloaded);
            }
            self.devices.push_back(sender);
            return Ok(());
        };
        let own = self.waiting_of(source);
        if own >= WAITING_PER_SOURCE_MAX {
            return Err(Overloaded);
        }
        if self.strangers.len() >= WAITING_MAX {
            self.displace_one(own + 1)?;
        }
        self.strangers.push_back((source, sender));
        Ok(())
    }

    /// Removes the last place of a source that has more than `fair`.
    fn displace_one(&mut self, fair: usize) -> Result<(), Overloaded> {
        let places = 0..self.strangers.len();
        let last_of_most = places.max_by_key(|place| (self.waiting_of(self.strangers[*place].0), *place));
        let place = last_of_most.ok_or(Overloaded)?;
        if self.waiting_of(self.strangers[place].0) <= fair {
            return Err(Overloaded);
        }
        self.strangers.remove(place);
        Ok(())
    }

    fn waiting_of(&self, source: Source) -> usize {
        self.strangers
            .iter()
            .filter(|(other, _)| *other == source)
            .count()
    }

    /// The next login to get a turn, if a turn is free.
    fn next(&mut self) -> Option<(oneshot::Sender<Turn>, bool)> {
        if self.given >= HASHES_MAX {
            return None;
        }
        if let Some(sender) = self.devices.pop_front() {
            self.given += 1;
            return Some((sender, false));
        }
        if self.given_to_strangers >= STRANGERS_MAX {
            return None;
        }
        let (source, sender) = self.strangers.pop_front()?;
        // Round robin: the other logins of this source go behind all others.
        let (others, own): (VecDeque<_>, VecDeque<_>) =
            self.strangers.drain(..).partition(|(other, _)| *other != source);
        self.strangers = others;
        self.strangers.extend(own);
        self.given += 1;
        self.given_to_strangers += 1;
        Some((sender, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn stranger(address: u32) -> Option<Source> {
        Some(Source {
            network: Ipv4Addr::from_bits(address).into(),
            is_forwarded: false,
        })
    }

    /// Waiting logins, each with a name, and the order in which they get their turns, one at a time.
    struct Waiting {
        turns: Arc<Turns>,
        tasks: tokio::task::JoinSet<(&'static str, Result<Turn, Overloaded>)>,
    }

    impl Waiting {
        fn new() -> Self {
            Self {
                turns: Arc::default(),
                tasks: tokio::task::JoinSet::new(),
            }
        }

        async fn add(&mut self, name: &'static str, who: Option<Source>) {
            let turns = Arc::clone(&self.turns);
            self.tasks.spawn(async move { (name, turns.wait(who).await) });
            tokio::task::yield_now().await;
        }

        async fn next(&mut self) -> (&'static str, Result<Turn, Overloaded>) {
            self.tasks.join_next().await.unwrap().unwrap()
        }

        async fn order(&mut self) -> Vec<&'static str> {
            let mut order = Vec::new();
            while let Some(Ok((name, turn))) = self.tasks.join_next().await {
                order.push(if turn.is_ok() { name } else { "overloaded" });
            }
            order
        }
    }

    #[tokio::test]
    async fn a_stranger_leaves_a_turn_to_known_devices_which_go_first() {
        let mut waiting = Waiting::new();
        waiting.add("a", stranger(1)).await;
        let (_, hashing) = waiting.next().await;
        for (name, who) in [("b", stranger(2)), ("device", None), ("c", stranger(3))] {
            waiting.add(name, who).await;
        }
        let (name, device) = waiting.next().await;
        assert_eq!(name, "device", "while a stranger hashes");
        waiting.add("second device", None).await;
        drop(hashing);
        assert_eq!(
            waiting.next().await.0,
            "second device",
            "before strangers who came earlier"
        );
        drop(device);
        assert_eq!(waiting.order().await, ["b", "c"]);
    }

    #[tokio::test]
    async fn sources_take_turns() {
        let mut waiting = Waiting::new();
        waiting.add("first", stranger(9)).await;
        let (_, hashing) = waiting.next().await;
        for (name, address) in [("a1", 1), ("a2", 1), ("a3", 1), ("b1", 2), ("c1", 3), ("b2", 2)] {
            waiting.add(name, stranger(address)).await;
        }
        drop(hashing);
        assert_eq!(waiting.order().await, ["a1", "b1", "c1", "a2", "b2", "a3"]);
    }

    #[tokio::test]
    async fn a_full_queue_has_room_for_a_source_that_has_less_than_the_others() {
        let mut waiting = Waiting::new();
        waiting.add("first", stranger(9)).await;
        let (_, hashing) = waiting.next().await;
        for address in 1..=4 {
            for _ in 0..WAITING_PER_SOURCE_MAX {
                waiting.add("many", stranger(address)).await;
            }
        }
        waiting.add("one too many", stranger(4)).await;
        assert_eq!(
            waiting.next().await.1.err(),
            Some(Overloaded),
            "its source has its share"
        );
        waiting.add("single", stranger(5)).await;
        assert_eq!(
            waiting.next().await.1.err(),
            Some(Overloaded),
            "one of the many makes room"
        );
        drop(hashing);
        let order = waiting.order().await;
        assert_eq!(order.len(), WAITING_MAX);
        let place = order.iter().position(|name| *name == "single").unwrap();
        assert!(place <= 4, "{order:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_went_away_or_waited_too_long_keeps_no_place() {
        let mut waiting = Waiting::new();
        waiting.add("first", stranger(9)).await;
        let (_, hashing) = waiting.next().await;
        for _ in 0..WAITING_PER_SOURCE_MAX {
            waiting.add("gone", stranger(1)).await;
        }
        waiting.tasks.abort_all();
        while waiting.tasks.join_next().await.is_some() {}
        waiting.add("late", stranger(1)).await;
        // The clock is paused: it advances when all tasks are idle.
        assert_eq!(waiting.next().await.1.err(), Some(Overloaded));
        drop(hashing);
        waiting.add("next", stranger(1)).await;
        assert_eq!(waiting.order().await, ["next"]);
    }
}
