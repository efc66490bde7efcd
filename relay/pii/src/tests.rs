//! Tests the engine around the scanners: folding, decoding, replacing.

use super::*;
use proptest::prelude::*;

/// Compares one scanner's findings in a text, from left to right, with the expected ones.
#[track_caller]
pub(crate) fn check_scanner(scan: Scanner, text: &str, want: &[&str]) {
    let view = View::new(text);
    let mut found = Found::default();
    scan(&view, &mut found);
    let settled = settle(view.text(), found.0);
    let got: Vec<&str> = settled.iter().map(|f| &view.text()[f.range.clone()]).collect();
    assert_eq!(got, want, "{text}");
}

#[track_caller]
fn check(text: &str, want: &str) {
    assert_eq!(redact(text), want, "{text}");
    assert_eq!(redact(want), want, "not idempotent: {want}");
}

#[test]
fn what_is_found_is_replaced_and_the_rest_stays_as_it_was() {
    check("write to jane.doe@example.com today", "write to [removed] today");
    check("from 192.168.1.7 to 192.168.1.8", "from [removed] to [removed]");
    check("jane@example.com,bob@example.com", "[removed],[removed]");
    check(
        "it took 45 seconds in version 2.13",
        "it took 45 seconds in version 2.13",
    );
    check(
        "Authentifizierung und Autorisierung",
        "Authentifizierung und Autorisierung",
    );
    check("std::string, 12:34 o'clock", "std::string, 12:34 o'clock");
    check(
        "105961890 bytes in 906949053 ns",
        "105961890 bytes in 906949053 ns",
    );
    check("4111111111111111 bytes", "[removed] bytes");
    check("password: a&b7xQ! ok", "password: [removed] ok");
    check("password=a1b2c3&page=2", "password=[removed]&page=2");
    check("address: 639 Gregory Coves", "address: [removed]");
    check("address 639 of memory", "address 639 of memory");
    check("[removed]", "[removed]");
    check("call [removed] now", "call [removed] now");
    check("", "");
}

#[test]
fn full_width_zero_width_and_foreign_digits_hide_nothing() {
    check("ｊａｎｅ＠ｅｘａｍｐｌｅ．ｃｏｍ", REMOVED);
    check(
        "write to ja\u{200b}ne@exam\u{ad}ple.com now",
        "write to [removed] now",
    );
    check("𝐣𝐚𝐧𝐞@example.com", REMOVED);
    check("card ４１１１ １１１１ １１１１ １１１１", "card [removed]");
    check("card ٤١١١١١١١١١١١١١١١", "card [removed]");
    check("card 4111\u{2011}1111\u{2011}1111\u{2011}1111", "card [removed]");
    check("über \u{ad}Größe", "über \u{ad}Größe");
}

#[test]
fn escapes_are_decoded_and_taken_out_as_they_were_written() {
    check("q=jane%40example.com&page=2", "q=[removed]&page=2");
    check("q=jane%2540example.com", "q=[removed]");
    check("jane&#64;example.com", REMOVED);
    check("jane&commat;example.com wrote", "[removed] wrote");
    check("jane\\u0040example.com", REMOVED);
    check("jane\\x40example.com", REMOVED);
    check(
        "{\\\"email\\\":\\\"jane@example.com\\\"}",
        "{\\\"email\\\":\\\"[removed]\\\"}",
    );
    check("100% of 50%", "100% of 50%");
    check("%zz %4 %", "%zz %4 %");
    check("\\ud800 is half a sign", "\\ud800 is half a sign");
}

#[test]
fn encoded_text_is_taken_out_whole() {
    check("id amFuZUBleGFtcGxlLmNvbQ== ok", "id [removed] ok");
    check("id 6a616e65406578616d706c652e636f6d ok", "id [removed] ok");
    check("see /docs/amFuZUBleGFtcGxlLmNvbQ", "see [removed]");
    check(
        "ResourceUsageReports and Benutzerverwaltung",
        "ResourceUsageReports and Benutzerverwaltung",
    );
}

#[test]
fn a_piece_that_is_more_than_a_token_has_the_kind_that_says_more() {
    let check = |text: &str, want: Kind| {
        let kinds: Vec<Kind> = findings(text).iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, [want], "{text}");
    };
    check("0x52908400098527886E0F7030069857D2E4169EE7", Kind::Wallet);
    check("amFuZUBleGFtcGxlLmNvbQ==", Kind::Encoded);
    check("550e8400-e29b-41d4-a716-446655440000", Kind::Token);
    check("2fd4e1c67a2d28fced849ee1bb76e7391b93eb12", Kind::Token);
}

proptest! {
    #[test]
    fn redaction_is_total_idempotent_and_leaves_nothing_to_find(text in "\\PC{0,120}") {
        let once = redact(&text).into_owned();
        prop_assert!(is_clean(&once), "{once:?}");
        prop_assert_eq!(redact(&once), once.as_str());
    }

    #[test]
    fn redaction_is_idempotent_on_what_looks_like_data(
        text in "([a-z]{0,6}|[0-9]{1,6}|[@.:=/ +%&#;,()\\[\\]_-]|name|phone|iban|password|removed|\\[removed\\]|at|dot|com){0,24}"
    ) {
        let once = redact(&text).into_owned();
        prop_assert!(is_clean(&once), "{text:?} gave {once:?}");
    }

    #[test]
    fn findings_are_in_order_apart_and_between_characters(text in "[a-z0-9@.:äж\u{200b}４ +/=%-]{0,80}") {
        let found = findings(&text);
        for finding in &found {
            prop_assert!(text.get(finding.range.clone()).is_some());
        }
        for pair in found.windows(2) {
            prop_assert!(pair[0].range.end <= pair[1].range.start);
        }
    }
}
