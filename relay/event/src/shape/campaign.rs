//! The part of a campaign that may leave: the query keys that Plausible reads, if their values read like a campaign.

use super::is_word;
use percent_encoding::percent_decode_str;

/// Longest campaign value that leaves, in bytes. A longer one is left out.
const CAMPAIGN_BYTES_MAX: usize = 60;
/// Most digits in a row in a campaign value: a year.
const CAMPAIGN_DIGITS_MAX: usize = 4;
/// Up to this length, letters of any case are a word of a campaign: `SaaS`.
const SHORT_LETTERS_MAX: usize = 6;

/// The query keys that Plausible reads (contract b.1). No other leaves.
pub const CAMPAIGN_KEYS: [&str; 7] = [
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_content",
    "utm_term",
    "source",
    "ref",
];

/// The campaign keys of a query whose values read like a campaign, as a query of their own: `utm_source=news`.
/// Empty when there are none.
pub fn campaign(query: &str) -> String {
    let mut out = String::new();
    let mut seen: Vec<&str> = Vec::new();
    for pair in query.split('&') {
        let Some((key, value)) = pair.split_once('=') else {
            continue;
        };
        // Plausible reads each key once; a second value could carry anything.
        if !CAMPAIGN_KEYS.contains(&key) || seen.contains(&key) {
            continue;
        }
        seen.push(key);
        if let Some(value) = campaign_value(key, value) {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(key);
            out.push('=');
            out.push_str(&value);
        }
    }
    out
}

/// Words, and numbers up to the length of a year, such as `spring_2026` or `google`, with `+` for spaces. A referral
/// code has digits and identifies a person.
fn campaign_value(key: &str, raw: &str) -> Option<String> {
    if raw.len() > CAMPAIGN_BYTES_MAX * 3 {
        return None;
    }
    // Neither a malformed escape nor a byte beyond ASCII is plain.
    let spaced = raw.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8().ok()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b" -_.|:".contains(&b);
    let ok = (1..=CAMPAIGN_BYTES_MAX).contains(&text.len())
        && text.bytes().all(plain)
        && text.split([' ', '-', '_', '.', '|', ':']).all(is_campaign_word)
        && !(key == "ref" && text.bytes().any(|b| b.is_ascii_digit()))
        && (!text.contains('.') || is_site(&text))
        && relay_pii::is_clean(&text);
    let encoded = || text.replace(' ', "+").replace('|', "%7C").replace(':', "%3A");
    ok.then(encoded)
}

/// Endings of sites that send visitors, as in `utm_source=news.example.com`. With another ending, the dot may join the
/// names of a person.
const SITES: &[&str] = &["app", "com", "de", "dev", "eu", "io", "net", "org"];

fn is_site(text: &str) -> bool {
    text.rsplit('.')
        .next()
        .is_some_and(|ending| SITES.contains(&ending))
}

fn is_campaign_word(word: &str) -> bool {
    let digits = word.bytes().all(|b| b.is_ascii_digit());
    word.is_empty()
        || is_word(word, false)
        || (word.len() <= SHORT_LETTERS_MAX && word.bytes().all(|b| b.is_ascii_alphabetic()))
        || (digits && word.len() <= CAMPAIGN_DIGITS_MAX)
        // A day: 20261121.
        || (digits && word.len() == 8 && word.starts_with("20"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_keeps_what_reads_like_one() {
        let check = |from: &str, want: &str| assert_eq!(campaign(from), want, "{from}");
        check(
            "utm_source=newsletter&utm_campaign=spring_2026",
            "utm_source=newsletter&utm_campaign=spring_2026",
        );
        check("utm_term=cloud+platform%20costs", "utm_term=cloud+platform+costs");
        check("utm_term=cloud costs", "utm_term=cloud+costs");
        check("ref=jane%40example.com&source=google", "source=google");
        check("ref=jane@example.com", "");
        check(
            "utm_campaign=B2B-SaaS_v2&utm_content=20261121-launch",
            "utm_campaign=B2B-SaaS_v2&utm_content=20261121-launch",
        );
        check(
            "utm_campaign=brand%7Cde%7csearch",
            "utm_campaign=brand%7Cde%7Csearch",
        );
        check(
            "utm_source=news.example.com&utm_medium=jane.doe",
            "utm_source=news.example.com",
        );
        check("ref=jdoe42&source=%zz", "");
        check("utm_content=a8f3k2zz91", "");
        check("utm_content=4915112345678", "");
        check("token=abc&user=jane", "");
        check("utm_source=a&utm_source=second", "utm_source=a");
        check("utm_source=", "");
        check("", "");
    }
}
