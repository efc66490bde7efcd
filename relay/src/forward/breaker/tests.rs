use super::*;
use proptest::prelude::*;

/// The longest jitter, so that waits are known.
const LONG: u32 = u32::MAX;

/// One step of a row: what happens, and the state after it.
#[derive(Clone, Copy, Debug)]
enum Do {
    /// Asks, and expects this answer: `e`vent, `l`ater, or `-` for not yet.
    Ask(char),
    /// Asks, expects the health probe, and reports this of it. Nothing for a breaker without one.
    Probe(Signal),
    /// Asks, expects the self-test, and reports this of it.
    SelfTest(Signal),
    Foreign,
    Unclear,
    Success,
    Failure,
    FailureFor(u64),
    GiveBack,
    Wait(u64),
    /// The same steps repeatedly.
    Times(u32, &'static [Do]),
}

struct Run {
    breaker: Breaker,
    now: Duration,
    tokens: Vec<Token>,
}

impl Run {
    fn step(&mut self, step: Do) {
        match step {
            Do::Ask(want) => {
                let got = match self.breaker.ask(self.now) {
                    Decision::Event(token) => {
                        self.tokens.push(token);
                        'e'
                    }
                    Decision::Probe(token) => {
                        self.tokens.push(token);
                        'p'
                    }
                    Decision::SelfTest(token) => {
                        self.tokens.push(token);
                        's'
                    }
                    Decision::NotBefore(at) => {
                        assert!(at > self.now);
                        '-'
                    }
                    Decision::Wait => 'l',
                };
                assert_eq!(got, want, "{:?}", self.breaker);
            }
            Do::Probe(_) if !self.breaker.has_health_probe => {}
            Do::Probe(signal) => self.ask_alone('p', signal),
            Do::SelfTest(signal) => self.ask_alone('s', signal),
            Do::Foreign => self.report(Signal::Foreign(None)),
            Do::Unclear => self.report(Signal::Unclear),
            Do::Success => self.report(Signal::Success),
            Do::Failure => self.report(Signal::Failure(None)),
            Do::FailureFor(seconds) => self.report(Signal::Failure(Some(Duration::from_secs(seconds)))),
            Do::GiveBack => {
                let token = self.tokens.remove(0);
                self.breaker.give_back(&token);
            }
            Do::Wait(seconds) => self.now += Duration::from_secs(seconds),
            Do::Times(times, steps) => (0..times).for_each(|_| steps.iter().for_each(|s| self.step(*s))),
        }
    }

    fn ask_alone(&mut self, what: char, signal: Signal) {
        self.step(Do::Ask(what));
        // One at a time.
        self.step(Do::Ask('l'));
        let token = self.tokens.pop().unwrap();
        self.breaker.report(&token, signal, self.now, LONG);
    }

