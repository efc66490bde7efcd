//! One pass over a User-Agent: which known words it has, and the major versions that follow them.
//!
//! A [`Facts`] holds no text, so nothing else of the User-Agent can leave.

use super::bot;
use super::index::{By, Index};

/// Largest major version accepted. Browsers are at three digits; a larger number is a build, a date or a mark, and
/// could distinguish users.
const MAJOR_MAX: u16 = 999;

/// Declares [`Key`] with its lower-case words, so that no word lacks a key.
macro_rules! keys {
    (@of $word:literal $key:ident) => { Key::$key };
    ($($key:ident = $($word:literal)|+,)+) => {
        /// A word that identifies a browser, a system or a kind of client.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Key { $($key,)+ }

        const WORD_LIST: [&str; [$($($word,)+)+].len()] = [$($($word,)+)+];
        /// The key of each word of the list.
        const WORD_KEYS: [Key; WORD_LIST.len()] = [$($(keys!(@of $word $key),)+)+];
        const KEYS: usize = [$(Key::$key),+].len();
    };
}

keys! {
    // Systems and devices.
    Android = "android",
    Windows = "windows",
    Phone = "phone",
    Macintosh = "macintosh",
    Linux = "linux" | "x11",
    FreeBsd = "freebsd",
    OpenBsd = "openbsd",
    ChromeOs = "cros",
    IPhone = "iphone" | "ipod",
    IPad = "ipad",
    Os = "os",
    Tizen = "tizen",
    WebOs = "web0s",
    OpenHarmony = "openharmony",
    HarmonyOs = "harmonyos",
    KaiOs = "kaios",
    Xbox = "xbox",
    PlayStation = "playstation",
    Nintendo = "nintendo",
    Switch = "switch",
    WiiU = "wiiu",
    ThreeDs = "3ds",
    Tv = "smarttv" | "smart-tv" | "smart_tv" | "androidtv" | "googletv" | "bravia",
    // "Ubuntu Chromium/73.0": a build for Ubuntu, named next to the platform.
    Ubuntu = "ubuntu",
    TvWord = "tv",
    Tablet = "tablet",
    Mobile = "mobile",
    WebView = "wv",
    // Engines and families.
    AppleWebKit = "applewebkit",
    Safari = "safari",
    Version = "version",
    Chrome = "chrome" | "chr0me",
    Firefox = "firefox",
    Revision = "rv",
    Trident = "trident",
    Msie = "msie",
    IeMobile = "iemobile",
    Compatible = "compatible",
    Konqueror = "konqueror",
    Viera = "viera",
    OperaPresto = "opera",
    OperaMini = "mini",
    OperaMobi = "mobi",
    // Browsers that name themselves next to Chrome's or Safari's words.
    ArkWeb = "arkweb",
    BingApp = "bingsapphire" | "bingweb",
    Brave = "brave",
    ChromeIos = "crios",
    CocCoc = "coc_coc_browser" | "coccocbrowser",
    Ddg = "ddg",
    DuckDuckGo = "duckduckgo",
    EcosiaAndroid = "android@",
    EcosiaIos = "ios@",
    Edg = "edg",
    EdgAndroid = "edga",
    EdgIos = "edgios",
    EdgeLegacy = "edge",
    FirefoxIos = "fxios",
    Focus = "focus",
    GoogleApp = "gsa",
    Huawei = "huaweibrowser",
    Klar = "klar",
    Miui = "miuibrowser",
    NintendoBrowser = "nintendobrowser",
    Opera = "opr",
    OperaGxIos = "opx",
    OperaMiniIos = "opios",
    OperaTouchIos = "opt",
    Qq = "qqbrowser",
    QqMobile = "mqqbrowser",
    Samsung = "samsungbrowser",
    Silk = "silk",
    Sogou = "metasr",
    Uc = "ucbrowser",
    Vivaldi = "vivaldi",
    Whale = "whale",
    Yandex = "yabrowser" | "yasearchbrowser" | "yandexsearchbrowser",
    // HTTP libraries whose name or address would make them look like a bot.
    Library = "electron-fetch" | "google-api-objc-client" | "google-http-java-client" | "node-fetch"
        | "php-curl-class" | "uclient-fetch",
    // Apps that show pages in a web view of the system.
    InApp = "instagram" | "fban" | "fbav" | "fb_iab" | "linkedinapp" | "micromessenger" | "line"
        | "snapchat" | "musical_ly" | "bytedancewebview" | "tiktok" | "trill" | "pinterest" | "twitter"
        | "kakaotalk" | "barcelona",
}

