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
    Probe(Sign),
    /// Asks, expects the self-test, and reports this of it.
    SelfTest(Sign),
    Foreign,
    Unclear,
    Well,
    Ill,
    IllFor(u64),
    GiveBack,
    Wait(u64),
    /// The same step again and again.
    Times(u32, &'static [Do]),
}

struct Run {
    breaker: Breaker,
    now: Duration,
    passes: Vec<Pass>,
}

impl Run {
    fn step(&mut self, step: Do) {
        match step {
            Do::Ask(want) => {
                let got = match self.breaker.ask(self.now) {
                    Leave::Event(pass) => {
                        self.passes.push(pass);
                        'e'
                    }
                    Leave::Probe(pass) => {
                        self.passes.push(pass);
                        'p'
                    }
                    Leave::SelfTest(pass) => {
                        self.passes.push(pass);
                        's'
                    }
                    Leave::At(at) => {
                        assert!(at > self.now);
                        '-'
                    }
                    Leave::Later => 'l',
                };
                assert_eq!(got, want, "{:?}", self.breaker);
            }
            Do::Probe(_) if !self.breaker.has_health_probe => {}
            Do::Probe(sign) => self.ask_alone('p', sign),
            Do::SelfTest(sign) => self.ask_alone('s', sign),
            Do::Foreign => self.report(Sign::Foreign(None)),
            Do::Unclear => self.report(Sign::Unclear),
            Do::Well => self.report(Sign::Well),
            Do::Ill => self.report(Sign::Ill(None)),
            Do::IllFor(seconds) => self.report(Sign::Ill(Some(Duration::from_secs(seconds)))),
            Do::GiveBack => {
                let pass = self.passes.remove(0);
                self.breaker.give_back(pass);
            }
            Do::Wait(seconds) => self.now += Duration::from_secs(seconds),
            Do::Times(times, steps) => (0..times).for_each(|_| steps.iter().for_each(|s| self.step(*s))),
        }
    }

    fn ask_alone(&mut self, what: char, sign: Sign) {
        self.step(Do::Ask(what));
        // One at a time.
        self.step(Do::Ask('l'));
        let pass = self.passes.pop().unwrap();
        self.breaker.report(pass, sign, self.now, LONG);
    }

    /// The oldest pass first.
    fn report(&mut self, sign: Sign) {
        let pass = self.passes.remove(0);
        self.breaker.report(pass, sign, self.now, LONG);
    }
}

#[test]
fn it_opens_when_plausible_is_away_and_closes_one_careful_step_after_the_other() {
    use Do::{Ask, GiveBack, Ill, IllFor, Times, Wait, Well};
    const FAIL: Do = Times(FAILURES_MAX, &[Ask('e'), Ill]);
    const FAIL_ALMOST: Do = Times(FAILURES_MAX - 1, &[Ask('e'), Ill]);
    let check = |steps: &[Do], want: State| {
        for has_health_probe in [true, false] {
            let mut run = Run {
                breaker: Breaker::new(has_health_probe),
                now: Duration::ZERO,
                passes: Vec::new(),
            };
            steps.iter().for_each(|step| run.step(*step));
            assert_eq!(run.breaker.state(), want, "{steps:?} {has_health_probe}");
        }
    };
    const PROBED: Do = Do::Probe(Sign::Well);
    check(&[], State::Closed);
    check(&[FAIL_ALMOST], State::Closed);
    check(&[FAIL], State::Open);
    check(&[FAIL_ALMOST, Ask('e'), Well, FAIL_ALMOST], State::Closed);
    // Every second one fails: half of the last, none in a row.
    check(&[Times(15, &[Ask('e'), Well, Ask('e'), Ill])], State::Closed);
    check(&[Times(16, &[Ask('e'), Well, Ask('e'), Ill])], State::Open);
    check(
        &[Times(90, &[Ask('e'), Well, Ask('e'), Well, Ask('e'), Ill])],
        State::Closed,
    );
    // Asked to leave it alone.
    check(&[Ask('e'), IllFor(7)], State::Open);
    check(&[Ask('e'), IllFor(7), Wait(7), Ask('-')], State::Open);
    check(
        &[Ask('e'), IllFor(7), Wait(8), PROBED, Ask('e'), Well],
        State::Closed,
    );
    // Open, nothing goes; after the wait one thing at a time.
    check(&[FAIL, Ask('-')], State::Open);
    check(&[FAIL, Wait(1), PROBED, Ask('e'), Ask('l')], State::HalfOpen);
    check(
        &[FAIL, Wait(1), PROBED, Ask('e'), GiveBack, Ask('e')],
        State::HalfOpen,
    );
    check(&[FAIL, Wait(1), PROBED, Ask('e'), Ill, Ask('-')], State::Open);
    check(
        &[FAIL, Wait(1), PROBED, Ask('e'), Well, Ask('e'), Ask('e')],
        State::Closed,
    );
    check(&[FAIL, Wait(1), Do::Probe(Sign::Ill(None))], State::Open);
    // The second wait is longer than the first, and a close forgets how often it opened.
    check(
        &[FAIL, Wait(1), PROBED, Ask('e'), Ill, Wait(1), Ask('-')],
        State::Open,
    );
    check(
        &[FAIL, Wait(1), PROBED, Ask('e'), Ill, Wait(2), PROBED, Ask('e')],
        State::HalfOpen,
    );
    check(
        &[
            FAIL,
            Wait(1),
            PROBED,
            Ask('e'),
            Well,
            FAIL,
            Wait(1),
            PROBED,
            Ask('e'),
        ],
        State::HalfOpen,
    );
    // What was under way when it opened says nothing about now, but a wish is kept.
    check(
        &[Ask('e'), Ask('e'), Ask('e'), IllFor(1), Well, Ask('-')],
        State::Open,
    );
    check(
        &[Ask('e'), Ask('e'), IllFor(1), IllFor(9), Wait(8), Ask('-')],
        State::Open,
    );
    check(
        &[
            Ask('e'),
            Ask('e'),
            IllFor(1),
            Wait(2),
            PROBED,
            Ask('e'),
            Ill,
            Ask('l'),
        ],
        State::HalfOpen,
    );
}

