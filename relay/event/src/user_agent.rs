//! User-Agent coarsening: a complete, ordinary browser string with family, major version and system.
//!
//! Plausible must still read browser, system and device class from it (contract b.3), yet models,
//! builds and minor versions single people out. The forms are those of Chrome's own reduction and of
//! the browsers' frozen strings. The text is read into known words and version numbers (`scan`), and
//! what leaves is written from these alone, so nothing else of the original can.
//!
//! A bot is never turned into a browser: that would hide it. It is denied, as Plausible would drop it. An HTTP
//! library (`curl/8.5.0`, `python-requests/2.31`, Node's bare `node`) is not a bot: servers and command lines send
//! events with them, so they are taken, and no User-Agent is forwarded. So is a browser that no rule knows, and a
//! program that names itself with a version. `bot` says which names are a machine's.

mod bot;
mod browser;
mod index;
mod scan;
mod system;

use scan::{Facts, Key};
use system::System;

/// What became of a User-Agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserAgent {
    /// An ordinary browser's, coarsened. Holds no text of the original but version numbers.
    Browser(String),
    /// A bot, a crawler, a test driver or a monitor.
    Bot,
    /// Missing, an HTTP library's, or nothing a rule knows. Forwarded as no User-Agent at all.
    Unknown,
}

/// Longest User-Agent looked at, in bytes: Plausible refuses a longer header (contract b.2). A longer
/// one is [`UserAgent::Unknown`].
const BYTES_MAX: usize = 8192;

/// Coarsens a User-Agent header.
pub fn coarsen(agent: &str) -> UserAgent {
    if agent.len() > BYTES_MAX {
        return UserAgent::Unknown;
    }
    let lower = agent.to_ascii_lowercase();
    let facts = Facts::of(&lower);
    let like_a_browser = lower.starts_with("mozilla/");
    // No browser of the day, but for old televisions, says "compatible" or tells where to read about it; crawlers do, in a
    // browser's clothes: "(compatible; Name/1.0; +https://...)".
    let compatible = facts.has(Key::Compatible)
        && ![Key::Msie, Key::Konqueror, Key::Viera]
            .iter()
            .any(|key| facts.has(*key));
    // It fetches the page behind a link in a message. Its pages are read in the system's browser.
    let preview = lower.starts_with("whatsapp/");
    let disguised = if like_a_browser {
        // Neither a system nor an engine: a browser names both, and the oldest phones have a list at least.
        let says_more = lower
            .split_once(' ')
            .is_some_and(|(_, more)| !more.trim().is_empty());
        let nothing = !facts.known && says_more && (facts.host || !lower.contains(';'));
        compatible || facts.url || nothing
    } else {
        bot::is_whole(&lower) || !facts.known && bot::is_machine(&lower, facts.url)
    };
    if facts.bot || preview || disguised {
        return UserAgent::Bot;
    }
    let text = if like_a_browser {
        System::of(&facts).and_then(|system| browser::write(&facts, system))
    } else if lower.starts_with("opera/") {
        browser::write_presto(&facts)
    } else {
        None
    };
    text.map_or(UserAgent::Unknown, UserAgent::Browser)
}