static WORDS: Index<{ WORD_LIST.len() }> = Index::new(WORD_LIST, By::First);

/// The content of a User-Agent, as known words and version numbers only.
#[derive(Debug)]
pub(super) struct Facts {
    /// By [`Key`]: absent, present, or present with a major version (never 0).
    seen: [Option<u16>; KEYS],
    /// A word identifies a bot.
    pub(super) bot: bool,
    /// It links to a page about itself, which browsers do not.
    pub(super) url: bool,
    /// It names a host. Phones and brands may have such names: "Q.Me", "WEB.DE".
    pub(super) host: bool,
    /// It has at least one known word.
    pub(super) known: bool,
}

impl Facts {
    /// Reads a User-Agent given in lower case.
    pub(super) fn of(lower: &str) -> Self {
        let mut facts = Self {
            seen: [None; KEYS],
            bot: false,
            url: false,
            host: false,
            known: false,
        };
        let mut cursor = Cursor::default();
        let mut start = 0;
        for (at, byte) in lower.bytes().enumerate() {
            if is_delimiter(byte) {
                facts.token(&lower[start..at], byte, &mut cursor);
                cursor.pass(byte);
                start = at + 1;
            }
        }
        facts.token(&lower[start..], b' ', &mut cursor);
        facts
    }

    /// Whether a word is present.
    pub(super) fn has(&self, key: Key) -> bool {
        self.seen[key as usize].is_some()
    }

    /// The major version after a word, if it is plausible.
    pub(super) fn major(&self, key: Key) -> Option<u16> {
        self.seen[key as usize].filter(|major| *major > 0)
    }

    /// Reads one token: `word`, `name/1.2` or `maker/name/1.2`.
    fn token(&mut self, token: &str, delimiter: u8, cursor: &mut Cursor) {
        if token.is_empty() {
            return;
        }
        if let Some(key) = cursor.awaits_version.take() {
            if let Some(major) = major(token) {
                return self.note(key, Some(major));
            }
            if key == Key::Android && token == "tv" {
                self.note(Key::Tv, None);
            }
        }
        let Some((name, rest)) = token.split_once('/') else {
            // "(KHTML, like Gecko)" ends the comment; only machines continue it: "like Gecko; compatible".
            self.bot |= delimiter == b';' && cursor.past_platform && token == "gecko";
            let key = self.name(token, None, cursor);
            // "MSIE 10.0", "OS 17_2".
            cursor.awaits_version = key.filter(|_| delimiter == b' ');
            return;
        };
        let mut name = name;
        for part in rest.split('/') {
            self.name(name, Some(part), cursor);
            name = part;
        }
        self.name(name, None, cursor);
    }

    fn name(&mut self, name: &str, version: Option<&str>, cursor: &mut Cursor) -> Option<Key> {
        // A version or a number, as most parts are: no word begins and ends with digits.
        if let [first, .., last] = name.as_bytes()
            && first.is_ascii_digit()
            && last.is_ascii_digit()
        {
            return None;
        }
        let Some(key) = key_of(name) else {
            self.bot |= bot::is_name(name, version.is_some(), cursor.is_model());
            self.unknown_name(name);
            return None;
        };
        if is_system(key) && !cursor.in_platform() || key == Key::Compatible && cursor.depth == 0 {
            return None;
        }
        cursor.android |= key == Key::Android;
        cursor.past_platform |= key == Key::AppleWebKit;
        self.note(key, version.and_then(major));
        Some(key)
    }

