//! User-Agent coarsening: a complete, ordinary browser string with family, major version and system.
//!
//! Plausible must still read browser, system and device class from it (contract b.3), but models, builds and minor
//! versions identify individual users. The forms are those of Chrome's own reduction and of the browsers' frozen
//! strings. `scan` reads the text into known words and version numbers, and the output is written from these alone, so
//! nothing else of the original can leave.
//!
//! A bot is never turned into a browser: that would hide it. It is denied; Plausible would drop it. An HTTP library
//! (`curl/8.5.0`, `python-requests/2.31`, Node's bare `node`) is not a bot: servers and command lines send events with
//! them, so the events are accepted without forwarding a User-Agent. The same applies to a browser that no rule covers,
//! and to a program that names itself with a version. `bot` lists the names of machines.

mod bot;
mod browser;
mod index;
mod scan;
mod system;

use scan::{Facts, Key};
use system::System;

/// The result of coarsening a User-Agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserAgent {
    /// An ordinary browser's, coarsened. Holds no text of the original except version numbers.
    Browser(String),
    /// A bot, a crawler, a test driver or a monitor.
    Bot,
    /// Missing, an HTTP library's, or covered by no rule. No User-Agent is forwarded.
    Unknown,
}

/// Longest User-Agent that is read, in bytes: Plausible rejects a longer header (contract b.2). A longer one is
/// [`UserAgent::Unknown`].
const BYTES_MAX: usize = 8192;

/// Coarsens a User-Agent header.
pub fn coarsen(agent: &str) -> UserAgent {
    if agent.len() > BYTES_MAX {
        return UserAgent::Unknown;
    }
    let lower = agent.to_ascii_lowercase();
    let facts = Facts::of(&lower);
    let like_a_browser = lower.starts_with("mozilla/");
    // No current browser, except on old televisions, says "compatible" or links to a page about itself. Crawlers that
    // imitate a browser do: "(compatible; Name/1.0; +https://...)".
    let compatible = facts.has(Key::Compatible)
        && ![Key::Msie, Key::Konqueror, Key::Viera]
            .iter()
            .any(|key| facts.has(*key));
    // WhatsApp fetches the page behind a link in a message. Its users open pages in the system's browser.
    let preview = lower.starts_with("whatsapp/");
    let disguised = if like_a_browser {
        // Neither a system nor an engine: a browser names both, and the oldest phones have at least a list.
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
