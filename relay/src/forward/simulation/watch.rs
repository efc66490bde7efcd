//! Requests that Plausible must never see, checked independently of its answers.

use super::script::CONCURRENCY;
use crate::clock::{Clock, Timestamp};
use crate::forward::acceptance::{AcceptanceState, DROPS_MAX};
use crate::forward::dispatch::Dispatcher;
use crate::forward::sites::Sites;
use crate::forward::{backoff, breaker, plausible};
use axum::http::{Method, Request};
use bytes::Bytes;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::time::Duration;
use tokio::time::Instant;

pub(super) const SITES: [&str; 2] = ["panel.example.com", "shop.example.com"];
/// The configuration's default.
pub(super) const AGE_MAX: Duration = Duration::from_secs(86_400);
/// Upper bound of the time until an answer is booked.
const UNSURE_FOR: Duration = Duration::from_secs(1);
const LATE_AFTER: Duration = Duration::from_secs(300);
/// How old an engagement may be.
const ENGAGEMENT_MAX: Duration = Duration::from_secs(25 * 60);

/// An event that was stored, or is being stored.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) site: usize,
    pub(super) visitor: u8,
    pub(super) stored_at: Timestamp,
    pub(super) is_engagement: bool,
    /// Its number in the spool, once that is known.
    pub(super) seq: Option<i64>,
    /// It is purged, or will be as soon as the disk accepts it.
    pub(super) is_purged: bool,
    /// Plausible accepted it at least once.
    pub(super) is_taken: bool,
    /// It need not be sent any more. It may be sent again if that could not be booked.
    pub(super) is_over: bool,
    pub(super) may_come_again: bool,
    /// When it was dropped, if the relay may give it up or hold it, as the other answers of that moment have it.
    pub(super) left_open: Option<Instant>,
    has_arrived: bool,
    was_marked: bool,
}

impl Event {
    pub(super) fn new(site: usize, visitor: u8, stored_at: Timestamp, is_engagement: bool) -> Self {
        Self {
            site,
            visitor,
            stored_at,
            is_engagement,
            seq: None,
            is_purged: false,
            is_taken: false,
            is_over: false,
            may_come_again: false,
            left_open: None,
            has_arrived: false,
            was_marked: false,
        }
    }

    /// Whether its number in the spool is one of these.
    pub(super) fn is_among(&self, numbers: &BTreeSet<i64>) -> bool {
        self.seq.is_some_and(|seq| numbers.contains(&seq))
    }

    fn is_too_old(&self, now: Timestamp) -> bool {
        let age = now.since(self.stored_at);
        age > AGE_MAX || (self.is_engagement && age > ENGAGEMENT_MAX)
    }
}

/// The relevant parts of a request with an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) number: u64,
    is_late: bool,
    pub(super) site: Option<usize>,
}

impl Sent {
    /// `None` when it is a health probe or the self-test.
    pub(super) fn read(request: &Request<Bytes>) -> Option<Self> {
        if request.method() != Method::POST || is_self_test(request) {
            return None;
        }
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        Some(Self {
            number: body["props"]["n"].as_u64().or(body["e"].as_u64()).unwrap(),
            is_late: body["props"]["late"] == true,
            site: SITES.iter().position(|site| body["domain"] == **site),
        })
    }
}

/// Whether a request counts nowhere: an event with a name that is too long, or the page that the events API does not
/// have.
pub(super) fn is_self_test(request: &Request<Bytes>) -> bool {
    if request.method() == Method::GET && request.uri().path() == plausible::PATH {
        return true;
    }
    let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    body["name"].as_str().is_some_and(|name| name.len() > 120)
}

/// The observed state of the relay, and its first violation.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) clock: Clock,
    pub(super) dispatcher: Weak<Dispatcher>,
    pub(super) sites: Weak<Sites>,
    pub(super) events: BTreeMap<u64, Event>,
    pub(super) is_off: [bool; SITES.len()],
    pub(super) has_health_probe: bool,
    pub(super) requests: u64,
    /// Connections with requests in flight.
    pub(super) in_flight: usize,
    /// The end of Plausible's last Retry-After.
    leave_alone_until: Option<Instant>,
    pub(super) broken: Option<String>,
    /// Events sent since the other end answers 200, or since the relay last started.
    pub(super) into_the_unclear: usize,
    /// Events that the relay may have given up as dropped.
    pub(super) may_be_dropped: u64,
}

impl Watch {
    pub(super) fn new(clock: Clock, has_health_probe: bool) -> Self {
        Self {
            clock,
            dispatcher: Weak::new(),
            sites: Weak::new(),
            into_the_unclear: 0,
            may_be_dropped: 0,
            events: BTreeMap::new(),
            is_off: [false; SITES.len()],
            has_health_probe,
            requests: 0,
            in_flight: 0,
            leave_alone_until: None,
            broken: None,
        }
    }