    /// Looks for an address, and for "rv:11.0" and "ios@8.0.1", which join name and version.
    fn unknown_name(&mut self, name: &str) {
        let Some(at) = name.bytes().position(|b| b == b':' || b == b'@') else {
            self.host |= bot::is_host(name);
            self.url |= name.starts_with("www.");
            return;
        };
        // "tools:https://x.example", "www.x.example"
        self.url |= name.ends_with("http:") || name.ends_with("https:");
        match &name[..at] {
            // Some libraries write it like crawlers, but no browser does.
            "+http" | "+https" => {
                self.bot |= !self.has(Key::Library);
                self.url = true;
            }
            "http" | "https" | "mailto" => self.url = true,
            "rv" => self.note(Key::Revision, major(&name[at + 1..])),
            _ => {
                if let Some(key) = key_of(&name[..=at]) {
                    self.note(key, major(&name[at + 1..]));
                } else if name.as_bytes()[at] == b'@' {
                    // A mail address for complaints.
                    self.bot |= name.as_bytes().get(at + 1).is_some_and(u8::is_ascii_alphabetic);
                }
            }
        }
    }

    /// Records a word. Its first plausible version counts.
    fn note(&mut self, key: Key, major: Option<u16>) {
        self.known = true;
        let slot = &mut self.seen[key as usize];
        if slot.is_none_or(|known| known == 0) {
            *slot = Some(major.unwrap_or(0));
        }
    }
}

/// The state of the pass.
#[derive(Default)]
struct Cursor {
    depth: u8,
    /// The first comment, which is the platform, is over. Some senders omit the brackets; then it ends with the engine.
    past_platform: bool,
    /// The platform named Android, so a phone's model follows.
    android: bool,
    /// The key whose version may be the next token.
    awaits_version: Option<Key>,
}

impl Cursor {
    fn pass(&mut self, delimiter: u8) {
        match delimiter {
            b'(' => self.depth = self.depth.saturating_add(1),
            b')' => {
                self.depth = self.depth.saturating_sub(1);
                self.past_platform |= self.depth == 0;
            }
            b' ' => return,
            _ => {}
        }
        self.awaits_version = None;
    }

    fn in_platform(&self) -> bool {
        !self.past_platform
    }

    fn is_model(&self) -> bool {
        self.android && self.in_platform()
    }
}

/// Words that mean a system within the platform, and may mean anything elsewhere: "like iPhone OS".
fn is_system(key: Key) -> bool {
    (key as usize) <= Key::Tv as usize && key != Key::KaiOs
}

fn key_of(word: &str) -> Option<Key> {
    WORDS.place(word.as_bytes()).map(|place| WORD_KEYS[place])
}

fn is_delimiter(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t'
            | b';'
            | b'('
            | b')'
            | b','
            | b'['
            | b']'
            | b'"'
            | b'\''
            | b'<'
            | b'>'
            | b'{'
            | b'}'
            | b'|'
            | b'='
    )
}

/// The number that a version begins with, if it is between 1 and 999 and no letter follows it.
fn major(version: &str) -> Option<u16> {
    let digits = version.bytes().take_while(u8::is_ascii_digit).count();
    let after = version.as_bytes().get(digits);
    if after.is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    let major = version[..digits].parse().ok()?;
    (1..=MAJOR_MAX).contains(&major).then_some(major)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_word_is_lower_case_and_found_once() {
        for (word, key) in WORD_LIST.iter().zip(WORD_KEYS) {
            assert_eq!(key_of(word), Some(key), "{word}");
            assert_eq!(*word, word.to_ascii_lowercase());
        }
        assert_eq!(WORD_LIST.iter().collect::<HashSet<_>>().len(), WORD_LIST.len());
    }

    #[test]
    fn a_version_is_one_to_three_digits() {
        let check = |version: &str, want: Option<u16>| assert_eq!(major(version), want, "{version}");
        check("120.0.6099.230", Some(120));
        check("17_2_1", Some(17));
        check("999", Some(999));
        check("1000", None);
        check("0.1", None);
        check("12345", None);
        check("007", Some(7));
        check("15e148", None);
        check("", None);
        check("x", None);
    }
}
