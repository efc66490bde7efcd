//! The rows of contract b.5, and a small model of Plausible that receives the addresses.

use super::*;
use proptest::prelude::*;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

fn visitors(now: i64) -> Visitors {
    fn next() -> Key {
        static N: AtomicU64 = AtomicU64::new(0);
        let mut key = [0; 32];
        key[..8].copy_from_slice(&N.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        key
    }
    Visitors::with_random(Timestamp(now), next)
}

impl Visitors {
    /// The address of a visitor whose events are accepted.
    fn address(
        &self,
        site: &str,
        client: IpAddr,
        user_agent: &str,
        values: DayValues,
        now: Timestamp,
    ) -> Ipv6Addr {
        let visitor = self.pseudonym(site, client, user_agent, values, now);
        self.note(visitor, now);
        visitor.address
    }
}

fn of(visitors: &Visitors, client: &str, now: i64) -> Ipv6Addr {
    visitors.address(
        "panel.example.com",
        client.parse().unwrap(),
        "Agent/1",
        DayValues::default(),
        Timestamp(now),
    )
}

/// The address of a browser that sends its values of the day: today's and the one before.
fn by(visitors: &Visitors, client: &str, values: (u8, u8), now: i64) -> Ipv6Addr {
    let value = |n: u8| (n > 0).then_some([n; 16]);
    let values = DayValues {
        today: value(values.0),
        before: value(values.1),
    };
    let client = client.parse().unwrap();
    visitors.address("panel.example.com", client, "Agent/1", values, Timestamp(now))
}

#[test]
fn browsers_of_one_make_behind_one_address_are_distinguished_by_their_values() {
    let v = visitors(0);
    let office = "192.0.2.1";
    let three: Vec<_> = (1..=3).map(|n| by(&v, office, (n, 0), 0)).collect();
    assert!(three[0] != three[1] && three[1] != three[2] && three[0] != three[2]);
    assert_eq!(by(&v, office, (2, 0), DAY - 1), three[1], "the same all day");
    assert!(
        !three.contains(&of(&v, office, 0)),
        "a tracker without a value is another"
    );
    assert_eq!(by(&v, office, (0, 0), 0), of(&v, office, 0));
    let network: std::collections::HashSet<_> = (1..=50)
        .map(|n| by(&v, &format!("2a00:1:2:3::{n:x}"), (n, 0), 0))
        .collect();
    assert_eq!(network.len(), 50, "hosts of one /64");
    let moved = by(&v, "192.0.2.2", (1, 0), 0);
    assert_ne!(moved, three[0], "the value alone identifies no browser elsewhere");
}

#[test]
fn a_visit_over_midnight_is_one_visitor_though_value_and_key_change() {
    // `before`: minutes from the first event to midnight. `values`, `after`: of the second event, in minutes after midnight.
    let check = |name: &str, before: i64, values: (u8, u8), after: i64, same: bool| {
        let v = visitors(0);
        let first = by(&v, "192.0.2.1", (1, 0), DAY - before * MINUTE);
        let second = by(&v, "192.0.2.1", values, DAY + after * MINUTE);
        assert_eq!(first == second, same, "{name}");
        let third = by(&v, "192.0.2.1", values, DAY + (after + 20) * MINUTE);
        assert_eq!(third, second, "{name}: from there on");
    };
    check("the value of the day before goes along", 5, (2, 1), 5, true);
    check("it does not, and nothing ties them", 5, (2, 0), 5, false);
    check("the visit is over", 20, (2, 1), 15, false);
    check("another's value of the day before", 5, (2, 3), 5, false);
    check("the browser's midnight is still to come", 5, (1, 0), 5, true);
    // The browser's midnight was earlier than the relay's.
    let v = visitors(0);
    let first = by(&v, "192.0.2.1", (1, 0), DAY - 20 * MINUTE);
    assert_eq!(by(&v, "192.0.2.1", (2, 1), DAY - 10 * MINUTE), first);
    assert_eq!(by(&v, "192.0.2.1", (2, 1), DAY + 10 * MINUTE), first);
    assert_ne!(by(&v, "192.0.2.1", (2, 0), DAY + 90 * MINUTE), first);
}

#[test]
fn invented_values_fill_no_memory_beyond_its_limit() {
    let v = visitors(0);
    for n in 0..=RECENT_MAX as u128 + 1000 {
        let values = DayValues {
            today: Some(n.to_be_bytes()),
            before: None,
        };
        v.address(
            "panel.example.com",
            "192.0.2.1".parse().unwrap(),
            "A",
            values,
            Timestamp(0),
        );
    }
    assert_eq!(v.lock().recent.len(), RECENT_MAX);
}

#[test]
fn a_visitor_keeps_one_address_all_day_and_two_visitors_have_two() {
    let v = visitors(0);
    let jane = of(&v, "192.0.2.1", 0);
    assert_eq!(jane.segments()[..2], [0x2001, 0xdb8]);
    assert_eq!(of(&v, "192.0.2.1", DAY - 1), jane);
    assert_eq!(of(&v, "::ffff:192.0.2.1", 5), jane);
    assert_ne!(of(&v, "192.0.2.2", 0), jane);
    let (client, none) = ("192.0.2.1".parse().unwrap(), DayValues::default());
    assert_ne!(
        v.address("other.example.com", client, "Agent/1", none, Timestamp(0)),
        jane
    );
    assert_ne!(
        v.address("panel.example.com", client, "Agent/2", none, Timestamp(0)),
        jane
    );
}

#[test]
fn an_ipv6_visitor_is_its_network() {
    let v = visitors(0);
    assert_eq!(of(&v, "2a00:1:2:3:aaaa::1", 0), of(&v, "2a00:1:2:3:bbbb::2", 0));
    assert_ne!(of(&v, "2a00:1:2:3::1", 0), of(&v, "2a00:1:2:4::1", 0));
}

#[test]
fn a_live_session_keeps_its_address_over_midnight_and_an_idle_visitor_gets_a_new_one() {
    let v = visitors(0);
    let live = of(&v, "192.0.2.1", DAY - 10 * MINUTE);
    let idle = of(&v, "192.0.2.2", DAY - 40 * MINUTE);
    assert_eq!(of(&v, "192.0.2.1", DAY + 15 * MINUTE), live);
    assert_eq!(of(&v, "192.0.2.1", DAY + 40 * MINUTE), live);
    assert_ne!(of(&v, "192.0.2.2", DAY + 15 * MINUTE), idle);
    // The session ends half an hour after its last event; then the new day's key counts.
    let rested = of(&v, "192.0.2.1", DAY + 75 * MINUTE);
    assert_ne!(rested, live);
    assert_eq!(of(&v, "192.0.2.1", DAY + 80 * MINUTE), rested);
}

#[test]
fn no_visitor_is_recognised_after_a_longer_gap() {
    let v = visitors(0);
    let first = of(&v, "192.0.2.1", DAY - 1);
    assert_ne!(of(&v, "192.0.2.1", 3 * DAY), first);
    assert!(v.state.lock().unwrap().beside.is_none());
}

#[test]
fn yesterdays_key_goes_with_the_last_of_its_sessions() {
    let v = visitors(0);
    let has_old_key = || v.lock().beside.is_some();
    of(&v, "192.0.2.1", DAY - 10 * MINUTE);
    v.tend(Timestamp(DAY));
    assert!(has_old_key());
    of(&v, "192.0.2.1", DAY + 15 * MINUTE);
    of(&v, "192.0.2.2", DAY + 40 * MINUTE);
    v.tend(Timestamp(DAY + 44 * MINUTE));
    assert!(has_old_key());
    v.tend(Timestamp(DAY + 46 * MINUTE));
    assert!(!has_old_key());
}

#[test]
fn an_address_does_not_outlive_its_day_however_the_clock_is_set() {
    let check = |starts: i64, set_to: i64, later: i64, same: bool| {
        let v = visitors(starts);
        let jane = of(&v, "192.0.2.1", starts);
        v.tend(Timestamp(set_to));
        let after = of(&v, "192.0.2.1", set_to);
        assert_eq!(after == jane, same, "from {starts} to {set_to}");
        // Days later no earlier address is left, nor one that was used in between.
        let days_later = of(&v, "192.0.2.1", later);
        assert!(
            ![jane, after].contains(&days_later),
            "from {starts} to {set_to}, then {later}"
        );
    };
    let noon = DAY / 2;
    check(3 * DAY + noon, noon, DAY + noon, false);
    check(3 * DAY + noon, noon, 3 * DAY + noon, false);
    check(DAY + noon, noon, DAY + noon, false);
    check(DAY + noon, noon, DAY + noon + 1, false);
    check(DAY + 45 * MINUTE, DAY - 5 * MINUTE, DAY + noon, false);
    check(noon, 3 * DAY + noon, 4 * DAY + noon, false);
    check(noon, noon - 60 * MINUTE, DAY + noon, true);
}

#[test]
fn a_clock_that_steps_back_and_forth_over_midnight_uses_the_keys_of_both_days() {
    let v = visitors(DAY - 20 * MINUTE);
    let late = of(&v, "192.0.2.1", DAY - MINUTE);
    let early = of(&v, "192.0.2.2", DAY);
    for second in 0..30 {
        let (before, after) = (DAY - 1 - second, DAY + second);
        assert_eq!(of(&v, "192.0.2.1", before), late);
        assert_eq!(
            of(&v, "192.0.2.2", before),
            early,
            "a session that began after midnight"
        );
        assert_eq!(of(&v, "192.0.2.1", after), late);
        assert_eq!(of(&v, "192.0.2.2", after), early);
        v.tend(Timestamp(before));
        v.tend(Timestamp(after));
    }
    assert_eq!(
        of(&v, "192.0.2.2", DAY + 300 * MINUTE),
        early,
        "the day's key is the same still"
    );
    assert_ne!(of(&v, "192.0.2.1", DAY + 300 * MINUTE), late);
}

#[test]
fn a_relay_started_a_moment_after_midnight_by_a_clock_that_is_ahead_keeps_its_visitors() {
    let v = visitors(DAY);
    let jane = of(&v, "192.0.2.1", DAY);
    assert_eq!(of(&v, "192.0.2.1", DAY - 2000), jane);
    assert_eq!(of(&v, "192.0.2.1", DAY + 5 * MINUTE), jane);
    assert_eq!(
        of(&v, "192.0.2.1", DAY + 400 * MINUTE),
        jane,
        "the day's key again"
    );
}

#[test]
fn a_session_lives_half_an_hour_to_the_millisecond() {
    let v = visitors(0);
    let (jane, john) = ("192.0.2.1", "192.0.2.2");
    let before = [of(&v, jane, DAY - 1), of(&v, john, DAY - 1)];
    assert_eq!(of(&v, jane, DAY), before[0], "the first millisecond of the day");
    assert_eq!(
        of(&v, jane, DAY + 30 * MINUTE),
        before[0],
        "half an hour is not over"
    );
    assert_ne!(
        of(&v, john, DAY + 30 * MINUTE),
        before[1],
        "a millisecond too late"
    );
}

#[test]
fn a_session_is_of_one_site_and_one_user_agent() {
    let v = visitors(0);
    let at = |site: &str, agent: &str, now| {
        v.address(
            site,
            "192.0.2.1".parse().unwrap(),
            agent,
            DayValues::default(),
            Timestamp(now),
        )
    };
    let live = at("a.example.com", "Agent/1", DAY - 5 * MINUTE);
    let idle = at("b.example.com", "Agent/1", DAY - 45 * MINUTE);
    assert_eq!(at("a.example.com", "Agent/1", DAY + MINUTE), live);
    assert_ne!(at("b.example.com", "Agent/1", DAY + MINUTE), idle);
    // A browser that updates itself during the day is another visitor, as it is to Plausible.
    let updated = at("a.example.com", "Agent/2", DAY + 2 * MINUTE);
    assert_ne!(updated, live);
    assert_eq!(at("a.example.com", "Agent/2", DAY + 3 * MINUTE), updated);
    assert_eq!(at("a.example.com", "Agent/1", DAY + 3 * MINUTE), live);
}

#[test]
fn a_session_over_two_midnights_ends_at_the_second_as_it_does_for_plausible() {
    let v = visitors(0);
    let first = of(&v, "192.0.2.1", DAY - 10 * MINUTE);
    let mut now = DAY;
    while now < 2 * DAY {
        assert_eq!(of(&v, "192.0.2.1", now), first);
        now += 20 * MINUTE;
    }
    let second = of(&v, "192.0.2.1", 2 * DAY + MINUTE);
    assert_ne!(second, first);
    v.tend(Timestamp(2 * DAY + MINUTE));
    assert!(
        v.lock().beside.is_none(),
        "nobody came under the middle day's key"
    );
    assert_eq!(of(&v, "192.0.2.1", 2 * DAY + 2 * MINUTE), second);
}

#[test]
fn yesterdays_key_is_gone_at_once_if_no_request_came_at_midnight() {
    let v = visitors(0);
    of(&v, "192.0.2.1", DAY - 31 * MINUTE);
    v.tend(Timestamp(DAY));
    assert!(v.lock().beside.is_none());
    assert!(v.lock().recent.is_empty());
}

#[test]
fn a_clock_that_jumps_back_over_midnight_splits_no_session() {
    let v = visitors(0);
    let jane = of(&v, "192.0.2.1", DAY - MINUTE);
    assert_eq!(of(&v, "192.0.2.1", DAY + MINUTE), jane);
    assert_eq!(of(&v, "192.0.2.1", DAY - 3 * MINUTE), jane);
    assert_eq!(of(&v, "192.0.2.1", DAY + 20 * MINUTE), jane);
}

#[test]
fn visitors_above_the_limit_are_not_remembered_and_those_below_are() {
    let v = visitors(0);
    let early = of(&v, "192.0.2.1", DAY - 5 * MINUTE);
    let crowd = (0..RECENT_MAX as u128 - 1).map(|n| (Ipv6Addr::from(n), (Timestamp(DAY - 4 * MINUTE), 0)));
    v.lock().recent.extend(crowd);
    let late = of(&v, "192.0.2.2", DAY - 3 * MINUTE);
    assert_eq!(v.lock().recent.len(), RECENT_MAX);
    assert_eq!(
        of(&v, "192.0.2.2", DAY - 2 * MINUTE),
        late,
        "the day's key still holds"
    );
    assert_eq!(of(&v, "192.0.2.1", DAY + MINUTE), early);
    assert_ne!(of(&v, "192.0.2.2", DAY + MINUTE), late);
    // `tend` makes room once the sessions are over.
    v.tend(Timestamp(DAY + 27 * MINUTE));
    assert_eq!(v.lock().recent.len(), 1);
}

/// A model of Plausible's use of an address (contract b.4): a visitor id by the day's salt, and sessions that are looked
/// up under today's id, then under yesterday's.
#[derive(Default)]
struct ModelPlausible {
    /// The time of the last event of a session, by visitor id, which stands for salt, address and site.
    sessions: HashMap<(i64, Ipv6Addr, usize), i64>,
}

impl ModelPlausible {
    /// Takes an event and returns the visitor it counts for, and whether a session began.
    fn take(&mut self, address: Ipv6Addr, site: usize, now: i64) -> ((i64, Ipv6Addr, usize), bool) {
        let today = now.div_euclid(DAY);
        let ids = [today, today - 1].map(|day| (day, address, site));
        let live = ids.into_iter().find(|id| {
            self.sessions
                .get(id)
                .is_some_and(|last| now - last <= 30 * MINUTE)
        });
        let id = live.unwrap_or(ids[0]);
        self.sessions.insert(id, now);
        (id, live.is_none())
    }
}

proptest! {
    /// Four people on two sites, at random times over about four days.
    #[test]
    fn to_plausible_a_session_over_midnight_is_one_visitor_and_a_later_one_is_another(
        steps in prop::collection::vec(
            (0..4u8, 0..2usize, prop_oneof![6 => 0..9 * MINUTE, 2 => 0..40 * MINUTE, 1 => 0..10 * 60 * MINUTE], any::<bool>()),
            1..160,
        ),
        begins in 0..DAY,
    ) {
        let sites = ["a.example.com", "b.example.com"];
        let v = visitors(begins);
        let mut plausible = ModelPlausible::default();
        let mut now = begins;
        // For each person on each site: the last event, its address and visitor, and the day its session began.
        let mut last = HashMap::new();
        let mut whose = HashMap::new();
        for (person, site, pause, tend) in steps {
            now += pause;
            if tend {
                v.tend(Timestamp(now));
            }
            let client = Ipv4Addr::new(192, 0, 2, person).into();
            let address = v.address(sites[site], client, "Agent/1", DayValues::default(), Timestamp(now));
            prop_assert_eq!(*whose.entry(address).or_insert((person, site)), (person, site), "an address of two");
            let (visitor, new_session) = plausible.take(address, site, now);
            let today = now.div_euclid(DAY);
            let mut began = today;
            if let Some((then, address_then, visitor_then, began_then)) = last.get(&(person, site)).copied() {
                let day_then = i64::div_euclid(then, DAY);
                let in_time = now - then <= 30 * MINUTE;
                if in_time && today <= began_then + 1 {
                    prop_assert_eq!((visitor, new_session), (visitor_then, false), "a visit was split");
                    began = began_then;
                } else if !in_time && today > day_then {
                    prop_assert_ne!(address, address_then, "recognised on another day");
                    prop_assert!(new_session);
                } else if !in_time && began_then == today {
                    prop_assert_eq!((address, visitor), (address_then, visitor_then), "two visitors on one day");
                    prop_assert!(new_session);
                }
            }
            last.insert((person, site), (now, address, visitor, began));
        }
    }
}
