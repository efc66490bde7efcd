//! User-Agent coarsening: a complete, ordinary browser string with family, major version and system.
//!
//! Plausible must still read browser, system and device class from it (contract b.3), yet models,
//! builds and minor versions single people out. The forms are those of Chrome's own reduction and of
//! the browsers' frozen strings. A bot is never turned into a browser: that would hide it.

/// What became of a User-Agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserAgent {
    /// An ordinary browser's, coarsened. Holds no text of the original but version numbers.
    Browser(String),
    /// A bot, a crawler, a script or a monitor.
    Bot,
    /// Missing, or nothing a rule knows. Forwarded as no User-Agent at all.
    Unknown,
}

/// Words in a User-Agent that mean a machine at the other end, lower case.
const BOT_WORDS: &[&str] = &[
    "bot",
    "crawl",
    "spider",
    "headless",
    "phantom",
    "slurp",
    "scraper",
    "monitor",
    "checker",
    "uptime",
    "lighthouse",
    "pagespeed",
    "preview",
    "facebookexternalhit",
    "archiver",
    "validator",
    "inspector",
    "fetcher",
    "scanner",
    "selenium",
    "puppeteer",
    "playwright",
    "cypress",
];

/// Longest User-Agent looked at, in bytes: Plausible refuses a longer header (contract b.2).
const BYTES_MAX: usize = 8192;

/// Coarsens a User-Agent header.
pub fn coarsen(agent: &str) -> UserAgent {
    if agent.len() > BYTES_MAX {
        return UserAgent::Unknown;
    }
    let lower = agent.to_ascii_lowercase();
    if BOT_WORDS.iter().any(|word| lower.contains(word)) {
        return UserAgent::Bot;
    }
    if !agent.starts_with("Mozilla/5.0 (") {
        return UserAgent::Unknown;
    }
    let system = System::of(agent);
    let text = match system {
        Some(System::Ios(device)) => ios(agent, device),
        Some(system) => firefox(agent, system)
            .or_else(|| chromium(agent, system))
            .or_else(|| safari(agent, system)),
        None => None,
    };
    text.map_or(UserAgent::Unknown, UserAgent::Browser)
}

#[derive(Clone, Copy, PartialEq)]
enum System {
    Windows,
    Mac,
    ChromeOs,
    Linux,
    Android,
    Ios(&'static str),
}

impl System {
    fn of(agent: &str) -> Option<Self> {
        let has = |word: &str| agent.contains(word);
        Some(match () {
            () if has("iPhone") || has("iPod") => Self::Ios("iPhone; CPU iPhone OS"),
            () if has("iPad") => Self::Ios("iPad; CPU OS"),
            () if has("Android") => Self::Android,
            () if has("Windows NT") => Self::Windows,
            () if has("CrOS") => Self::ChromeOs,
            () if has("Macintosh") => Self::Mac,
            () if has("Linux") || has("X11") => Self::Linux,
            () => return None,
        })
    }

    fn platform(self) -> &'static str {
        match self {
            Self::Windows => "Windows NT 10.0; Win64; x64",
            Self::Mac => "Macintosh; Intel Mac OS X 10_15_7",
            Self::ChromeOs => "X11; CrOS x86_64 14541.0.0",
            Self::Linux => "X11; Linux x86_64",
            Self::Android => "Linux; Android 10; K",
            Self::Ios(device) => device,
        }
    }
}

fn firefox(agent: &str, system: System) -> Option<String> {
    let n = major(agent, "Firefox/")?;
    Some(match system {
        System::Android => format!("Mozilla/5.0 (Android 10; Mobile; rv:{n}.0) Gecko/{n}.0 Firefox/{n}.0"),
        System::Mac => {
            format!("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:{n}.0) Gecko/20100101 Firefox/{n}.0")
        }
        _ => format!(
            "Mozilla/5.0 ({}; rv:{n}.0) Gecko/20100101 Firefox/{n}.0",
            system.platform()
        ),
    })
}

