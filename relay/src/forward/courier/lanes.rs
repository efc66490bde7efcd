//! The lanes: the events of each that were read ahead, and which lane is next.
//!
//! A lane sends one event at a time, so each visitor's events stay in order.

use super::pending::Pending;
use crate::spool::Spool;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use tokio::time::Instant;

/// Events that a lane reads ahead.
pub(super) const READ_AHEAD: usize = 32;
/// Most lanes that read the disk at once; the others wait for their turn.
const READING_MAX: usize = 16;

/// All lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    all: Vec<Lane>,
    /// Lanes whose first event can be sent, in the order in which they came.
    ready: VecDeque<usize>,
    /// Lanes that have to read the disk.
    to_read: VecDeque<usize>,
    reading: usize,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
}

/// One lane.
#[derive(Debug, Default)]
pub(super) struct Lane {
    state: State,
    queue: VecDeque<Pending>,
    /// The number after which it reads.
    done: i64,
    /// Its settled events that are still on disk.
    unbooked: usize,
    /// It reads only when everything that it settled is off the disk, so that it gets no event twice.
    reads_once_booked: bool,
    /// Something arrived since it last read.
    has_news: bool,
    /// It starts again at its oldest event as soon as nothing of it is on its way.
    rewinds: bool,
    /// When it starts again at its oldest event.
    rewind_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It has no event.
    #[default]
    Idle,
    /// Its first event can be sent.
    Ready,
    /// It waits for its turn to read the disk, or reads it.
    Reading,
    /// It waits until everything that it settled is off the disk.
    Booking,
    /// Its first event was taken out: it is on its way, or being parked.
    Away,
    /// Its first event failed, and is sent again later.
    Resting(Instant),
}