    /// Plausible sends a Retry-After; like the relay, this caps it.
    pub(super) fn leave_alone_for(&mut self, asked: Duration) {
        let until = Instant::now() + asked.min(backoff::RETRY_AFTER_MAX);
        self.leave_alone_until = self.leave_alone_until.max(Some(until));
    }

    /// A restarted relay does not know an earlier Retry-After.
    pub(super) fn forget_wishes(&mut self) {
        self.leave_alone_until = None;
    }

    /// Endings could not be booked, or are forgotten.
    pub(super) fn allow_again(&mut self) {
        let over = self.events.values_mut().filter(|event| event.is_over);
        over.for_each(|event| event.may_come_again = true);
    }

    /// Events that are too old by now need not be sent, whatever the clock says later.
    pub(super) fn let_expire(&mut self) {
        let now = self.clock.now();
        for event in self.events.values_mut() {
            event.is_over |= event.is_too_old(now);
            event.may_come_again |= event.is_too_old(now);
        }
    }

    /// Earlier events of the same visitor that may still have to be sent, by their numbers in the spool.
    pub(super) fn before(&self, number: u64) -> Vec<i64> {
        let (visitor, now) = (self.events[&number].visitor, self.clock.now());
        let earlier = self.events.range(..number).map(|(_, event)| event);
        let open = earlier.filter(|event| event.visitor == visitor && !event.is_over && !event.is_purged);
        // One that has just expired is settled, and perhaps not recorded yet.
        let open = open.filter(|event| !event.is_too_old(now));
        let is_unsure = |event: &&Event| event.left_open.is_some_and(|at| at.elapsed() < UNSURE_FOR);
        let open = open.filter(|event| !is_unsure(event));
        open.filter_map(|event| event.seq).collect()
    }

    /// Plausible drops an event, and the relay will know it in a moment: it gives the event up while its site is
    /// accepted, and holds it otherwise.
    pub(super) fn drop(&mut self, sent: Sent) {
        let Some(event) = self.events.get_mut(&sent.number) else {
            return;
        };
        event.may_come_again = true;
        let shown = self
            .sites
            .upgrade()
            .and_then(|sites| sites.shown(SITES[event.site]));
        let record = shown.map(|shown| shown.record).unwrap_or_default();
        if record.state() != AcceptanceState::Accepting {
            return;
        }
        event.left_open = Some(Instant::now());
        let is_last = record.drops + 1 >= DROPS_MAX;
        event.is_over |= event.is_engagement || !is_last;
        // Those that are answered in this moment may count as well, one of them in place of this.
        self.may_be_dropped += 1;
    }

    /// A request arrives. `waits` says whether an earlier event of the same visitor waits and is not parked.
    pub(super) fn arrive(&mut self, sent: Option<Sent>, is_self_test: bool, waits: bool) {
        self.requests += 1;
        let wrong = match sent {
            None => self.wrong_with_probe(is_self_test),
            Some(sent) => self.wrong_with_event(sent, waits),
        };
        let wrong = wrong.or_else(|| self.wrong_with_request());
        self.broken = self.broken.take().or(wrong);
    }

    fn wrong_with_request(&self) -> Option<String> {
        let breaker = self
            .dispatcher
            .upgrade()
            .map(|dispatcher| dispatcher.status().breaker);
        let rest = self.leave_alone_until.map(|until| until - Instant::now());
        match rest {
            _ if self.in_flight > CONCURRENCY => Some(format!("{} connections at once", self.in_flight)),
            _ if breaker == Some(breaker::State::Open) => Some("a request while the breaker is open".into()),
            Some(rest) if !rest.is_zero() => Some(format!("a request {rest:?} before Retry-After is over")),
            _ => None,
        }
    }

    fn wrong_with_probe(&self, is_self_test: bool) -> Option<String> {
        if !is_self_test && !self.has_health_probe {
            return Some("a probe, though none is configured".into());
        }
        (self.is_off == [true; SITES.len()]).then(|| "a probe while all switches are off".into())
    }

    fn wrong_with_event(&mut self, sent: Sent, waits: bool) -> Option<String> {
        let (number, now) = (sent.number, self.clock.now());
        let visitor = self.events[&number].visitor;
        let mut later = self.events.range(number + 1..).map(|(_, event)| event);
        let is_overtaken = later.any(|event| event.visitor == visitor && event.has_arrived);
        let event = self.events.get_mut(&number)?;
        let age = now.since(event.stored_at);
        let is_first = !std::mem::replace(&mut event.has_arrived, true);
        let may_be_marked = event.was_marked || (age > LATE_AFTER && !event.is_engagement);
        let must_be_marked = age > LATE_AFTER && !event.is_engagement;
        event.was_marked |= sent.is_late;
        let wrong = match () {
            () if sent.site != Some(event.site) => "for another site",
            () if self.is_off[event.site] => "while its switch is off",
            () if event.is_purged => "after it was purged",
            () if event.is_over && !event.may_come_again => "after it was settled",
            () if event.is_too_old(now) => "too old",
            () if sent.is_late && !may_be_marked => "marked as late, which it is not",
            () if !sent.is_late && must_be_marked => "late, and not marked",
            () if is_first && is_overtaken => "after a later one of its visitor",
            () if waits => "before an earlier one of its visitor",
            () => return None,
        };
        Some(format!("{number} was sent at an age of {age:?}: {wrong}"))
    }
}

