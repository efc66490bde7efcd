//! Real User-Agents, and properties that must hold for any text.
//!
//! `corpus/user_agent/agents.tsv` has a row for each: family, User-Agent, and the text that must leave,
//! `BOT` or `UNKNOWN`. Its second column also seeds the fuzz target.

use proptest::prelude::*;
use relay_event::user_agent::{UserAgent, coarsen};
use std::collections::HashSet;

const CORPUS: &str = include_str!("corpus/user_agent/agents.tsv");

/// Upper bound of every coarse text, in bytes.
const COARSE_MAX: usize = 256;

/// All words that may leave, in lower case: those of families, systems and frozen forms.
const WORDS: &str = "
    mozilla windows nt win64 x64 wow64 macintosh intel mac os x x11 linux x86 ubuntu freebsd openbsd amd64
    cros android k tv harmonyos phone openharmony iphone cpu like ipad smart tizen web0s smarttv mobile
    tablet xbox one playstation nintendo switch wiiu 3ds wv rv arm touch
    applewebkit khtml gecko version chrome safari firefox crios fxios edgios edg edga edge opr opt opx opios
    opera mini mobi adr presto j2me midp vivaldi samsungbrowser yabrowser whale ucbrowser mqqbrowser
    qqbrowser xiaomi miuibrowser huaweibrowser coc browser se 2 metasr silk duckduckgo ddg brave focus klar
    gsa bingsapphire ecosia ios arkweb kaios nintendobrowser trident msie iemobile compatible 15e148
    20100101 14541
";

struct Row {
    family: &'static str,
    agent: &'static str,
    want: UserAgent,
}

fn rows() -> Vec<Row> {
    CORPUS
        .lines()
        .map(|line| {
            let mut columns = line.split('\t');
            let mut next = || columns.next().unwrap_or_else(|| panic!("three columns: {line}"));
            Row {
                family: next(),
                agent: next(),
                want: match next() {
                    "BOT" => UserAgent::Bot,
                    "UNKNOWN" => UserAgent::Unknown,
                    text => UserAgent::Browser(text.to_owned()),
                },
            }
        })
        .collect()
}

/// Asserts that a coarse text has nothing of the original but version numbers, and that those are short.
fn assert_ordinary(text: &str, original: &str) {
    let known: HashSet<&str> = WORDS.split_whitespace().collect();
    assert!(text.len() < COARSE_MAX, "{} bytes from {original:?}", text.len());
    for word in text.to_lowercase().split(|c: char| !c.is_ascii_alphanumeric()) {
        let number = word.len() <= 3 && word.bytes().all(|b| b.is_ascii_digit());
        assert!(
            number || known.contains(word),
            "{word:?} left in {text:?} from {original:?}"
        );
    }
    let brackets = |c: char| text.matches(c).count();
    assert_eq!(brackets('('), brackets(')'), "{text:?}");
    assert!(
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || " ()/;:,._@-".contains(c)),
        "{text:?}"
    );
}

/// Asserts the properties that hold for any text. Returns whether it was read as a browser.
fn check(agent: &str) -> Option<String> {
    let UserAgent::Browser(text) = coarsen(agent) else {
        return None;
    };
    assert_ordinary(&text, agent);
    assert_eq!(
        coarsen(&text),
        UserAgent::Browser(text.clone()),
        "not idempotent: {agent:?}"
    );
    Some(text)
}

#[test]
fn every_user_agent_of_the_corpus_becomes_what_its_row_says() {
    let rows = rows();
    assert!(rows.len() >= 120, "{} rows", rows.len());
    for row in &rows {
        assert_eq!(coarsen(row.agent), row.want, "{}: {}", row.family, row.agent);
        check(row.agent);
    }
}

#[test]
fn models_builds_systems_and_minor_versions_become_one_text() {
    let mut texts = HashSet::new();
    for device in [
        "Android 10; K",
        "Android 14; SM-S918B",
        "Android 9; moto g(7) Build/QPU30",
        "U; Android 8.1.0; zh-cn; MI 8",
        "arm_64; Android 12; CUBOT X18",
    ] {
        for version in ["120.0.0.0", "120.0.6099.230", "120.1"] {
            texts.extend(check(&format!(
                "Mozilla/5.0 (Linux; {device}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version} Mobile Safari/537.36"
            )));
        }
    }
    assert_eq!(texts.len(), 1, "{texts:#?}");
}

