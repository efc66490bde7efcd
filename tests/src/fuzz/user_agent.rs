//! The coarsening of User-Agents.

use super::rules::text_of;
use relay_event::user_agent::{UserAgent, coarsen};
use std::collections::HashSet;
use std::path::Path;
use std::sync::LazyLock;

/// Longest scrubbed User-Agent, in bytes.
const BYTES_MAX: usize = 300;
/// Most digits of a version.
const VERSION_DIGITS_MAX: usize = 4;
/// Bots that name themselves. As part of a longer word it may be the name of a phone.
const BOTS: [&str; 3] = ["googlebot", "bingbot", "headlesschrome"];
/// A word that no browser uses.
const CANARY: &str = "kanarie9q7z";

/// Every word in the source of the coarsening, without its tests. A word in the output that is not among them comes
/// from the original User-Agent.
static WORDS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    // This file is built into more than one crate.
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let source = crates
        .map(|folder| folder.join("relay/event/src"))
        .find(|folder| folder.is_dir());
    let source = source.unwrap();
    let mut words = HashSet::new();
    let mut read = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        words.extend(words_of(text).map(str::to_owned));
    };
    read(&source.join("user_agent.rs"));
    for file in std::fs::read_dir(source.join("user_agent")).into_iter().flatten() {
        let path = file.unwrap().path();
        if path.file_name().is_some_and(|name| name != "tests.rs") {
            read(&path);
        }
    }
    words
});

/// Coarsening is total and idempotent; a coarse User-Agent is short and consists of known words and version numbers; a
/// self-declared bot never becomes a browser.
///
/// # Panics
/// If one of these is violated.
pub fn user_agent(data: &[u8]) {
    let agent = text_of(data);
    check(&agent);
    check(&format!("{agent} {CANARY}"));
    // A fuzzer rarely reaches the browsers by itself.
    for system in [
        "Windows NT 10.0",
        "Linux; Android 14",
        "iPhone; CPU iPhone OS 17_2 like Mac OS X",
        "Macintosh; Intel Mac OS X 10_15_7",
    ] {
        check(&format!("Mozilla/5.0 ({system}; {CANARY}) {agent}"));
    }
}

fn check(agent: &str) {
    let UserAgent::Browser(coarse) = coarsen(agent) else {
        return;
    };
    let lower = agent.to_ascii_lowercase();
    let bot = words_of(&lower).find(|word| BOTS.contains(word));
    assert!(bot.is_none(), "a bot became a browser");
    assert!(
        (1..=BYTES_MAX).contains(&coarse.len()),
        "{} bytes: {coarse}",
        coarse.len()
    );
    for word in words_of(&coarse) {
        let version = word.len() <= VERSION_DIGITS_MAX && word.bytes().all(|b| b.is_ascii_digit());
        assert!(version || WORDS.contains(word), "a word of the original: {word}");
    }
    assert!(
        coarse.bytes().all(|b| b == b' ' || b.is_ascii_graphic()),
        "{coarse}"
    );
    assert_eq!(
        coarsen(&coarse),
        UserAgent::Browser(coarse.clone()),
        "another one the second time"
    );
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
}
