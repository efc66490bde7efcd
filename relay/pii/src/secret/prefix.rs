//! Keys and tokens whose first letters identify the issuer.

use crate::scan::runs;
use crate::view::View;
use crate::{Found, Kind};
use std::ops::Range;

/// Shortest run of letters, digits, `-` and `_` in a key.
pub(super) const BYTES_MIN: usize = 12;

/// Prefixes of keys, and the least number of characters after each. Sorted by text.
#[rustfmt::skip]
const PREFIXES: &[(&str, usize)] = &[
    ("A3T", 16), ("AGE-SECRET-KEY-1", 20), ("AIza", 20), ("AKIA", 12), ("ASIA", 12), ("EAACEdEose0cBA", 4),
    ("FLWSECK_", 10), ("LTAI", 12), ("NRAK-", 20), ("PMAK-", 20), ("SG.", 16), ("SK", 32), ("akia", 16),
    ("atlasv1.", 16), ("cfpat-", 16), ("ctp_", 16), ("dapi", 32), ("dckr_pat_", 16), ("doo_v1_", 16),
    ("dop_v1_", 16), ("dor_v1_", 16), ("dp.pt.", 16), ("duffel_", 16), ("eyJ", 12), ("figd_", 16),
    ("fly_", 16), ("fo1_", 16), ("gh", 0), ("github_pat_", 10), ("glagent-", 12), ("glc_", 16),
    ("glcbt-", 12), ("gldt-", 12), ("glft-", 12), ("glimt-", 12), ("gloas-", 12), ("glpat-", 12),
    ("glptt-", 12), ("glrt-", 12), ("glsa_", 16), ("glsoat-", 12), ("hf_", 16), ("hvb.", 16), ("hvs.", 16),
    ("lin_api_", 16), ("mfa.", 20), ("npm_", 16), ("ntn_", 20), ("phc_", 20), ("pk_live_", 8),
    ("pk_test_", 8), ("pnu_", 16), ("pscale_", 16), ("pypi-", 16), ("r8_", 20), ("rdme_", 20),
    ("rk_live_", 8), ("rk_test_", 8), ("rubygems_", 16), ("s.", 24), ("shpat_", 12), ("shpca_", 12),
    ("shppa_", 12), ("shpss_", 12), ("sk-", 16), ("sk_live_", 8), ("sk_test_", 8), ("sntrys_", 16),
    ("sq0atp-", 16), ("sq0csp-", 16), ("tfp_", 20), ("tk-us-", 16), ("v1.public.", 16), ("v2.public.", 16),
    ("whsec_", 12), ("xapp-", 10), ("xkeysib-", 16), ("xox", 0), ("ya29.", 10),
];

/// Hosts of webhooks: the path of such an address is the key that allows posting.
#[rustfmt::skip]
const HOOKS: &[&str] = &[
    "hooks.slack.com/services/", "hooks.slack.com/workflows/", "discord.com/api/webhooks/",
    "discordapp.com/api/webhooks/", "webhook.office.com/webhookb2/", "hooks.zapier.com/hooks/catch/",
    "api.telegram.org/bot",
];

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    // A dot separates the pieces of a key, as in a JSON web token.
    let is_key = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    for run in runs(view.bytes(), is_key).filter(|run| run.len() >= BYTES_MIN) {
        if let Some(key) = key(view.piece(&run)) {
            found.add(Kind::Secret, run.start + key.start..run.start + key.end);
        }
    }
}

/// The first key at the start of a run or of one of its pieces: "export-ghp_...".
fn key(run: &str) -> Option<Range<usize>> {
    let mut last = b'_';
    for (at, b) in run.bytes().enumerate() {
        if matches!(last, b'-' | b'_' | b'.')
            && b.is_ascii_alphabetic()
            && let Some(rest) = run.get(at..)
            && is_issued(rest)
        {
            // A full stop after the key ends the sentence.
            return Some(at..at + rest.trim_end_matches(['.', '-']).len());
        }
        last = b;
    }
    None
}

fn is_issued(text: &str) -> bool {
    // A matching prefix shares at least its first letter with the text; the table is sorted.
    let Some(head) = text.get(..1) else { return false };
    let from = PREFIXES.partition_point(|(prefix, _)| *prefix < head);
    PREFIXES
        .iter()
        .skip(from)
        .take_while(|(prefix, _)| prefix.starts_with(head))
        .any(|(prefix, least)| {
            text.strip_prefix(prefix).is_some_and(|rest| match *prefix {
                "gh" => lettered(rest, b"pousr", b'_', 16),
                "xox" => lettered(rest, b"abceoprs", b'-', 8),
                "eyJ" => is_web_token(text),
                _ => rest.len() >= *least && (*least < 12 || mixed(rest)),
            })
        })
}

/// "p_..." after "gh".
fn lettered(rest: &str, letters: &[u8], mark: u8, least: usize) -> bool {
    matches!(rest.as_bytes(), [letter, m, key @ ..] if letters.contains(letter) && *m == mark && key.len() >= least)
}

/// A JSON web token, by its parts: at least two, separated by dots. `eyJ` is the start of a JSON object in base64.
fn is_web_token(text: &str) -> bool {
    let mut parts = text.split('.');
    parts.next().is_some_and(|head| head.len() >= 12) && parts.next().is_some_and(|body| body.len() >= 4)
}

/// Whether a text has both digits and letters: a word after a dash has no digits.
fn mixed(text: &str) -> bool {
    let has = |test: fn(&u8) -> bool| text.as_bytes().iter().any(test);
    has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
}

/// Webhooks: addresses that allow posting without any other key.
pub(super) fn hooks(view: &View<'_>, found: &mut Found) {
    let text = view.text();
    for host in HOOKS {
        let mut done = 0;
        for (at, _) in text.match_indices(host) {
            // No piece is read twice, so the cost of a chain of hosts is linear.
            let from = at + host.len();
            let Some(rest) = text.get(from..).filter(|_| from >= done) else {
                continue;
            };
            let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ')');
            done = from + rest.find(ends).unwrap_or(rest.len());
            found.add(Kind::Secret, from..done);
        }
    }
}