#[test]
fn a_bot_is_a_bot_whatever_browser_it_dresses_as() {
    for row in rows()
        .iter()
        .filter(|row| matches!(row.want, UserAgent::Browser(_)))
    {
        for mark in [
            "Googlebot/2.1",
            "(compatible; Thing/1.0)",
            "(+https://crawl.example)",
            "HeadlessChrome/140.0.0.0",
            "GPTBot/1.2",
            "thing-monitor/3",
        ] {
            // In Opera's form, which no current browser uses, "compatible" means nothing.
            let form = row.agent.starts_with("Opera/") || row.agent.contains("MSIE");
            if form && mark.starts_with("(compatible") {
                continue;
            }
            let agent = format!("{} {mark}", row.agent);
            assert_eq!(coarsen(&agent), UserAgent::Bot, "{agent}");
        }
    }
}

#[test]
fn a_version_that_could_distinguish_people_does_not_leave() {
    for version in [
        "0",
        "1000",
        "8675309",
        "99999999999999999999",
        "12a",
        "",
        "-1",
        "１２０",
    ] {
        let agent = format!(
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version} Safari/537.36"
        );
        assert!(
            !check(&agent).is_some_and(|text| text.contains("Chrome")),
            "{agent}"
        );
    }
}

#[test]
fn a_user_agent_that_plausible_would_refuse_for_its_length_is_unknown() {
    let agent = |filling: usize| {
        format!(
            "Mozilla/5.0 (X11; Linux x86_64{}) Chrome/120.0",
            "; x".repeat(filling)
        )
    };
    assert!(check(&agent(2700)).is_some());
    assert_eq!(coarsen(&agent(2800)), UserAgent::Unknown);
}

/// Words that the scanner reacts to, versions, and separators.
fn piece() -> impl Strategy<Value = String> {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    prop_oneof![
        4 => prop::sample::select(words).prop_map(str::to_uppercase),
        2 => prop::sample::select(vec![
            "Mozilla/5.0 (", "Opera/9.80 (", "like Gecko", "ios@9.1", "android@8", "x@y.example", "http:", "rv:11.0",
            "FBAN", "Instagram", "CUBOT", "bot", "Nexus 5X Build/MMB29P",
        ]).prop_map(str::to_owned),
        3 => "[0-9]{1,5}(\\.[0-9]{1,3})?",
        1 => "\\PC{0,6}",
    ]
}

fn one_of_the_corpus() -> impl Strategy<Value = &'static str> {
    prop::sample::select(rows().iter().map(|row| row.agent).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn any_text_at_all_is_taken(agent in "\\PC{0,300}") {
        check(&agent);
    }

    #[test]
    fn any_text_made_of_known_words_is_taken(
        begins in prop::sample::select(vec!["Mozilla/5.0 (", "Opera/9.80 (", "Mozilla/4.0 (compatible; ", ""]),
        pieces in prop::collection::vec((piece(), prop::sample::select(vec![" ", "/", "; ", ") ", " (", ", "])), 0..24),
    ) {
        let rest: String = pieces.into_iter().flat_map(|(word, gap)| [word, gap.to_owned()]).collect();
        check(&format!("{begins}{rest}"));
    }

    #[test]
    fn two_user_agents_cut_and_joined_are_taken(
        first in one_of_the_corpus(), second in one_of_the_corpus(),
        ends in any::<prop::sample::Index>(), begins in any::<prop::sample::Index>(), piece in piece(),
    ) {
        let words = |agent: &'static str| agent.split_inclusive([' ', ';', '/']);
        let (firsts, seconds) = (words(first).count(), words(second).count());
        let head: String = words(first).take(ends.index(firsts + 1)).collect();
        let tail: String = words(second).skip(begins.index(seconds + 1)).collect();
        check(&format!("{head}{tail}"));
        check(&format!("{head}{piece} {tail}"));
    }

    #[test]
    fn nothing_planted_anywhere_survives(
        row in one_of_the_corpus(),
        at in any::<prop::sample::Index>(),
        canary in prop::sample::select(vec![
            "CANARYcanary", "jane@example.com", "SM-G998B", "4929123456789", "10.20.30.40", "de-DE", "Jürgen", "4b1d9f",
        ]),
        before in prop::sample::select(vec!["", " ", ";", "/", "(", ")", "; Build/"]),
        after in prop::sample::select(vec!["", " ", ";", "/", "(", ")", "/1.0"]),
    ) {
        let mut agent = row.to_owned();
        let at = (0..=at.index(row.len() + 1)).rev().find(|at| row.is_char_boundary(*at)).unwrap_or(0);
        agent.insert_str(at, &format!("{before}{canary}{after}"));
        if let Some(text) = check(&agent) {
            prop_assert!(!text.contains(canary), "{canary:?} of {agent:?} is in {text:?}");
        }
    }
}