#[test]
fn a_relay_with_a_backlog_asks_before_it_sends_and_one_without_does_not() {
    use Do::{Ask, Probe, SelfTest, Wait, Well};
    let check = |breaker: fn(bool) -> Breaker, steps: &[Do], want: State| {
        for has_health_probe in [true, false] {
            let mut run = Run {
                breaker: breaker(has_health_probe),
                now: Duration::ZERO,
                passes: Vec::new(),
            };
            steps.iter().for_each(|step| run.step(*step));
            assert_eq!(run.breaker.state(), want, "{steps:?} {has_health_probe}");
        }
    };
    let careful = Breaker::careful;
    check(Breaker::new, &[Ask('e'), Ask('e')], State::Closed);
    check(
        careful,
        &[Probe(Sign::Well), SelfTest(Sign::Well)],
        State::HalfOpen,
    );
    let asked = [Probe(Sign::Well), SelfTest(Sign::Well), Ask('e'), Ask('l')];
    check(careful, &asked, State::HalfOpen);
    check(careful, &[&asked[..], &[Well]].concat(), State::Closed);
    // It is away, and who it is will be asked once it is back.
    let away = [Probe(Sign::Well), SelfTest(Sign::Ill(None)), Wait(1)];
    check(careful, &[&away[..], &asked[..]].concat(), State::HalfOpen);
    // Something else answers: no event goes to it.
    let foreign = [
        Probe(Sign::Well),
        SelfTest(Sign::Foreign(None)),
        Wait(1),
        SelfTest(Sign::Foreign(None)),
        Wait(2),
        SelfTest(Sign::Well),
        Ask('e'),
        Ask('l'),
    ];
    check(careful, &foreign, State::HalfOpen);
}

