//! The messages about mistakes in a file.

use super::*;

fn mistakes(text: &str) -> Vec<String> {
    let result = read("test.toml", text, |root| {
        root.integer("port", 1..=u16::MAX);
        root.section("public", |public| {
            public.text("listen");
            public.boolean("quiet");
        });
        root.sections("site", |site| site.text("domain"));
    });
    result
        .err()
        .map(|m| m.to_string().lines().map(str::to_owned).collect())
        .unwrap_or_default()
}

#[test]
fn every_mistake_is_reported_with_its_key_and_line() {
    let check = |text: &str, want: &[&str]| assert_eq!(mistakes(text), want, "{text}");
    check(
        "port = 80\n[public]\nlisten = \"x\"\n[[site]]\ndomain = \"a\"\n",
        &[],
    );
    check(
        "port = 0\nprot = 1\n[public]\nlisten = 7\nquite = true\n[[site]]\ndomian = \"a\"",
        &[
            "test.toml:1: `port` must be a whole number from 1 to 65535",
            "test.toml:2: `prot` is not a setting; did you mean `port`?",
            "test.toml:4: `public.listen` must be text in quotes",
            "test.toml:5: `public.quite` is not a setting; did you mean `quiet`?",
            "test.toml:7: `site.domian` is not a setting; did you mean `domain`?",
        ],
    );
    check(
        "public = 1",
        &["test.toml:1: `public` must be a table, as in [public]"],
    );
    check(
        "site = 1",
        &["test.toml:1: `site` must be a list of tables, as in [[site]]"],
    );
}

#[test]
fn a_mistake_is_one_short_line_whatever_the_key() {
    let check = |text: &str, want: &[&str]| assert_eq!(mistakes(text), want, "{text}");
    check(
        "\"a\\nport\\u001b[31m\" = 1",
        &["test.toml:1: `a\\nport\\u{1b}[31m` is not a setting"],
    );
    check(
        &format!("[public]\n{} = 1", "k".repeat(5000)),
        &[&format!(
            "test.toml:2: `public.{}…` is not a setting",
            "k".repeat(KEY_CHARS_MAX)
        )],
    );
    let escaped = mistakes(&format!("\"{}\" = 1", "\\u0007".repeat(60)));
    assert!(
        escaped[0].chars().count() < 60 + "test.toml:1: `\\u{7}…` is not a setting".len(),
        "{escaped:?}"
    );
    let long = read("test.toml", "port = 1", |root| {
        root.integer("port", 1..=1_u16);
        root.mistake("port", "x".repeat(5000));
    });
    let long = long.err().unwrap().to_string();
    assert_eq!(
        long.chars().count(),
        "test.toml:1: …".chars().count() + TEXT_CHARS_MAX
    );
}

#[test]
fn a_key_nested_too_deep_has_a_line() {
    let found = mistakes(&format!("port = 1\na{} = 1\nport = 2\n", ".a".repeat(100)));
    assert!(
        found
            .iter()
            .any(|mistake| mistake == "test.toml:2: recursion limit"),
        "{found:?}"
    );
}

#[test]
fn a_syntax_error_has_a_line_and_does_not_quote_the_file() {
    let found = mistakes("port = 80\npassword = hunter2 \"\n");
    assert!(found[0].starts_with("test.toml:2: "), "{found:?}");
    assert!(!found.concat().contains("hunter2"), "{found:?}");
}