/// A watch that checks nothing would pass every run.
#[test]
fn what_plausible_must_never_see_is_reported() {
    let check = |what: &str, change: &dyn Fn(&mut Watch, &mut Sent), want: Option<&str>| {
        let mut watch = Watch::new(Clock::standing_at(Timestamp(0)), true);
        for number in 0..2 {
            let event = Event::new(0, 1, Timestamp(0), false);
            watch.events.insert(number, event);
        }
        let mut sent = Sent {
            number: 0,
            is_late: false,
            site: Some(0),
        };
        change(&mut watch, &mut sent);
        watch.arrive(Some(sent), false, false);
        let broken = watch.broken.as_deref();
        let is_as_wanted = match (broken, want) {
            (Some(broken), Some(want)) => broken.contains(want),
            (broken, want) => broken == want,
        };
        assert!(is_as_wanted, "{what}: {broken:?}");
    };
    let at = |watch: &Watch, age: Duration| watch.clock.set(Timestamp(0).plus(age));
    let more = Duration::from_millis(1);
    let engage = |watch: &mut Watch| {
        watch
            .events
            .entry(0)
            .and_modify(|event| event.is_engagement = true);
    };
    let set = |watch: &mut Watch, set: fn(&mut Event)| {
        watch.events.entry(0).and_modify(set);
    };
    check("as it should be", &|_, _| {}, None);
    check(
        "for another site",
        &|_, sent| sent.site = Some(1),
        Some("another site"),
    );
    check(
        "off",
        &|watch, _| watch.is_off = [true, false],
        Some("switch is off"),
    );
    check("the other is off", &|watch, _| watch.is_off = [false, true], None);
    check(
        "purged",
        &|watch, _| set(watch, |event| event.is_purged = true),
        Some("purged"),
    );
    check(
        "settled",
        &|watch, _| set(watch, |event| event.is_over = true),
        Some("settled"),
    );
    let forgotten = |watch: &mut Watch, _: &mut Sent| {
        set(watch, |event| event.is_over = true);
        watch.allow_again();
    };
    check("settled, and that is forgotten", &forgotten, None);
    let aged = |age: Duration, is_late: bool| {
        move |watch: &mut Watch, sent: &mut Sent| {
            at(watch, age);
            sent.is_late = is_late;
        }
    };
    check("not late", &aged(LATE_AFTER, false), None);
    check(
        "marked too early",
        &aged(LATE_AFTER, true),
        Some("which it is not"),
    );
    check(
        "late and not marked",
        &aged(LATE_AFTER + more, false),
        Some("not marked"),
    );
    check("late and marked", &aged(LATE_AFTER + more, true), None);
    check("as old as may be", &aged(AGE_MAX, true), None);
    check("too old", &aged(AGE_MAX + more, true), Some("too old"));
    for (age, want) in [(ENGAGEMENT_MAX, None), (ENGAGEMENT_MAX + more, Some("too old"))] {
        let engagement = |watch: &mut Watch, _: &mut Sent| {
            engage(watch);
            at(watch, age);
        };
        check("an engagement", &engagement, want);
    }
    let overtaken = |watch: &mut Watch, _: &mut Sent| {
        watch.events.entry(1).and_modify(|event| event.has_arrived = true);
    };
    check("after a later one", &overtaken, Some("after a later one"));
    check(
        "too many",
        &|watch, _| watch.in_flight = CONCURRENCY + 1,
        Some("at once"),
    );
    let rest = Duration::from_secs(60);
    check(
        "too early",
        &|watch, _| watch.leave_alone_for(rest),
        Some("before Retry-After"),
    );

    let probe = |is_off, has_health_probe, is_self_test: bool, want: bool| {
        let mut watch = Watch::new(Clock::standing_at(Timestamp(0)), has_health_probe);
        watch.is_off = is_off;
        watch.arrive(None, is_self_test, false);
        assert_eq!(watch.broken.is_none(), want, "{is_off:?} {has_health_probe}");
    };
    probe([true, false], true, false, true);
    probe([true, true], true, false, false);
    probe([false, false], false, false, false);
    probe([false, false], false, true, true);
    probe([true, true], false, true, false);
}