#[test]
fn what_is_not_plausible_gets_the_self_test_alone_until_it_answers_as_plausible() {
    use Do::{Ask, Foreign, Ill, Probe, SelfTest, Times, Unclear, Wait, Well};
    let check = |what: &str, steps: &[&[Do]], want: State| {
        for has_health_probe in [true, false] {
            let mut run = Run {
                breaker: Breaker::new(has_health_probe),
                now: Duration::ZERO,
                passes: Vec::new(),
            };
            steps.iter().copied().flatten().for_each(|step| run.step(*step));
            assert_eq!(run.breaker.state(), want, "{what} {has_health_probe}");
        }
    };
    let unclear = [Ask('e'), Unclear, Ask('-'), Wait(1)];
    let asked = [SelfTest(Sign::Well), Ask('e'), Ask('l')];
    let explained = [SelfTest(Sign::Foreign(None)), Wait(2)];
    check("one that may have cost an event", &[&unclear[..2]], State::Open);
    check("nothing goes", &[&unclear[..3]], State::Open);
    check(
        "then the self-test, until it is Plausible, and then one event",
        &[&unclear, &explained, &asked],
        State::HalfOpen,
    );
    check(
        "which is taken",
        &[&unclear, &explained, &asked, &[Well]],
        State::Closed,
    );
    let still = [
        SelfTest(Sign::Ill(None)),
        Wait(4),
        SelfTest(Sign::Foreign(None)),
        Wait(8),
    ];
    check(
        "it goes on until that is Plausible",
        &[&unclear, &explained, &still, &asked],
        State::HalfOpen,
    );
    let under_way = [Ask('e'), Ask('e'), Unclear, Unclear, Ask('-'), Wait(1)];
    check(
        "what was under way when it opened changes nothing",
        &[&under_way, &explained, &asked],
        State::HalfOpen,
    );
    // The self-test is answered as Plausible does at once, so it does not explain what became of the event.
    let unexplained = [SelfTest(Sign::Well), Ask('-'), Wait(4), Ask('-'), Wait(1)];
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
            &[Well],
            &unclear,
            &unexplained,
            &asked,
        ],
        State::HalfOpen,
    );
    let again = [
        Unclear,
        Wait(2),
        SelfTest(Sign::Well),
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
        SelfTest(Sign::Well),
        Wait(3599),
        Ask('-'),
        Wait(1),
    ];
    let before = [Unclear, Wait(60), SelfTest(Sign::Well), Wait(3600)];
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
    check("again and again", &[&wrong, &asked, &[Well]], State::Closed);
    let ill = [Ill, Wait(2), Probe(Sign::Well), Ask('e'), Well];
    check(
        "and away once it was recognised",
        &[&wrong, &asked, &ill],
        State::Closed,
    );
}

proptest! {
    /// Whatever happens: nothing may go while it is open, half open one thing at most is out, it is never
    /// stuck, and it closes only by an event that was taken.
    #[test]
    fn it_never_sends_while_open_and_is_never_stuck(
        has_health_probe: bool,
        is_careful: bool,
        steps in prop::collection::vec((0_u8..8, 0_u16..90, any::<u32>()), 0..200),
    ) {
        let mut breaker = if is_careful { Breaker::careful(has_health_probe) } else { Breaker::new(has_health_probe) };
        let mut now = Duration::ZERO;
        let mut out: Vec<Pass> = Vec::new();
        for (what, number, random) in steps {
            let before = breaker.state();
            let (until, is_foreign) = (breaker.until(), breaker.trust == Trust::Foreign);
            match what {
                0 | 1 => match breaker.ask(now) {
                    Leave::Event(pass) => {
                        prop_assert!(!is_foreign);
                        prop_assert!(until.is_none_or(|until| until <= now));
                        out.push(pass);
                    }
                    Leave::Probe(pass) => {
                        prop_assert!(has_health_probe && before != State::Closed && !is_foreign);
                        out.push(pass);
                    }
                    Leave::SelfTest(pass) => {
                        prop_assert!(before != State::Closed);
                        out.push(pass);
                    }
                    Leave::At(at) => prop_assert!(now < at && before == State::Open),
                    Leave::Later => prop_assert!(out.iter().any(|pass| pass.era == breaker.era)),
                },
                2 => now += Duration::from_secs(number.into()),
                _ if out.is_empty() => {}
                3 => breaker.give_back(out.swap_remove(usize::from(number) % out.len())),
                sign => {
                    let pass = out.swap_remove(usize::from(number) % out.len());
                    let asked = (number % 5 == 0).then(|| Duration::from_secs(number.into()));
                    let sign = match sign {
                        4 => Sign::Well,
                        5 => Sign::Ill(asked),
                        6 => Sign::Foreign(asked),
                        _ => Sign::Unclear,
                    };
                    let is_current = pass.era == breaker.era;
                    breaker.report(pass, sign, now, random);
                    if before != State::Closed && breaker.state() == State::Closed {
                        prop_assert!(is_current && sign == Sign::Well && before == State::HalfOpen);
                    }
                }
            }
            let half_open = breaker.state() == State::HalfOpen;
            let current = out.iter().filter(|pass| pass.era == breaker.era).count();
            prop_assert!(!half_open || current <= 1, "{current} out at once");
            prop_assert!(breaker.state() != State::Open || current == 0);
        }
        // Everything that is out comes back well; then it closes within a bound.
        let mut rounds = 0;
        while breaker.state() != State::Closed {
            rounds += 1;
            prop_assert!(rounds < 12, "stuck: {:?}", breaker);
            out.drain(..).for_each(|pass| breaker.report(pass, Sign::Well, now, 0));
            match breaker.ask(now) {
                Leave::Event(pass) | Leave::Probe(pass) | Leave::SelfTest(pass) => out.push(pass),
                Leave::At(at) => {
                    prop_assert!(at - now <= backoff::RETRY_AFTER_MAX + Duration::from_secs(61));
                    now = at;
                }
                Leave::Later => {}
            }
        }
    }
}
