//! Keys and tokens that say by their first letters who issued them.

use crate::detect::view::View;
use crate::detect::{Found, Kind};

/// Shortest run of letters, digits, `-` and `_` that a key has.
pub(super) const BYTES_MIN: usize = 12;

/// Beginnings of keys, and how many characters follow at least. Sorted by text.
const PREFIXES: &[(&str, usize)] = &[
    ("A3T", 16),
    ("AGE-SECRET-KEY-1", 20),
    ("AIza", 20),
    ("AKIA", 12),
    ("ASIA", 12),
    ("EAACEdEose0cBA", 4),
    ("FLWSECK_", 10),
    ("LTAI", 12),
    ("NRAK-", 20),
    ("PMAK-", 20),
    ("SG.", 16),
    ("SK", 32),
    ("akia", 16),
    ("atlasv1.", 16),
    ("cfpat-", 16),
    ("ctp_", 16),
    ("dapi", 32),
    ("dckr_pat_", 16),
    ("doo_v1_", 16),
    ("dop_v1_", 16),
    ("dor_v1_", 16),
    ("dp.pt.", 16),
    ("duffel_", 16),
    ("eyJ", 12),
    ("figd_", 16),
    ("fly_", 16),
    ("fo1_", 16),
    ("gh", 0),
    ("github_pat_", 10),
    ("glagent-", 12),
    ("glc_", 16),
    ("glcbt-", 12),
    ("gldt-", 12),
    ("glft-", 12),
    ("glimt-", 12),
    ("gloas-", 12),
    ("glpat-", 12),
    ("glptt-", 12),
    ("glrt-", 12),
    ("glsa_", 16),
    ("glsoat-", 12),
    ("hf_", 16),
    ("hvb.", 16),
    ("hvs.", 16),
    ("lin_api_", 16),
    ("mfa.", 20),
    ("npm_", 16),
    ("ntn_", 20),
    ("phc_", 20),
    ("pk_live_", 8),
    ("pk_test_", 8),
    ("pnu_", 16),
    ("pscale_", 16),
    ("pypi-", 16),
    ("r8_", 20),
    ("rdme_", 20),
    ("rk_live_", 8),
    ("rk_test_", 8),
    ("rubygems_", 16),
    ("s.", 24),
    ("shpat_", 12),
    ("shpca_", 12),
    ("shppa_", 12),
    ("shpss_", 12),
    ("sk-", 16),
    ("sk_live_", 8),
    ("sk_test_", 8),
    ("sntrys_", 16),
    ("sq0atp-", 16),
    ("sq0csp-", 16),
    ("tfp_", 20),
    ("tk-us-", 16),
    ("v1.public.", 16),
    ("v2.public.", 16),
    ("whsec_", 12),
    ("xapp-", 10),
    ("xkeysib-", 16),
    ("xox", 0),
    ("ya29.", 10),
];

/// Hosts whose addresses let whoever knows them post. What follows is the key.
const HOOKS: &[&str] = &[
    "hooks.slack.com/services/",
    "hooks.slack.com/workflows/",
    "discord.com/api/webhooks/",
    "discordapp.com/api/webhooks/",
    "webhook.office.com/webhookb2/",
    "hooks.zapier.com/hooks/catch/",
    "api.telegram.org/bot",
];

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    let bytes = view.bytes();
    let mut at = 0;
    while at < bytes.len() {
        let len = bytes.iter().skip(at).take_while(|b| is_key(**b)).count();
        if len >= BYTES_MIN {
            run(view, at, len, found);
        }
        at += len + 1;
    }
}

/// The characters of keys. The dot parts a key's pieces, as in a JSON web token.
fn is_key(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')
}

/// Looks for a beginning at the start of a run and of each of its pieces: "export-ghp_...".
fn run(view: &View<'_>, start: usize, len: usize, found: &mut Found) {
    let Some(text) = view.text().get(start..start + len) else {
        return;
    };
    let mut last = b'_';
    for (at, b) in text.bytes().enumerate() {
        if matches!(last, b'-' | b'_' | b'.')
            && b.is_ascii_alphabetic()
            && let Some(rest) = text.get(at..)
            && is_issued(rest)
        {
            // A full stop behind the key ends the sentence.
            let end = at + rest.trim_end_matches(['.', '-']).len();
            found.add(Kind::Secret, start + at..start + end);
            return;
        }
        last = b;
    }
}

fn is_issued(text: &str) -> bool {
    // All beginnings share at least their first letter with the text; the table is sorted.
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

/// "p_..." behind "gh".
fn lettered(rest: &str, letters: &[u8], mark: u8, least: usize) -> bool {
    matches!(rest.as_bytes(), [letter, m, key @ ..] if letters.contains(letter) && *m == mark && key.len() >= least)
}

/// A JSON web token: two or three parts, of which the first is an object.
fn is_web_token(text: &str) -> bool {
    let mut parts = text.split('.');
    parts.next().is_some_and(|head| head.len() >= 12) && parts.next().is_some_and(|body| body.len() >= 4)
}

/// Whether digits or both cases are there: a word after a dash has neither.
fn mixed(text: &str) -> bool {
    let has = |test: fn(&u8) -> bool| text.as_bytes().iter().any(test);
    has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
}

/// Addresses that let whoever knows them post.
pub(super) fn hooks(view: &View<'_>, found: &mut Found) {
    let text = view.text();
    for host in HOOKS {
        let mut done = 0;
        for (at, _) in text.match_indices(host) {
            // What was looked at is not read again, so a chain of hosts costs no more than its length.
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