fn chromium(agent: &str, system: System) -> Option<String> {
    let n = major(agent, "Chrome/")?;
    let web_view = system == System::Android && agent.contains("; wv)");
    let platform = if web_view {
        "Linux; Android 10; K; wv"
    } else {
        system.platform()
    };
    let mut out = format!("Mozilla/5.0 ({platform}) AppleWebKit/537.36 (KHTML, like Gecko) ");
    if web_view {
        out.push_str("Version/4.0 ");
    }
    if let Some(samsung) = major(agent, "SamsungBrowser/") {
        out.push_str(&format!("SamsungBrowser/{samsung}.0 "));
    }
    out.push_str(&format!("Chrome/{n}.0.0.0 "));
    if let Some(yandex) = major(agent, "YaBrowser/") {
        out.push_str(&format!("YaBrowser/{yandex}.0 "));
    }
    if system == System::Android && agent.contains("Mobile") {
        out.push_str("Mobile ");
    }
    out.push_str("Safari/537.36");
    for name in ["Edg", "EdgA", "OPR", "Vivaldi"] {
        if let Some(version) = major(agent, &format!(" {name}/")) {
            out.push_str(&format!(" {name}/{version}.0.0.0"));
        }
    }
    Some(out)
}

fn safari(agent: &str, system: System) -> Option<String> {
    let n = major(agent, "Version/")?;
    (system == System::Mac && agent.contains("Safari/")).then(|| {
        format!(
            "Mozilla/5.0 ({}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{n}.0 Safari/605.1.15",
            system.platform()
        )
    })
}

fn ios(agent: &str, device: &str) -> Option<String> {
    let os = major(agent, " OS ")?;
    let (name, n) = ["CriOS/", "FxiOS/", "EdgiOS/", "GSA/", "Version/"]
        .iter()
        .find_map(|name| Some((name, major(agent, name)?)))?;
    Some(format!(
        "Mozilla/5.0 ({device} {os}_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) {name}{n}.0 Mobile/15E148 Safari/604.1"
    ))
}

/// The major version after a token: one to four digits.
fn major(agent: &str, token: &str) -> Option<u16> {
    let rest = &agent[agent.find(token)? + token.len()..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    (1..=4).contains(&digits).then(|| rest[..digits].parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn browsers_keep_family_major_and_system() {
        let check = |agent: &str, want: &str| {
            assert_eq!(coarsen(agent), UserAgent::Browser(want.into()), "{agent}");
            assert_eq!(
                coarsen(want),
                UserAgent::Browser(want.into()),
                "not idempotent: {want}"
            );
        };
        check(
            "Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.8078.73 Safari/537.36",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
        );
        check(
            "Mozilla/5.0 (Linux; Android 14; SM-S918B Build/UP1A) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.6099.230 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
        );
        check(
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.1.2 Safari/537.36 Edg/120.0.2210.91",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 Edg/120.0.0.0",
        );
        check(
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
            "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
        );
        check(
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 13_5_2) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Safari/605.1.15",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.0 Safari/605.1.15",
        );
        check(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/120.0.6099.119 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/120.0 Mobile/15E148 Safari/604.1",
        );
    }

    #[test]
    fn a_bot_stays_a_bot_and_the_unknown_becomes_nothing() {
        let check = |agent: &str, want: UserAgent| assert_eq!(coarsen(agent), want, "{agent}");
        check(
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            UserAgent::Bot,
        );
        check(
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 Safari/537.36",
            UserAgent::Bot,
        );
        check("curl/8.5.0", UserAgent::Unknown);
        check("", UserAgent::Unknown);
        check("jane@example.com", UserAgent::Unknown);
        check("Mozilla/5.0 (jane@example.com)", UserAgent::Unknown);
    }

    proptest! {
        #[test]
        fn nothing_but_digits_comes_from_the_original(inside in "[a-zA-Z0-9 ;/._-]{0,40}", tail in "[a-zA-Z0-9 ;/._-]{0,40}") {
            let agent = format!("Mozilla/5.0 (Windows NT 10.0; {inside}) Chrome/120.0 {tail}CANARY");
            if let UserAgent::Browser(text) = coarsen(&agent) {
                prop_assert!(!text.contains("CANARY"));
                prop_assert_eq!(coarsen(&text), UserAgent::Browser(text));
            }
        }
    }
}