impl Lanes {
    /// Lanes that have not read anything yet.
    pub(super) fn new(count: usize) -> Self {
        Self {
            all: (0..count).map(|_| Lane::default()).collect(),
            ready: VecDeque::new(),
            to_read: VecDeque::new(),
            reading: 0,
            timers: BinaryHeap::new(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Lanes whose first event can be sent.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The next lane whose first event can be sent, with that event; the event is away from now on.
    pub(super) fn take(&mut self) -> Option<(usize, Pending)> {
        let lane = self.ready.pop_front()?;
        self.all[lane].state = State::Away;
        let first = self.all[lane].queue.pop_front();
        // A ready lane has an event.
        first.map(|first| (lane, first))
    }

    /// An event that was away comes first again, and its lane is the next.
    pub(super) fn put_back(&mut self, lane: usize, pending: Pending) {
        self.all[lane].queue.push_front(pending);
        self.all[lane].state = State::Ready;
        self.ready.push_front(lane);
    }

    /// An event that was away is sent again at a time.
    pub(super) fn rest(&mut self, lane: usize, pending: Pending, until: Instant) {
        self.all[lane].queue.push_front(pending);
        self.all[lane].state = State::Resting(until);
        self.timers.push(Reverse((until, lane)));
    }

    /// Adds an event that goes before all others of its lane, if nothing of it is on its way.
    pub(super) fn go_first(&mut self, lane: usize, pending: Pending) {
        self.all[lane].queue.push_front(pending);
        if self.all[lane].state == State::Idle {
            self.make_ready(lane);
        }
    }

    /// Whether nothing of a lane is on its way, being read, or resting.
    pub(super) fn is_free(&self, lane: usize) -> bool {
        matches!(self.all[lane].state, State::Idle | State::Ready)
    }

    /// Whether a lane has no event.
    pub(super) fn is_idle(&self, lane: usize) -> bool {
        self.all[lane].state == State::Idle
    }

    /// Whether a lane's next event is one that was held, and probes.
    pub(super) fn is_next_held(&self, lane: usize) -> bool {
        self.all[lane].queue.front().is_some_and(|first| first.is_counted)
    }

    /// A lane has no event. Its queue keeps no memory: there are thousands, and most are empty after a burst.
    fn make_idle(&mut self, lane: usize) {
        self.all[lane].state = State::Idle;
        self.all[lane].queue = VecDeque::new();
    }

    fn make_ready(&mut self, lane: usize) {
        self.all[lane].state = State::Ready;
        self.ready.push_back(lane);
    }

    /// Goes on with a lane whose first event is gone.
    pub(super) fn go_on(&mut self, lane: usize, spool: &Spool) {
        let this = &mut self.all[lane];
        if std::mem::take(&mut this.rewinds) {
            this.queue.clear();
            this.done = 0;
            this.reads_once_booked = true;
        }
        match this.queue.is_empty() {
            true => self.read(lane, spool),
            false => self.make_ready(lane),
        }
    }

    /// Something arrived in a lane.
    pub(super) fn arrived(&mut self, lane: usize, spool: &Spool) {
        self.all[lane].has_news = true;
        if self.all[lane].state == State::Idle {
            self.read(lane, spool);
        }
    }

    /// A lane starts again at its oldest event, parked and passed-over ones included.
    pub(super) fn rewind(&mut self, lane: usize, spool: &Spool) {
        let this = &mut self.all[lane];
        this.rewinds = true;
        match this.state {
            State::Idle => self.go_on(lane, spool),
            State::Ready => {
                self.ready.retain(|other| *other != lane);
                self.go_on(lane, spool);
            }
            // What is on its way comes back first.
            State::Reading | State::Booking | State::Away | State::Resting(_) => {}
        }
    }

    /// The same, at a time.
    pub(super) fn rewind_at(&mut self, lane: usize, at: Instant) {
        let earlier = &mut self.all[lane].rewind_at;
        if earlier.is_none_or(|earlier| at < earlier) {
            *earlier = Some(at);
            self.timers.push(Reverse((at, lane)));
        }
    }

    /// Reads from memory, or queues the lane for the disk.
    fn read(&mut self, lane: usize, spool: &Spool) {
        let this = &mut self.all[lane];
        if this.reads_once_booked {
            if this.unbooked > 0 {
                this.state = State::Booking;
                return;
            }
            this.reads_once_booked = false;
        }
        this.has_news = false;
        match spool.take_from_memory(lane, this.done, READ_AHEAD) {
            Some(events) => {
                this.done = events.last().map_or(this.done, |last| this.done.max(last.seq));
                this.queue.extend(events.into_iter().map(Pending::of));
                match this.queue.is_empty() {
                    true => self.make_idle(lane),
                    false => self.make_ready(lane),
                }
            }
            None => {
                this.state = State::Reading;
                self.to_read.push_back(lane);
            }
        }
    }

    /// The next lane that may read the disk, and the number to read after.
    pub(super) fn next_read(&mut self) -> Option<(usize, i64)> {
        if self.reading >= READING_MAX {
            return None;
        }
        let lane = self.to_read.pop_front()?;
        self.reading += 1;
        Some((lane, self.all[lane].done))
    }

    /// A lane has read the disk. Returns whether it has nothing to send.
    pub(super) fn was_read(&mut self, lane: usize, events: Vec<Pending>, spool: &Spool) -> bool {
        self.reading -= 1;
        let this = &mut self.all[lane];
        let last = events.iter().map(|pending| pending.event.seq).max();
        this.done = this.done.max(last.unwrap_or(0));
        this.queue.extend(events);
        if this.rewinds || this.has_news || !this.queue.is_empty() {
            self.go_on(lane, spool);
        } else {
            self.make_idle(lane);
        }
        self.all[lane].state == State::Idle
    }

    /// An event of a lane is settled. `comes_again`: reading could return it until it is off the disk.
    pub(super) fn settled(&mut self, lane: usize, comes_again: bool) {
        self.all[lane].unbooked += 1;
        self.all[lane].reads_once_booked |= comes_again;
    }

    /// A settled event of a lane is off the disk.
    pub(super) fn booked(&mut self, lane: usize, spool: &Spool) {
        let this = &mut self.all[lane];
        this.unbooked -= 1;
        if this.unbooked == 0 && this.state == State::Booking {
            self.go_on(lane, spool);
        }
    }

    /// When a lane's time comes next.
    pub(super) fn next_time(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Makes lanes ready that have rested. Returns one that has to start again, if there is one: call it until there is
    /// none.
    pub(super) fn tick(&mut self, now: Instant) -> Option<usize> {
        while let Some(Reverse((at, lane))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            if self.all[lane].state == State::Resting(at) {
                self.make_ready(lane);
            }
            let this = &mut self.all[lane];
            if this.rewind_at == Some(at) {
                this.rewind_at = None;
                return Some(lane);
            }
        }
        None
    }

    /// Lanes that have no event.
    pub(super) fn idle(&self) -> Vec<usize> {
        (0..self.count()).filter(|lane| self.is_idle(*lane)).collect()
    }
}
