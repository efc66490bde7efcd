use super::*;
use proptest::prelude::*;
use std::net::Ipv4Addr;

const START: Timestamp = Timestamp(1_800_000_000_000);
const HOUR: i64 = 3_600_000;
/// Most guesses of strangers at one account in an hour.
const GUESSES_PER_HOUR: usize = 80;

fn throttle() -> Throttle {
    Throttle::new([7; 16])
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(START.0 + seconds * 1000)
}

fn from(address: u32) -> Who<'static> {
    Who::Stranger(Source {
        network: Ipv4Addr::from_bits(address).into(),
        is_forwarded: false,
    })
}

/// Guesses until one is refused. Returns how many passed, and the wait in seconds before the next.
fn guess(throttle: &mut Throttle, name: &str, who: Who<'_>, now: Timestamp) -> (usize, u64) {
    for passed in 0..1000 {
        if let Err(wait) = throttle.take(name, who, now) {
            return (passed, wait.as_secs());
        }
    }
    panic!("never refused");
}

#[test]
fn a_strangers_delay_doubles_up_to_an_hour() {
    let mut throttle = throttle();
    assert_eq!(guess(&mut throttle, "alice", from(1), at(0)), (5, 15));
    let mut now = 0;
    for wait in [15, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600] {
        assert_eq!(
            throttle.take("alice", from(1), at(now + wait - 1)),
            Err(Duration::from_secs(1)),
            "after {wait}"
        );
        now += wait;
        assert_eq!(throttle.take("alice", from(1), at(now)), Ok(()), "after {wait}");
    }
}

#[test]
fn a_delay_is_forgotten_in_time_and_after_the_right_password() {
    let mut throttle = throttle();
    assert_eq!(guess(&mut throttle, "alice", from(1), at(0)), (5, 15));
    // Eight hours later two are forgotten.
    assert_eq!(guess(&mut throttle, "alice", from(1), at(28_800)), (2, 15));
    throttle.take("alice", from(1), at(28_815)).unwrap();
    throttle.was_right("alice", from(1));
    assert_eq!(guess(&mut throttle, "alice", from(1), at(28_815)).0, 5);
}

#[test]
fn each_limit_holds_for_its_own_key() {
    // Uses up one budget with `spend`, then checks whether the next guess passes.
    let check = |what: &str, spend: &dyn Fn(&mut Throttle), name: &str, who: Who<'_>, passes: bool| {
        let mut throttle = throttle();
        spend(&mut throttle);
        assert_eq!(throttle.check(name, who, at(0)).is_ok(), passes, "{what}");
    };
    let one_address = |t: &mut Throttle| assert_eq!(guess(t, "alice", from(1), at(0)).0, 5);
    check(
        "the address at the account",
        &one_address,
        "alice",
        from(1),
        false,
    );
    check(
        "another address at the account",
        &one_address,
        "alice",
        from(2),
        true,
    );
    check(
        "the address at another account",
        &one_address,
        "bob",
        from(1),
        true,
    );
    let many_addresses = |t: &mut Throttle| {
        let passed = (1..=9).map(|address| guess(t, "alice", from(address), at(0)).0);
        assert_eq!(passed.sum::<usize>(), 20);
    };
    check(
        "any address at the account",
        &many_addresses,
        "alice",
        from(99),
        false,
    );
    check("any address at another", &many_addresses, "bob", from(99), true);
    check(
        "a known device",
        &many_addresses,
        "alice",
        Who::Device(b"one"),
        true,
    );
    let many_names = |t: &mut Throttle| {
        for n in 0..100 {
            let _ = t.take(&format!("made up {n}"), from(1), at(0));
        }
    };
    check("the address at a new name", &many_names, "alice", from(1), false);
    check(
        "another address at a new name",
        &many_names,
        "alice",
        from(2),
        true,
    );
    let device = |t: &mut Throttle| assert_eq!(guess(t, "alice", Who::Device(b"one"), at(0)), (10, 60));
    check(
        "a device that guessed",
        &device,
        "alice",
        Who::Device(b"one"),
        false,
    );
    check("another device", &device, "alice", Who::Device(b"two"), true);
    check(
        "a stranger after a device's guesses",
        &device,
        "alice",
        from(1),
        true,
    );
}