    /// The oldest token first.
    fn report(&mut self, signal: Signal) {
        let token = self.tokens.remove(0);
        self.breaker.report(&token, signal, self.now, LONG);
    }
}

#[test]
fn it_opens_when_plausible_is_away_and_closes_one_careful_step_after_the_other() {
    use Do::{Ask, Failure, FailureFor, GiveBack, Success, Times, Wait};
    const FAIL: Do = Times(FAILURES_MAX, &[Ask('e'), Failure]);
    const FAIL_ALMOST: Do = Times(FAILURES_MAX - 1, &[Ask('e'), Failure]);
    let check = |steps: &[Do], want: State| {
        for has_health_probe in [true, false] {
            let mut run = Run {
                breaker: Breaker::new(has_health_probe),
                now: Duration::ZERO,
                tokens: Vec::new(),
            };
            steps.iter().for_each(|step| run.step(*step));
            assert_eq!(run.breaker.state(), want, "{steps:?} {has_health_probe}");
        }
    };
    const PROBED: Do = Do::Probe(Signal::Success);
    check(&[], State::Closed);
    check(&[FAIL_ALMOST], State::Closed);
    check(&[FAIL], State::Open);
    check(&[FAIL_ALMOST, Ask('e'), Success, FAIL_ALMOST], State::Closed);
    // Every second one fails: half of the last, none in a row.
    check(
        &[Times(15, &[Ask('e'), Success, Ask('e'), Failure])],
        State::Closed,
    );
    check(&[Times(16, &[Ask('e'), Success, Ask('e'), Failure])], State::Open);
    check(
        &[Times(
            90,
            &[Ask('e'), Success, Ask('e'), Success, Ask('e'), Failure],
        )],
        State::Closed,
    );
    // With a Retry-After.
    check(&[Ask('e'), FailureFor(7)], State::Open);
    check(&[Ask('e'), FailureFor(7), Wait(7), Ask('-')], State::Open);
    check(
        &[Ask('e'), FailureFor(7), Wait(8), PROBED, Ask('e'), Success],
        State::Closed,
    );
    // Open, nothing goes; after the wait one thing at a time.
    check(&[FAIL, Ask('-')], State::Open);
    check(&[FAIL, Wait(1), PROBED, Ask('e'), Ask('l')], State::HalfOpen);
    check(
        &[FAIL, Wait(1), PROBED, Ask('e'), GiveBack, Ask('e')],
        State::HalfOpen,
    );
    check(&[FAIL, Wait(1), PROBED, Ask('e'), Failure, Ask('-')], State::Open);
    check(
        &[FAIL, Wait(1), PROBED, Ask('e'), Success, Ask('e'), Ask('e')],
        State::Closed,
    );
    check(&[FAIL, Wait(1), Do::Probe(Signal::Failure(None))], State::Open);
    // The second wait is longer than the first, and a close forgets how often it opened.
    check(
        &[FAIL, Wait(1), PROBED, Ask('e'), Failure, Wait(1), Ask('-')],
        State::Open,
    );
    check(
        &[
            FAIL,
            Wait(1),
            PROBED,
            Ask('e'),
            Failure,
            Wait(2),
            PROBED,
            Ask('e'),
        ],
        State::HalfOpen,
    );
    check(
        &[
            FAIL,
            Wait(1),
            PROBED,
            Ask('e'),
            Success,
            FAIL,
            Wait(1),
            PROBED,
            Ask('e'),
        ],
        State::HalfOpen,
    );
    // A request that was in flight when it opened says nothing about now, but its Retry-After counts.
    check(
        &[Ask('e'), Ask('e'), Ask('e'), FailureFor(1), Success, Ask('-')],
        State::Open,
    );
    check(
        &[
            Ask('e'),
            Ask('e'),
            FailureFor(1),
            FailureFor(9),
            Wait(8),
            Ask('-'),
        ],
        State::Open,
    );
    check(
        &[
            Ask('e'),
            Ask('e'),
            FailureFor(1),
            Wait(2),
            PROBED,
            Ask('e'),
            Failure,
            Ask('l'),
        ],
        State::HalfOpen,
    );
}

#[test]
fn a_relay_with_a_backlog_asks_before_it_sends_and_one_without_does_not() {
    use Do::{Ask, Probe, SelfTest, Success, Wait};
    let check = |breaker: fn(bool) -> Breaker, steps: &[Do], want: State| {
        for has_health_probe in [true, false] {
            let mut run = Run {
                breaker: breaker(has_health_probe),
                now: Duration::ZERO,
                tokens: Vec::new(),
            };
            steps.iter().for_each(|step| run.step(*step));
            assert_eq!(run.breaker.state(), want, "{steps:?} {has_health_probe}");
        }
    };
    let careful = Breaker::careful;
    check(Breaker::new, &[Ask('e'), Ask('e')], State::Closed);
    check(
        careful,
        &[Probe(Signal::Success), SelfTest(Signal::Success)],
        State::HalfOpen,
    );
    let asked = [
        Probe(Signal::Success),
        SelfTest(Signal::Success),
        Ask('e'),
        Ask('l'),
    ];
    check(careful, &asked, State::HalfOpen);
    check(careful, &[&asked[..], &[Success]].concat(), State::Closed);
    // Plausible is away; its identity is checked once it is back.
    let away = [Probe(Signal::Success), SelfTest(Signal::Failure(None)), Wait(1)];
    check(careful, &[&away[..], &asked[..]].concat(), State::HalfOpen);
    // Another server answers: no event goes to it.
    let foreign = [
        Probe(Signal::Success),
        SelfTest(Signal::Foreign(None)),
        Wait(1),
        SelfTest(Signal::Foreign(None)),
        Wait(2),
        SelfTest(Signal::Success),
        Ask('e'),
        Ask('l'),
    ];
    check(careful, &foreign, State::HalfOpen);
}

#[test]
fn what_is_not_plausible_gets_the_self_test_alone_until_it_answers_as_plausible() {
    use Do::{Ask, Failure, Foreign, Probe, SelfTest, Success, Times, Unclear, Wait};
    let check = |what: &str, steps: &[&[Do]], want: State| {
        for has_health_probe in [true, false] {
            let mut run = Run {
                breaker: Breaker::new(has_health_probe),
                now: Duration::ZERO,
                tokens: Vec::new(),
            };
            steps.iter().copied().flatten().for_each(|step| run.step(*step));
            assert_eq!(run.breaker.state(), want, "{what} {has_health_probe}");
        }
    };
    let unclear = [Ask('e'), Unclear, Ask('-'), Wait(1)];
    let asked = [SelfTest(Signal::Success), Ask('e'), Ask('l')];
    let explained = [SelfTest(Signal::Foreign(None)), Wait(2)];
    check("one that may have cost an event", &[&unclear[..2]], State::Open);
    check("nothing goes", &[&unclear[..3]], State::Open);
    check(
        "then the self-test, until it is Plausible, and then one event",
        &[&unclear, &explained, &asked],
        State::HalfOpen,
    );
    check(
        "which is taken",
        &[&unclear, &explained, &asked, &[Success]],
        State::Closed,
    );
    let still = [
        SelfTest(Signal::Failure(None)),
        Wait(4),
        SelfTest(Signal::Foreign(None)),
        Wait(8),
    ];
    check(
        "it goes on until that is Plausible",
        &[&unclear, &explained, &still, &asked],
        State::HalfOpen,
    );
    let in_flight = [Ask('e'), Ask('e'), Unclear, Unclear, Ask('-'), Wait(1)];
    check(
        "what was in flight when it opened changes nothing",
        &[&in_flight, &explained, &asked],
        State::HalfOpen,
    );
    // Plausible answers the self-test at once, so it does not explain the fate of the event.
    let unexplained = [SelfTest(Signal::Success), Ask('-'), Wait(4), Ask('-'), Wait(1)];
    check("a long wait", &[&unclear, &unexplained[..4]], State::Open);
    check(
        "and one event",
        &[&unclear, &unexplained, &asked],
        State::HalfOpen,
    );
    check(
        "which is taken",
        &[
            &unclear,
            &unexplained,
            &asked,
            &[Success],
            &unclear,
            &unexplained,
            &asked,
        ],
        State::HalfOpen,
    );
    let again = [
        Unclear,
        Wait(2),
        SelfTest(Signal::Success),
        Wait(19),
        Ask('-'),
        Wait(1),
    ];
    check(
        "or is not, and the wait is four times as long",
        &[&unclear, &unexplained, &asked, &again, &asked],
        State::HalfOpen,
    );
    let at_last = [
        Unclear,
        Wait(60),
        SelfTest(Signal::Success),
        Wait(3599),
        Ask('-'),
        Wait(1),
    ];
    let before = [Unclear, Wait(60), SelfTest(Signal::Success), Wait(3600)];
    let many: Vec<Do> = (0..9).flat_map(|_| [&before[..], &asked[..]].concat()).collect();
    check(
        "an hour at most",
        &[&unclear, &unexplained, &asked, &many, &at_last, &asked],
        State::HalfOpen,
    );
    let wrong = [Times(FAILURES_MAX, &[Ask('e'), Foreign]), Ask('-'), Wait(1)];
    check(
        "a wrong address",
        &[&[Times(FAILURES_MAX - 1, &[Ask('e'), Foreign])]],
        State::Closed,
    );
    check("again and again", &[&wrong, &asked, &[Success]], State::Closed);
    let ill = [Failure, Wait(2), Probe(Signal::Success), Ask('e'), Success];
    check(
        "and away once it was recognised",
        &[&wrong, &asked, &ill],
        State::Closed,
    );
}

proptest! {
    /// Invariants: nothing goes while it is open, at most one request is out while it is half open, it is never stuck,
    /// and it closes only by an accepted event.
    #[test]
    fn it_never_sends_while_open_and_is_never_stuck(
        has_health_probe: bool,
        is_careful: bool,
        steps in prop::collection::vec((0_u8..8, 0_u16..90, any::<u32>()), 0..200),
    ) {
        let mut breaker = if is_careful { Breaker::careful(has_health_probe) } else { Breaker::new(has_health_probe) };
        let mut now = Duration::ZERO;
        let mut out: Vec<Token> = Vec::new();
        for (what, number, random) in steps {
            let before = breaker.state();
            let (until, is_foreign) = (breaker.until(), breaker.trust == Trust::Foreign);
            match what {
                0 | 1 => match breaker.ask(now) {
                    Decision::Event(token) => {
                        prop_assert!(!is_foreign);
                        prop_assert!(until.is_none_or(|until| until <= now));
                        out.push(token);
                    }
                    Decision::Probe(token) => {
                        prop_assert!(has_health_probe && before != State::Closed && !is_foreign);
                        out.push(token);
                    }
                    Decision::SelfTest(token) => {
                        prop_assert!(before != State::Closed);
                        out.push(token);
                    }
                    Decision::NotBefore(at) => prop_assert!(now < at && before == State::Open),
                    Decision::Wait => prop_assert!(out.iter().any(|token| token.era == breaker.era)),
                },
                2 => now += Duration::from_secs(number.into()),
                _ if out.is_empty() => {}
                3 => breaker.give_back(&out.swap_remove(usize::from(number) % out.len())),
                signal => {
                    let token = out.swap_remove(usize::from(number) % out.len());
                    let asked = (number % 5 == 0).then(|| Duration::from_secs(number.into()));
                    let signal = match signal {
                        4 => Signal::Success,
                        5 => Signal::Failure(asked),
                        6 => Signal::Foreign(asked),
                        _ => Signal::Unclear,
                    };
                    let is_current = token.era == breaker.era;
                    breaker.report(&token, signal, now, random);
                    if before != State::Closed && breaker.state() == State::Closed {
                        prop_assert!(is_current && signal == Signal::Success && before == State::HalfOpen);
                    }
                }
            }
            let half_open = breaker.state() == State::HalfOpen;
            let current = out.iter().filter(|token| token.era == breaker.era).count();
            prop_assert!(!half_open || current <= 1, "{current} out at once");
            prop_assert!(breaker.state() != State::Open || current == 0);
        }
        // Every request in flight succeeds; then it closes within a bound.
        let mut rounds = 0;
        while breaker.state() != State::Closed {
            rounds += 1;
            prop_assert!(rounds < 12, "stuck: {:?}", breaker);
            out.drain(..).for_each(|token| breaker.report(&token, Signal::Success, now, 0));
            match breaker.ask(now) {
                Decision::Event(token) | Decision::Probe(token) | Decision::SelfTest(token) => out.push(token),
                Decision::NotBefore(at) => {
                    prop_assert!(at - now <= backoff::RETRY_AFTER_MAX + Duration::from_secs(61));
                    now = at;
                }
                Decision::Wait => {}
            }
        }
    }
}
