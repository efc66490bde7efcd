//! The limits one by one, and strangers, who do not pass. Offices, which do, are in [`office`]. The tests advance the clock.

mod office;

use super::*;
use crate::config::Config;
use governor::clock::FakeRelativeClock;
use std::path::Path;

const SEED: [u8; 16] = [7; 16];
const SITE: &str = "panel.example.com";
const OFFICE: &str = "192.0.2.1";

fn config(lines: &str) -> Config {
    let text = format!(
        "[upstream]\nurl = \"http://127.0.0.1:9\"\n[[site]]\ndomain = \"{SITE}\"\n[budget]\n{lines}\n"
    );
    Config::parse("relay.toml", &text, Path::new("/"), &|_| None).unwrap()
}

/// Every limit between the network and the spool, on a fake clock.
struct Door {
    budgets: Budgets<FakeRelativeClock>,
    /// The request limit, set up like the one in `http`.
    requests: Limit<FakeRelativeClock>,
    clock: FakeRelativeClock,
    /// If true, nothing can be stored: events are refused after they were charged.
    is_out: bool,
}

impl Door {
    fn with(lines: &str) -> Self {
        let config = config(lines);
        let clock = FakeRelativeClock::default();
        Self {
            budgets: Budgets::with(&config.budget, config.public.rate_per_site, &clock, SEED),
            requests: Limit::new(config.public.rate_per_client, 64, clock.clone(), SEED),
            clock,
            is_out: false,
        }
    }

    /// Sends a request with `events` events. Returns `None` if it is accepted.
    fn refuses(&self, client: &str, visitor: u64, events: usize) -> Option<Outcome> {
        let client = client.parse().unwrap();
        if self.requests.take(&client_of(client), 1).is_err() {
            return Some(Outcome::LimitedClient);
        }
        if let Err(refused) = self.take(client, visitor, events) {
            return Some(refused.outcome);
        }
        self.is_out.then(|| {
            // `corridor` gives back in the same way.
            self.budgets.give_back(payer(client, visitor), events);
            Outcome::SpoolUnavailable
        })
    }

