//! Fuel of the built-in policy: it suffices for any input.

use super::compiler::compiled;
use super::tests::wasm;
use super::*;
use relay_event::event::{ADDRESS_BYTES_MAX, KEY_BYTES_MAX, NAME_CHARS_MAX, Prop, VALUE_BYTES_MAX, Value};
use relay_event::plan::Plan;

/// Largest body of a request by default.
const BODY_BYTES: usize = 64 * 1024;
/// Strings that a detector examines closely, to be repeated.
const REPEATED: &[&str] = &[
    "1 2 ",
    "12 34 ",
    "1:",
    "f::1 ",
    "1.2.3.4 ",
    "@",
    "a@",
    "\"@",
    "\\\"@",
    "a@b.c ",
    "(a@",
    ".",
    "a.",
    "xn--a.",
    "http://",
    "//a:b@c/",
    "%25",
    "%252525",
    "%41",
    "&amp;",
    "\\u0041",
    "born 1 ",
    "born 1.1.1990 ",
    "tel 1 ",
    "id 1 ",
    "lat 1.5 ",
    "name: A ",
    "thanks,\nAn\n",
    "a at b dot ",
    "password user id card number ",
    "YWJjZGVmZ2hp",
    "WVdKalpHVm1aMmhw ",
    "6162636465666768",
    "4111 1111 1111 1111 ",
    "DE89 3704 0044 0532 0130 00 ",
    "Ä1 ",
    "ß@",
    "１２ ",
    "\u{200b}1",
];
/// Alphabets of random texts.
const RANDOM: &[&str] = &[
    " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~",
    "0123456789",
    "0123456789 -./+()",
    "a@.\"() +",
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=",
    "aeiouäöüßÀÉÎÕÚĀĞŁŞŽ ",
    "中文字０１２３４５６７８９＠．\u{200b}",
    "%0123456789abcdef",
    "&#;x0123456789",
];

/// A text of at most `bytes` bytes, of the nth kind.
fn text(nth: usize, bytes: usize) -> String {
    let mut text = match REPEATED.get(nth) {
        Some(piece) => piece.repeat(bytes / piece.len() + 1),
        None => random(RANDOM[nth - REPEATED.len()], bytes),
    };
    while text.len() > bytes {
        text.pop();
    }
    text
}

/// The same letters in each run, so that the fuel is the same.
fn random(alphabet: &str, bytes: usize) -> String {
    let alphabet: Vec<char> = alphabet.chars().collect();
    let mut state = 7_u32;
    let letter = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        alphabet[(state >> 8) as usize % alphabet.len()]
    };
    (0..bytes).map(letter).collect()
}

/// The largest events made of one text: it fills every field, repeated as far as the body limit allows.
fn events(text: impl Fn(usize) -> String) -> Vec<(&'static str, Visible)> {
    let note = |n: usize, bytes: usize| Prop {
        key: format!("note{n}"),
        value: Value::Text(text(bytes)),
    };
    let key = |n: usize| Prop {
        key: format!("{n}{}", text(KEY_BYTES_MAX - 3)),
        value: Value::Text("x".to_owned()),
    };
    let with = |props: Vec<Prop>| Visible {
        name: "pageview".to_owned(),
        url: "https://panel.example.com/".to_owned(),
        referrer: None,
        props,
    };
    let url = |rest: String| Visible {
        url: format!("https://panel.example.com/#/{rest}"),
        ..with(Vec::new())
    };
    let referrer = |rest: String| Visible {
        referrer: Some(rest),
        ..with(Vec::new())
    };
    vec![
        ("one value", with(vec![note(0, VALUE_BYTES_MAX)])),
        (
            "values",
            with(
                (0..BODY_BYTES / VALUE_BYTES_MAX)
                    .map(|n| note(n, VALUE_BYTES_MAX))
                    .collect(),
            ),
        ),
        ("short values", with((0..100).map(|n| note(n, 600)).collect())),
        ("keys", with((0..100).map(key).collect())),
        ("an address", url(text(ADDRESS_BYTES_MAX - 40))),
        (
            "a query",
            url(format!("x?utm_source={}", text(ADDRESS_BYTES_MAX - 60))),
        ),
        (
            "a referrer",
            referrer(format!("https://a.example/{}", text(ADDRESS_BYTES_MAX - 40))),
        ),
        (
            "a host",
            referrer(format!("https://{}", text(ADDRESS_BYTES_MAX - 40))),
        ),
        (
            "a name",
            Visible {
                name: text(4 * NAME_CHARS_MAX).chars().take(NAME_CHARS_MAX).collect(),
                ..with(Vec::new())
            },
        ),
    ]
}

#[test]
fn no_text_uses_up_half_of_the_fuel() {
    // A plan by which the policy searches every text.
    let plan = SitePlan::from(Plan {
        campaigns: true,
        ..Plan::unplanned()
    });
    let sandbox = Sandbox::load(
        &compiled(&wasm("bundle/policy.wasm")).unwrap(),
        &plan.clone().into(),
        &PolicyConfig::default(),
    )
    .unwrap();
    let fuel = PolicyConfig::default().fuel;
    let mut most = (0, String::new());
    let mut trial = sandbox.trial(&plan).unwrap();
    for nth in 0..REPEATED.len() + RANDOM.len() {
        for (place, event) in events(|bytes| text(nth, bytes)) {
            let attempt = trial.scrub(&event);
            let what = format!("{place}: text {nth}");
            assert!(
                !matches!(attempt.result, Err(Outcome::PolicyTimeout | Outcome::PolicyTrap)),
                "{what}: {:?}",
                attempt.result.err()
            );
            assert!(attempt.fuel <= fuel / 2, "{what} takes {} fuel", attempt.fuel);
            most = most.max((attempt.fuel, what));
        }
    }
    // A bound far above every text would show nothing.
    assert!(most.0 > fuel / 40, "{most:?}");
}
