//! Tests both wire formats: accepted input, rejected input and the error texts.

use super::*;
use proptest::prelude::*;

#[track_caller]
fn plausible(body: &str) -> Event {
    parse_plausible(body.as_bytes()).unwrap()
}

#[test]
fn plausible_short_and_long_keys_mean_the_same() {
    let short = r#"{"n":"Feature Used","u":"https://a.example/x","d":"a.example","r":"https://b.example/","p":{"k":"v","n":2},"i":false}"#;
    let long = r#"{"name":"Feature Used","url":"https://a.example/x","domain":"a.example","referrer":"https://b.example/","props":{"k":"v","n":2},"interactive":false}"#;
    assert!(plausible(short) == plausible(long));
    assert!(!plausible(short).interactive);
    assert_eq!(plausible(short).props.len(), 2);
}

#[test]
fn the_short_key_wins_unless_it_is_null_or_false() {
    assert_eq!(
        plausible(r#"{"n":"a","name":"b","u":"https://a.example/"}"#).name,
        "a"
    );
    assert_eq!(
        plausible(r#"{"n":null,"name":"b","u":"https://a.example/"}"#).name,
        "b"
    );
    assert_eq!(
        plausible(r#"{"n":"a","n":"b","u":"https://a.example/"}"#).name,
        "a"
    );
}

#[test]
fn the_site_falls_back_to_the_host_of_the_page() {
    assert_eq!(
        plausible(r#"{"n":"a","u":"https://www.a.example:8443/"}"#).site,
        "a.example"
    );
    assert_eq!(
        plausible(r#"{"n":"a","u":"https://a.example/","d":" www.b.example "}"#).site,
        "b.example"
    );
}

#[test]
fn an_event_may_go_to_a_list_of_sites() {
    let check = |listed: &str, want: &[&str]| {
        let event = plausible(&format!(r#"{{"n":"a","u":"https://a.example/","d":"{listed}"}}"#));
        assert_eq!(sites(&event.site), want, "{listed}");
    };
    check("a.example", &["a.example"]);
    check("a.example,b.example", &["a.example", "b.example"]);
    check(" www.a.example , b.example ", &["a.example", "b.example"]);
    check("a.example,www.a.example,a.example", &["a.example"]);
    check("A.example,a.example", &["A.example", "a.example"]);
    check("a.example,", &["a.example", ""]);
    check(",", &[""]);
    let list = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    check(&list(32), &list(32).split(',').collect::<Vec<_>>());
    let many = format!(r#"{{"n":"a","u":"https://a.example/","d":"{}"}}"#, list(33));
    let error = parse_plausible(many.as_bytes()).err().unwrap().to_string();
    assert_eq!(error, "`domain` must list at most 32 sites");
}

#[test]
fn plausible_bodies_that_are_no_event_say_which_field_is_wrong() {
    let check = |body: &str, want: &str| {
        let error = parse_plausible(body.as_bytes()).err().unwrap().to_string();
        assert!(error.contains(want), "{body}: {error}");
    };
    check("", "JSON");
    check("[]", "JSON");
    check(r#"{"n":"#, "JSON");
    // Plausible answers 400 to these as well, in any field.
    check(r#"{"n":"a","u":"https://a.example/","p":{"k":"\ud800"}}"#, "JSON");
    check(r#"{"n":"a","u":"https://a.example/","x":{"\udc00":1}}"#, "JSON");
    check(r#"{"n":"a","u":"https://a.example/","x":1e999}"#, "JSON");
    check(r#"{"u":"https://a.example/"}"#, "`name`");
    check(r#"{"n":" ","u":"https://a.example/"}"#, "`name` can't be blank");
    check(r#"{"n":1.5,"u":"https://a.example/"}"#, "`name`");
    check(
        &format!(r#"{{"n":"{}","u":"https://a.example/"}}"#, "x".repeat(121)),
        "120",
    );
    check(r#"{"n":"a"}"#, "`url`");
    check(r#"{"n":"a","u":"data:text/html,hi"}"#, "`url`");
    check(r#"{"n":"a","u":"/x","d":"a.example"}"#, "`url`");
    check(r#"{"n":"a","u":"https://a.example/","d":" "}"#, "`domain`");
    check(r#"{"n":"engagement","u":"https://a.example/"}"#, "`engagement`");
    check(
        &format!(r#"{{"n":"a","u":"https://a.example/{}"}}"#, "x".repeat(9000)),
        "8192",
    );
}

#[test]
fn no_error_quotes_what_was_sent() {
    for body in [
        r#"{"n":"jane@example.com""#,
        r#"{"n":{"jane@example.com":1},"u":"jane@example.com"}"#,
        "jane@example.com",
    ] {
        let error = parse_plausible(body.as_bytes()).err().unwrap().to_string();
        assert!(!error.contains("jane"), "{error}");
        let error = parse_batch(body.as_bytes()).err().unwrap().to_string();
        assert!(!error.contains("jane"), "{error}");
    }
    let error = parse_batch(br#"{"site":1,"events":"jane@example.com"}"#)
        .err()
        .unwrap()
        .to_string();
    assert!(!error.contains("jane"), "{error}");
}

#[test]
fn engagement_follows_plausibles_rules() {
    let check = |fields: &str, ms: u64, depth: u8| {
        let body = format!(r#"{{"n":"engagement","u":"https://a.example/",{fields}}}"#);
        assert_eq!(
            plausible(&body).engagement,
            Some(Engagement {
                ms,
                scroll_depth: depth
            }),
            "{fields}"
        );
    };
    check(r#""e":1500,"sd":40"#, 1500, 40);
    check(r#""e":"1500","sd":"140""#, 1500, 100);
    check(r#""e":-5,"sd":40"#, 0, 40);
    check(r#""e":99"#, 99, SCROLL_DEPTH_UNKNOWN);
    check(r#""e":999999999999,"sd":1"#, 0, 1);
    assert_eq!(
        plausible(r#"{"n":"pageview","u":"https://a.example/","e":5}"#).engagement,
        None
    );
}

#[test]
fn props_keep_scalars_and_leave_out_the_rest() {
    let event = plausible(
        r#"{"n":"a","u":"https://a.example/","p":{"t":"x","i":1,"d":1.5,"b":true,"n":null,"l":[1],"o":{"k":1},"":"x","blank":" "}}"#,
    );
    let keys: Vec<_> = event.props.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(keys, ["t", "i", "d", "b"]);
    let as_text = plausible(r#"{"n":"a","u":"https://a.example/","m":"{\"t\":\"x\"}"}"#);
    assert_eq!(as_text.props.len(), 1);
    assert!(
        plausible(r#"{"n":"a","u":"https://a.example/","p":[1]}"#)
            .props
            .is_empty()
    );
}

#[test]
fn revenue_is_read_in_each_form_that_plausible_reads_and_costs_no_event() {
    let check = |fields: &str, want: Option<Result<(&str, &str), ()>>| {
        let event = plausible(&format!(r#"{{"n":"a","u":"https://a.example/",{fields}}}"#));
        let read = event.revenue.map(|read| {
            read.map(|revenue| (revenue.amount(), revenue.currency()))
                .map_err(|_| ())
        });
        let want = want.map(|read| read.map(|(amount, currency)| (amount.to_owned(), currency)));
        assert_eq!(read, want, "{fields}");
    };
    check(
        r#""$":{"amount":12.5,"currency":"EUR"}"#,
        Some(Ok(("12.5", "EUR"))),
    );
    check(
        r#""$":{"amount":"12.50","currency":"EUR"}"#,
        Some(Ok(("12.5", "EUR"))),
    );
    check(
        r#""$":"{\"amount\":\"12.50\",\"currency\":\"EUR\"}""#,
        Some(Ok(("12.5", "EUR"))),
    );
    check(
        r#""revenue":{"amount":1,"currency":"usd"}"#,
        Some(Ok(("1", "USD"))),
    );
    check(
        r#""$":{"amount":1,"currency":"EUR"},"revenue":{"amount":2,"currency":"USD"}"#,
        Some(Ok(("2", "USD"))),
    );
    check(
        r#""revenue":null,"$":{"amount":1,"currency":"EUR"}"#,
        Some(Ok(("1", "EUR"))),
    );
    check(
        r#""revenue":false,"$":{"amount":1,"currency":"EUR"}"#,
        Some(Ok(("1", "EUR"))),
    );
    check(
        r#""$":{"amount":1,"amount":2,"currency":"EUR"}"#,
        Some(Ok(("1", "EUR"))),
    );
    check(r#""x":1"#, None);
    check(r#""$":null"#, None);
    for wrong in [
        "12.5",
        "[]",
        "{}",
        "true",
        r#""12.50 EUR""#,
        r#""{""#,
        r#"{"amount":1}"#,
        r#"{"currency":"EUR"}"#,
        r#"{"amount":1,"currency":"Euro"}"#,
        r#"{"amount":true,"currency":"EUR"}"#,
        r#"{"amount":{"x":1},"currency":"EUR"}"#,
        r#"{"amount":1,"currency":978}"#,
        r#"{"amount":4111111111111111,"currency":"EUR"}"#,
    ] {
        check(&format!(r#""$":{wrong}"#), Some(Err(())));
    }
    let batch = br#"{"site":"a.example","events":[{"id":"00112233445566778899aabbccddeeff","name":"a","url":"https://a.example/","revenue":{"amount":3,"currency":"EUR"}}]}"#;
    let event = parse_batch(batch).unwrap().events.remove(0).unwrap();
    assert_eq!(event.revenue.unwrap().unwrap().amount(), "3");
}

#[test]
fn a_broken_event_does_not_take_its_batch_with_it() {
    let good = r#"{"id":"00112233445566778899aabbccddeeff","name":"pageview","url":"https://a.example/#/x"}"#;
    // Of two equal keys the first counts, as in Plausible's format.
    let twice =
        r#"{"id":"10112233445566778899aabbccddeeff","name":"pageview","name":"","url":"https://a.example/"}"#;
    let body = format!(
        r#"{{"site":"a.example","consent":{{"plan":1,"categories":["usage"]}},"events":[{good},{{"name":"x"}},{{"id":"no"}},null,{twice}]}}"#
    );
    let batch = parse_batch(body.as_bytes()).unwrap();
    assert_eq!(
        batch.events.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, false, false, false, true]
    );
    let consent = batch.consent.unwrap();
    assert!(consent.in_person && consent.covers("usage") && !consent.covers("feedback"));
}

#[test]
fn batches_have_one_to_a_hundred_events() {
    let event = r#"{"name":"x"}"#;
    let body = |n: usize| {
        format!(
            r#"{{"site":"a.example","events":[{}]}}"#,
            vec![event; n].join(",")
        )
    };
    assert_eq!(parse_batch(body(0).as_bytes()).err(), Some(Malformed::BatchSize));
    assert!(parse_batch(body(100).as_bytes()).is_ok());
    assert_eq!(
        parse_batch(body(101).as_bytes()).err(),
        Some(Malformed::BatchSize)
    );
}

proptest! {
    #[test]
    fn parsing_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (parse_plausible(&bytes), parse_batch(&bytes));
    }
}

#[test]
fn a_visitors_values_are_32_digits_each_or_none() {
    let values = |members: &str| {
        let id = "00112233445566778899aabbccddeeff";
        let event = format!(r#"{{"id":"{id}","name":"pageview","url":"https://a.example/"}}"#);
        let body = format!(r#"{{"site":"a.example",{members}"events":[{event}]}}"#);
        let batch = parse_batch(body.as_bytes()).expect("a batch");
        assert!(batch.events[0].is_ok(), "{members}");
        let byte = |value: Option<[u8; 16]>| value.map(|bytes| bytes[15]);
        (byte(batch.visitor.today), byte(batch.visitor.before))
    };
    let check = |members: &str, today, before| assert_eq!(values(members), (today, before), "{members}");
    let one = "0000000000000000000000000000000a";
    let two = "0000000000000000000000000000000b";
    check("", None, None);
    check(&format!(r#""visitor":"{one}","#), Some(10), None);
    check(
        &format!(r#""visitor":"{one}","visitor_before":"{two}","#),
        Some(10),
        Some(11),
    );
    check(&format!(r#""visitor_before":"{two}","#), None, Some(11));
    check(
        &format!(r#""visitor":"{one}","visitor":"{two}","#),
        Some(10),
        None,
    );
    for odd in [
        "null",
        "7",
        "[]",
        "{}",
        "true",
        r#""""#,
        r#""jane@example.com""#,
        r#""\ud800""#,
        r#""0000000000000000000000000000000A""#,
        r#""000000000000000000000000000000000a""#,
        r#""0000000000000000000000000000000""#,
        r#"{"a":["]"]}"#,
    ] {
        check(
            &format!(r#""visitor":{odd},"visitor_before":"{two}","#),
            None,
            Some(11),
        );
    }
}
