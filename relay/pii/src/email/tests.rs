use super::*;

/// Checks the rest of a text from which only e-mail addresses are removed.
fn check(text: &str, want: &str) {
    let view = View::new(text);
    let mut found = Found::default();
    find(&view, &mut found);
    for finding in &mut found.0 {
        finding.range = view.original(finding.range.clone());
    }
    let found = super::super::settle(text, found.0);
    assert_eq!(super::super::replace(text, &found), want, "{text}");
}

/// A text with one address in place of `_`. Exactly the address must be removed.
fn takes(address: &str) {
    for frame in [
        "_",
        "write to _ please",
        "(_)",
        "<_>",
        "mailto:_",
        "a, _, b",
        "at: _\nnext",
        "_.",
    ] {
        check(&frame.replace('_', address), &frame.replace('_', "[removed]"));
    }
}

fn keeps(text: &str) {
    check(text, text);
}

#[test]
fn addresses_go_as_a_whole() {
    for address in [
        "jane@example.com",
        "jane.doe+news@mail.example.co.uk",
        "J@E.DE",
        "o'neil@example.ie",
        "a-b_c@sub-domain.example",
        "#!$%&'*+-/=^`{|}~@example.org",
        "\"jane doe\"@example.com",
        "\"a\\\"b\"@example.com",
        "jane@[192.0.2.1]",
        "jane@[IPv6:2001:db8::1]",
        "jane@[what ever]",
        "jane@198.51.100.7",
        "jane@xn--mnchen-3ya.de",
        "jane@bücher.example",
        "жанна@пример.рф",
        "山田@例え.jp",
        "jane@example．com",
        "ja\u{200b}ne@example.com",
        "jane@buildserver",
        "jane(home)@example.com",
        "(me)jane@example.com",
    ] {
        takes(address);
    }
}

#[test]
fn what_stands_around_an_address_stays() {
    for (text, want) in [
        (
            "https://a.example/invite?to=jane@b.example&x=1",
            "https://a.example/invite?to=[removed]&x=1",
        ),
        (
            "https://a.example/u/jane@b.example/edit",
            "https://a.example/u/[removed]/edit",
        ),
        ("email=jane@b.example;tab=1", "email=[removed];tab=1"),
        ("'jane@b.example'", "'[removed]'"),
        ("{jane@b.example}", "{[removed]}"),
        ("git@host.example:acme/x.git", "[removed]:acme/x.git"),
        ("jane@b.example, joe@c.example", "[removed], [removed]"),
        ("jane@2001:db8::1", "[removed]2001:db8::1"),
        ("jane@b.example/sales", "[removed]/sales"),
        ("[removed]@b.example", "[removed]@b.example"),
    ] {
        check(text, want);
    }
}

#[test]
fn signs_that_are_no_address_stay() {
    for text in [
        "logo@2x.png",
        "icon@3x~ipad.png",
        "@media (width)",
        "@angular/core@17.3.1",
        "left-pad@1.3.0",
        "tool@v2.1.0",
        "vue@next",
        "actions/checkout@v4",
        "image@sha256:0a1b",
        "user@",
        "5 @ 3.50",
        "a @ b",
        "@@@@",
        "@",
        "x@.",
        "it is at 10.30",
    ] {
        keeps(text);
    }
}

#[test]
fn addresses_spelt_out_go() {
    for (text, want) in [
        ("jane at gmail.com", "[removed]"),
        ("jane at example dot com", "[removed]"),
        ("jane (at) example (dot) com!", "[removed]!"),
        ("jane [at] mail [dot] example [dot] de", "[removed]"),
        ("jane(at)example.de", "[removed]"),
        ("jane_at_example.de", "[removed]"),
        ("jane dot doe AT example DOT org", "[removed]"),
        ("Jane punkt Doe ät beispiel punkt de", "[removed]"),
        ("jane klammeraffe beispiel.de", "[removed]"),
        ("jane @ example . com", "[removed]"),
        ("jane@ example.com", "[removed]"),
        ("mail jane.doe at acme.com now", "mail [removed] now"),
    ] {
        check(text, want);
    }
}

#[test]
fn places_are_no_addresses() {
    for text in [
        "reached at 312.714.8142",
        "Meet at example.com",
        "available at example.com",
        "hosted at cloud.example.de",
        "sign in at panel.example.com",
        "the page at example.com",
        "numbers at example.org/stats",
        "see it at booth 5",
        "look at this. It works",
        "running at full speed. No errors",
        "that is a dot com company",
        "Punkt fünf",
        "at at at at",
    ] {
        keeps(text);
    }
}