#[test]
fn the_machine_itself_does_not_wait_for_strangers() {
    let check = |local: &str, is_forwarded: bool, passes: bool| {
        let mut throttle = throttle();
        for address in 0..1000 {
            let _ = throttle.take("alice", from(address), at(0));
        }
        let source = Source {
            network: local.parse().unwrap(),
            is_forwarded,
        };
        let checked = throttle.check("alice", Who::Stranger(source), at(0));
        assert_eq!(checked.is_ok(), passes, "{local} {is_forwarded}");
        // The machine's own budget at the account is no larger than a stranger's.
        if passes {
            assert_eq!(
                guess(&mut throttle, "alice", Who::Stranger(source), at(0)),
                (5, 15)
            );
        }
    };
    check("127.0.0.1", false, true);
    check("::1", false, true);
    check("127.0.0.1", true, false);
    check("192.168.1.1", false, false);
}

#[test]
fn right_passwords_cost_nothing() {
    let mut throttle = throttle();
    for _ in 0..1000 {
        for who in [from(1), Who::Device(b"one")] {
            throttle.take("alice", who, at(0)).unwrap();
            throttle.was_right("alice", who);
        }
    }
}

#[test]
fn made_up_names_do_not_bring_a_delay_to_an_end() {
    let mut throttle = throttle();
    guess(&mut throttle, "alice", from(1), at(0));
    for n in 0..100_000_u32 {
        let _ = throttle.take(&format!("made up {n}"), from(1000 + n), at(1));
    }
    assert!(throttle.check("alice", from(1), at(1)).is_err());
}

/// Strangers at `addresses` addresses guess alice's password every two seconds for six hours. Returns, after each
/// hour, how long her own login takes from an unknown device at another address with one attempt every half minute.
fn waits_of_the_owner(addresses: u32) -> Vec<i64> {
    let mut throttle = throttle();
    let (mut waits, mut began) = (Vec::new(), None);
    for second in (0..6 * 3600).step_by(2) {
        for address in 0..addresses {
            let _ = throttle.take("alice", from(address), at(second));
        }
        if second > 0 && second % 3600 == 0 {
            began = Some(second);
        }
        if let Some(since) = began
            && (second - since) % 30 == 0
            && throttle.take("alice", from(9999), at(second)).is_ok()
        {
            throttle.was_right("alice", from(9999));
            waits.push(second - since);
            began = None;
        }
    }
    waits
}

#[test]
fn the_owner_gets_in_from_an_unknown_device_while_others_guess() {
    // Each address has made its first guess within the first hour, and leaves some to new addresses from then on.
    let check = |addresses: u32, seconds_max: i64| {
        let waits = waits_of_the_owner(addresses);
        assert_eq!(waits.len(), 5, "{addresses} addresses: {waits:?}");
        assert!(
            waits.iter().all(|wait| *wait <= seconds_max),
            "{addresses} addresses: {waits:?}"
        );
    };
    check(1, 0);
    check(10, 0);
    check(60, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn strangers_guess_rarely_from_any_number_of_addresses_and_the_owner_always_gets_in(
        tries in prop::collection::vec((0_i64..20_000, 0_u32..500, 0_usize..2, prop::bool::ANY), 1..2000)
    ) {
        let mut throttle = throttle();
        let (mut now, mut guessed) = (START, [Vec::new(), Vec::new()]);
        for (wait, address, name, is_owner) in tries {
            now = Timestamp(now.0 + wait);
            let account = ["alice", "bob"][name];
            if is_owner {
                let device = Who::Device(account.as_bytes());
                prop_assert_eq!(throttle.take(account, device, now), Ok(()));
                throttle.was_right(account, device);
            } else if throttle.take(account, from(address), now).is_ok() {
                guessed[name].push(now.0);
            }
        }
        for guesses in &guessed {
            for (i, first) in guesses.iter().enumerate() {
                let within = guesses[i..].iter().take_while(|at| **at < first + HOUR).count();
                prop_assert!(within <= GUESSES_PER_HOUR, "{} guesses in an hour", within);
            }
        }
    }
}
