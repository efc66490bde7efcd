//! Tests how a batch is split: like a parser if the batch is valid, and event by event if one of them is not.

use super::*;
use crate::wire::parse_batch;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::Value;

const GOOD: &str = r#"{"id":"00112233445566778899aabbccddeeff","name":"pageview","url":"https://a.example/#/x","props":{"k":"v","n":1}}"#;

/// A batch of three whose second event is this.
fn around(odd: &[u8]) -> Vec<u8> {
    let head = format!(r#"{{"site":"a.example","consent":{{"plan":1}},"events":[{GOOD},"#);
    [head.as_bytes(), odd, format!(",{GOOD}]}}").as_bytes()].concat()
}

/// Which events of a batch are readable.
fn readable(body: &[u8]) -> Option<Vec<bool>> {
    let batch = parse_batch(body).ok()?;
    Some(batch.events.iter().map(Result::is_ok).collect())
}

#[test]
fn whatever_one_event_holds_the_others_are_read() {
    let check = |what: &str, odd: &[u8], is_event: bool| {
        assert_eq!(readable(&around(odd)), Some(vec![true, is_event, true]), "{what}");
    };
    let with = |value: &str| GOOD.replace("\"v\"", value).into_bytes();
    let key = |key: &str| GOOD.replace("\"k\"", key).into_bytes();
    check("itself", GOOD.as_bytes(), true);
    check("a surrogate pair", &with(r#""\ud83d\ude00""#), true);
    for (what, value) in [
        ("a high surrogate alone", r#""\ud800""#),
        ("a low surrogate alone", r#""\udc00 x""#),
        ("surrogates in the wrong order", r#""\udc00\ud800""#),
        ("a surrogate before another escape", r#""\ud800\n""#),
        ("half an escape", r#""\u00""#),
        ("an unknown escape", r#""\x41""#),
        ("a raw line break", "\"a\nb\""),
        ("a raw NUL", "\"a\0b\""),
        ("a number out of range", "1e999"),
        ("a small number out of range", "-1e999"),
        ("no number", "NaN"),
        ("a sign alone", "-"),
        ("a leading zero", "01"),
        ("a plus sign", "+1"),
        ("a hexadecimal number", "0x10"),
        ("a word", "undefined"),
        ("half a word", "tru"),
        ("nothing", ""),
        ("single quotes", "'v'"),
        ("two values", r#""v" "w""#),
        ("a comma too many", r#""v","#),
        ("a colon too many", r#"1:2"#),
        ("a bracket that opens", "["),
        ("a bracket that closes", "]"),
        ("brackets of two kinds", "[}"),
        ("a comment with a comma and a bracket", "/* , ] */ 1"),
    ] {
        check(what, &with(value), false);
    }
    check("a surrogate alone in a key", &key(r#""\udfff""#), false);
    check("a number as a key", &key("1"), false);
    check("a word as a key", &key("k"), false);
    let huge = "9".repeat(400);
    check("a whole number of 400 digits", &with(&huge), false);
    check("a whole number of 30 digits", &with(&huge[..30]), true);
    check("a decimal of 400 digits", &with(&format!("0.{huge}")), true);
    for (levels, is_event) in [
        (100, true),
        (127, false),
        (128, false),
        (129, false),
        (5000, false),
    ] {
        let lists = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        // A list is never kept, however deep: the parser skips it.
        check(&format!("{levels} lists"), &with(&lists), true);
        let objects = format!("{}1{}", r#"{"k":"#.repeat(levels), "}".repeat(levels));
        check(&format!("{levels} objects"), &with(&objects), is_event);
    }
    let mixed = format!("{}1{}", "[{\"k\":".repeat(300), "}]".repeat(300));
    check("600 levels of both kinds", &with(&mixed), true);
    check(
        "600 levels that are not closed",
        &with(&"[\"k\",".repeat(300)),
        false,
    );
    check("a key twice", &with(r#""v","k":"w""#), true);
    check("an escaped NUL", &with(r#""a\u0000b""#), true);
    check("an escaped quote", &with(r#""\",]}""#), true);
    check("an escaped backslash at the end", &with(r#""\\""#), true);
    check("brackets and commas in a string", &with(r#""}],{[""#), true);
    for (what, bytes) in [
        ("a byte that is not UTF-8", &b"\xff"[..]),
        ("half a character", b"\xc3"),
        ("an overlong character", b"\xc0\xaf"),
        ("a surrogate as bytes", b"\xed\xa0\x80"),
    ] {
        let quoted = [b"\"", bytes, b"\""].concat();
        let at = GOOD.find("\"v\"").unwrap();
        let odd = [&GOOD.as_bytes()[..at], &quoted, &GOOD.as_bytes()[at + 3..]].concat();
        check(what, &odd, false);
        check(&format!("{what}, outside a string"), bytes, false);
    }
    for odd in [
        "", " ", "null", "true", "1", "1e999", "\"x\"", "[]", "[[{}]]", "{}", "{} {}", "{}}", "x", "{,}",
        "{:}", "{1}",
    ] {
        check(odd, odd.as_bytes(), false);
    }
    for wrong in ["1", "null", "true", "[]", "{}", "1e999"] {
        for field in [
            "\"pageview\"",
            "\"https://a.example/#/x\"",
            "\"00112233445566778899aabbccddeeff\"",
        ] {
            check(wrong, GOOD.replace(field, wrong).as_bytes(), false);
        }
    }
}

#[test]
fn a_batch_whose_frame_is_unreadable_is_refused_whole() {
    let check = |what: &str, body: &str| assert_eq!(readable(body.as_bytes()), None, "{what}");
    let frame = |site: &str, consent: &str, events: &str| {
        format!(r#"{{"site":{site},"consent":{consent},"events":{events}}}"#)
    };
    let (site, consent, events) = ("\"a.example\"", r#"{"plan":1}"#, format!("[{GOOD}]"));
    let whole = frame(site, consent, &events);
    assert_eq!(readable(whole.as_bytes()), Some(vec![true]));
    assert_eq!(
        readable(frame(site, "null", &events).as_bytes()),
        Some(vec![true])
    );
    for (what, other) in [
        (
            "half a surrogate pair in the site",
            frame(r#""\ud800""#, consent, &events),
        ),
        ("a site that is a number", frame("1", consent, &events)),
        ("a site twice in one value", frame(r#""a" "b""#, consent, &events)),
        ("no plan in the consent", frame(site, "{}", &events)),
        ("a consent that is text", frame(site, "\"1\"", &events)),
        ("a plan out of range", frame(site, r#"{"plan":1e999}"#, &events)),
        ("no list of events", frame(site, consent, "{}")),
        ("no events", frame(site, consent, "[]")),
        (
            "a string that stays open",
            frame(site, consent, r#"[{"id":"x},{}]"#),
        ),
        (
            "an object that stays open",
            frame(site, consent, r#"[{"id":1,{}]"#),
        ),
        ("something before", format!("x{whole}")),
        ("a byte order mark", format!("\u{feff}{whole}")),
        ("something behind", format!("{whole}x")),
        ("a bracket behind", format!("{whole}}}")),
        ("a list", format!("[{whole}]")),
        ("no site", format!(r#"{{"events":{events}}}"#)),
        ("no events at all", r#"{"site":"a.example"}"#.to_owned()),
        ("a comma too many", whole.replace("}]}", "}],}")),
        ("no comma", whole.replace(",\"events\"", "\"events\"")),
        ("a key without quotes", whole.replace("\"site\"", "site")),
    ] {
        check(what, &other);
    }
    for cut in 0..whole.len() {
        check("cut off", &whole[..cut]);
    }
}

#[test]
fn a_body_of_brackets_alone_costs_one_look_at_each() {
    // Each closing bracket needs its opening one; with a linear search this would take minutes.
    for (open, close) in [("{", "]"), ("[", "}")] {
        let odd = format!("{}{}", open.repeat(500_000), close.repeat(500_000));
        assert_eq!(readable(&around(odd.as_bytes())), None);
    }
}

#[test]
fn keys_of_the_frame_come_in_any_order_and_the_first_of_two_counts() {
    let check = |body: &str| {
        let batch = parse_batch(body.as_bytes()).unwrap();
        assert_eq!(
            (batch.site.as_str(), batch.events.len()),
            ("a.example", 1),
            "{body}"
        );
        assert_eq!(batch.consent.unwrap().plan, 1, "{body}");
    };
    check(&format!(
        r#"{{"events":[{GOOD}],"consent":{{"plan":1}},"site":"a.example"}}"#
    ));
    check(&format!(
        r#"{{"site":"a.example","site":"b","consent":{{"plan":1}},"consent":{{"plan":2}},"events":[{GOOD}],"events":[1,2]}}"#
    ));
    check(&format!(
        r#" {{ "x" : [ {{ "a":"\ud800" }} , 1e999 ] , "\ud800" : 1 , "si\u0074e" : "a.example" , "consent" : {{"plan":1}} , "events" : [ {GOOD} ] }} "#
    ));
    check(&format!(
        "{{\r\n\t\"site\":\"a.example\",\n\"consent\":{{\"plan\":1}},\n\"events\":[\n{GOOD}\n]\n}}\n"
    ));
}

#[test]
fn an_error_names_the_place_in_the_whole_body() {
    let check = |body: &str, line: usize, column: usize| {
        let batch = parse_batch(body.as_bytes());
        let why = batch.map_or_else(Some, |batch| batch.events.into_iter().find_map(Result::err));
        let want = format!("line {line}, column {column}");
        let text = why.unwrap().to_string();
        assert!(text.ends_with(&want), "{body}: {text}, not {want}");
    };
    check(r#"{"site":"a","events":[tru]}"#, 1, 25);
    check("{\"site\":\"a\",\n\"events\":[\n \n {\n\"a\":x}]}", 5, 5);
    check("{\"site\":\"a\",\n\"events\":x}", 2, 10);
    check(r#"{"site":"a"} x"#, 1, 14);
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn valid_json_is_split_as_a_parser_reads_it(
        site in json(),
        consent in json(),
        events in vec(json(), 0..8),
        other in json(),
        pretty in any::<bool>(),
    ) {
        let whole = serde_json::json!({ "a": other, "consent": consent, "events": events, "site": site, "z": other });
        let body = if pretty { serde_json::to_vec_pretty(&whole) } else { serde_json::to_vec(&whole) }.unwrap();
        let frame = Frame::split(&body).unwrap();
        let parsed = |range: Range<usize>| serde_json::from_slice::<Value>(&body[range]).unwrap();
        prop_assert_eq!(frame.events.into_iter().map(parsed).collect::<Vec<_>>(), events);
        prop_assert_eq!(frame.site.map(parsed), Some(site));
        prop_assert_eq!(frame.consent.map(parsed), Some(consent));
    }

    /// One event may contain any bytes, as long as it leaves no string and no object open.
    #[test]
    fn a_mutated_event_never_changes_the_others(
        places in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6),
        byte in any::<u8>(),
    ) {
        let byte = [if matches!(byte, b'"' | b'\\' | b'{' | b'}') { b'?' } else { byte }];
        let pieces: [&[u8]; 14] = [
            br"\ud800", b"\xff", b"1e999", b"[", b"]", b"{}", b"[]", b"\"x\"", br"\\", b",", b":", b"\0", b"{[}", &byte,
        ];
        let mut odd = GOOD.as_bytes().to_vec();
        for (place, piece) in places {
            // Inside the outer brackets.
            let at = 1 + place.index(odd.len() - 1);
            odd.splice(at..at, piece.get(&pieces).iter().copied());
        }
        // Cutting an escape in two leaves a backslash before a quote: the string stays open.
        let is_whole = Frame::split(&around(&odd)).is_ok_and(|frame| frame.events.len() == 3);
        prop_assume!(is_whole);
        let seen = readable(&around(&odd)).unwrap();
        prop_assert!(seen[0] && seen[2]);
    }

    #[test]
    fn splitting_is_total(bytes in vec(any::<u8>(), 0..300), tokens in vec(0..12_usize, 0..100)) {
        let _ = Frame::split(&bytes);
        const TOKENS: [&str; 12] =
            ["{", "}", "[", "]", ",", ":", "\"", "\\", "\"events\"", "\"site\"", "1", " "];
        let text: String = tokens.into_iter().map(|token| TOKENS[token]).collect();
        if let Ok(frame) = Frame::split(text.as_bytes()) {
            let ranges = frame.events.into_iter().chain(frame.site).chain(frame.consent);
            for range in ranges {
                prop_assert!(range.start <= range.end && range.end < text.len());
            }
        }
    }
}