    fn take(&self, client: IpAddr, visitor: u64, events: usize) -> Result<ClientLoad, Refused> {
        self.budgets.take(payer(client, visitor), events)
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

fn payer(client: IpAddr, visitor: u64) -> Payer<'static> {
    Payer {
        client,
        site: SITE,
        visitor: pseudonym(visitor),
    }
}

/// A pseudonym that looks random.
pub(super) fn pseudonym(n: u64) -> Ipv6Addr {
    let mixed = |n: u64| {
        // SplitMix64.
        let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (n ^ (n >> 31)).to_be_bytes()
    };
    let mut octets = [0x20; 16];
    octets[..8].copy_from_slice(&mixed(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    octets[8..].copy_from_slice(&mixed(n.wrapping_mul(0xd1b5_4a32_d192_ed03).wrapping_add(1)));
    octets.into()
}

#[test]
fn what_could_not_be_stored_is_not_of_the_day_and_what_was_stored_is() {
    let mut door = Door::with("events_per_client_day = 100");
    door.is_out = true;
    for n in 0..30 {
        assert_eq!(
            door.refuses(OFFICE, 1, 20),
            Some(Outcome::SpoolUnavailable),
            "{n}"
        );
    }
    for client in [OFFICE, "2001:db8:1:1::1"] {
        // Giving back more than was taken does not raise the budget above one day's.
        door.budgets
            .give_back(payer(client.parse().unwrap(), 1), 1_000_000);
        door.is_out = false;
        let taken = (0..30).filter(|_| door.refuses(client, 1, 20).is_none());
        assert_eq!(taken.count(), 5, "{client}");
    }
}

#[test]
fn a_batch_that_one_limit_refuses_takes_nothing_of_the_others() {
    // The limit in `lines` refuses the first request; the second, from another client or later, still has all other
    // limits.
    let check = |lines: &str, per_site: Rate, first: (u64, usize), pass_s: u64, second: (u64, usize)| {
        let clock = FakeRelativeClock::default();
        let budgets = Budgets::with(&config(lines).budget, per_site, &clock, SEED);
        let client = OFFICE.parse().unwrap();
        let take = |(visitor, events)| budgets.take(payer(client, visitor), events);
        assert!(take((0, 10)).is_ok(), "{lines}");
        for n in 0..100 {
            assert!(take(first).is_err(), "{lines} {n}");
        }
        clock.advance(Duration::from_secs(pass_s));
        assert_eq!(take(second).err(), None, "{lines}");
    };
    let wide = Rate::per_second(0, 1);
    // the limit per day: the client's and the visitor's events stay
    let day = "events_per_client_day = 20\nevents_per_client = 1\nevents_per_client_burst = 20";
    check(day, wide, (0, 11), 0, (0, 10));
    // the site's rate: the limit per day stays
    let day = "events_per_client_day = 20";
    check(day, Rate::per_second(1, 15), (0, 10), 10, (0, 10));
    // the site's rate: the new visitors stay
    let visitors =
        "new_visitors_per_client = 1\nnew_visitors_per_client_burst = 2\nnew_visitors_per_client_day = 2";
    check(visitors, Rate::per_second(1, 15), (1, 10), 10, (2, 10));
    // the new visitors per day: those of a minute stay for the second request
    let events = "new_visitors_per_client = 1\nnew_visitors_per_client_burst = 2\nevents_per_client_day = 20";
    check(events, wide, (1, 11), 0, (2, 10));
}

/// Sends `requests` requests within `seconds` seconds. Returns how many events are accepted, and of how many
/// visitors.
fn attack(
    client: impl Fn(u64) -> String,
    visitor: impl Fn(u64) -> u64,
    batch: usize,
    requests: u64,
    seconds: u64,
) -> (usize, usize) {
    let door = Door::with("");
    let (mut events, mut visitors) = (0, std::collections::HashSet::new());
    for n in 0..requests {
        if door.refuses(&client(n), visitor(n), batch).is_none() {
            events += batch;
            visitors.insert(visitor(n));
        }
        door.pass(Duration::from_millis(seconds * 1000) / u32::try_from(requests).unwrap());
    }
    (events, visitors.len())
}

#[test]
fn a_stranger_with_one_address_brings_little() {
    let check = |what: &str,
                 visitor: &dyn Fn(u64) -> u64,
                 batch: usize,
                 requests: u64,
                 seconds: u64,
                 most: (usize, usize)| {
        let (events, visitors) = attack(|_| OFFICE.to_owned(), visitor, batch, requests, seconds);
        assert!(
            events <= most.0 && visitors <= most.1,
            "{what}: {events} events, {visitors} visitors"
        );
    };
    //    what                                   visitor       batch  requests  s   most events, visitors
    check(
        "the flood of one visitor",
        /*     */ &|_| 0,
        /*     */ 1,
        141_600,
        25,
        (3_900, 1),
    );
    check(
        "the flood in batches",
        /*         */ &|_| 0,
        /*   */ 100,
        1_416,
        25,
        (3_900, 1),
    );
    check(
        "a visitor for each request",
        /*   */ &|n| n,
        /*     */ 1,
        141_600,
        25,
        (180, 180),
    );
    check(
        "a thousand requests",
        /*          */ &|n| n,
        /*     */ 1,
        1_000,
        1,
        (110, 110),
    );
    check(
        "a crowd that comes again",
        /*     */ &|n| n % 200,
        /* */ 1,
        141_600,
        25,
        (13_000, 180),
    );
    // One request a second for a day: the most that a stranger who knows the budgets can invent.
    check(
        "a day of new visitors",
        /*        */ &|n| n,
        /*     */ 1,
        86_400,
        86_400,
        (10_100, 10_100),
    );
}

#[test]
fn a_stranger_with_a_whole_network_brings_eight_times_as_much() {
    let in_network = |n: u64| format!("2001:db8:1:{:x}::{n:x}", n % 65_536);
    let (events, visitors) = attack(in_network, |n| n, 1, 50_000, 10);
    assert!(
        (800..1_100).contains(&visitors) && events == visitors,
        "{visitors} of one /48"
    );
    // Addresses of the same /64 are one client.
    let (_, visitors) = attack(|n| format!("2001:db8:1:1::{n:x}"), |n| n, 1, 5_000, 1);
    assert!(visitors <= 110, "{visitors} of one /64");
}

#[test]
fn who_is_one_client() {
    // One new visitor a minute is allowed: is the second address allowed one as well?
    let check = |first: &str, second: &str, allowed: bool| {
        let door = Door::with("new_visitors_per_client = 1\nnew_visitors_per_client_burst = 1");
        assert_eq!(door.refuses(first, 1, 1), None);
        let refused = door.refuses(second, 2, 1);
        let want = (!allowed).then_some(Outcome::LimitedVisitors);
        assert_eq!(refused, want, "{first} then {second}");
        assert_eq!(door.refuses(first, 1, 1), None, "who is known is not refused");
    };
    check("192.0.2.1", "192.0.2.1", false);
    check("192.0.2.1", "192.0.2.2", true);
    check("::ffff:192.0.2.1", "192.0.2.1", false);
    check("2001:db8:1:1::1", "2001:db8:1:1:ffff::9", false);
    check("2001:db8:1:1::1", "2001:db8:1:2::1", true);
}

#[test]
fn a_refused_request_of_one_client_uses_no_other_clients_rate() {
    let config = config("events_per_client = 60\nevents_per_client_burst = 100");
    let clock = FakeRelativeClock::default();
    let budgets = Budgets::with(&config.budget, Rate::per_second(1, 400), &clock, SEED);
    let take = |client: &str, visitor, events| {
        let payer = Payer {
            client: client.parse().unwrap(),
            site: SITE,
            visitor: pseudonym(visitor),
        };
        budgets.take(payer, events).err().map(|refused| refused.outcome)
    };
    let refused = (0..1_000).filter(|_| take("192.0.2.1", 1, 10).is_some()).count();
    assert_eq!(refused, 1_000 - 3 - 10, "its visitor's 30 and its own 100");
    // The site has 270 left.
    for n in 0..9 {
        assert_eq!(take(&format!("198.51.100.{n}"), 100 + n, 30), None, "{n}");
    }
    assert_eq!(take("198.51.100.9", 109, 30), Some(Outcome::LimitedSite));
    // The neighbours in the same /48 keep theirs too.
    let refused = (0..1_000)
        .filter(|_| take("2001:db8:1:1::1", 2, 10).is_some())
        .count();
    assert!(refused > 900);
    assert_eq!(take("2001:db8:1:2::1", 3, 10), Some(Outcome::LimitedSite));
}

#[test]
fn exempt_networks_have_no_budget_and_zero_is_none() {
    let check = |lines: &str, client: &str, limited: bool| {
        let door = Door::with(lines);
        let client = client.parse().unwrap();
        let refused = (0..10_000).any(|n| door.take(client, n, 1).is_err());
        assert_eq!(refused, limited, "{lines} {client}");
    };
    let exempt = "exempt = [\"198.51.100.0/24\", \"2001:db8::/32\"]";
    check(exempt, "198.51.100.7", false);
    check(exempt, "::ffff:198.51.100.7", false);
    check(exempt, "2001:db8:1::1", false);
    check(exempt, "192.0.2.1", true);
    check(
        "new_visitors_per_client = 0\nnew_visitors_per_client_day = 0",
        "192.0.2.1",
        false,
    );
    check("new_visitors_per_client = 0", "192.0.2.1", true);
}

#[test]
fn a_client_near_its_budgets_is_noticed_before_it_is_refused() {
    let door = Door::with("");
    let client = OFFICE.parse().unwrap();
    let load: Vec<_> = (0..100).map(|n| door.take(client, n, 1).unwrap()).collect();
    let first = load.iter().position(|load| load.is_crowd);
    assert_eq!(first, Some(75));
    assert!(
        !door.take(client, 0, 1).unwrap().is_crowd,
        "one that is known is no crowd"
    );
    let other = "192.0.2.9".parse().unwrap();
    let busy = (0..130).map(|_| door.take(other, 1, 25).map(|load| load.is_busy));
    let busy: Vec<_> = busy.collect();
    assert_eq!(
        busy.iter().filter(|busy| **busy == Ok(true)).count(),
        30,
        "{busy:?}"
    );
    assert!(busy.last().unwrap().is_err());
}
