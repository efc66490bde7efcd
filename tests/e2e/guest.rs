//! The shipped policy runs the relay's own rules: its WebAssembly output is byte-identical to the native output.

use feedback_relay::config::{DEFAULT_PLAN, PolicyConfig, SitePlan};
use feedback_relay::policy::sandbox::Sandbox;
use feedback_relay::policy::sandbox::compiler::{Compiler, Priority};
use proptest::prelude::*;
use relay_event::Outcome;
use relay_event::event::{Prop, Value};
use relay_event::plan::Plan;
use relay_event::scrub::{Refusal, Visible, scrub};
use std::path::Path;
use std::sync::LazyLock;

/// Texts as people and programs write them into events, including the patterns that the rules look for.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "jane.doe@example.com", "+49 176 12345678", "192.0.2.146", "2001:db8:85a3::8a2e:370:7334", "4111 1111 1111 1111",
    "DE89 3704 0044 0532 0130 00", "550e8400-e29b-41d4-a716-446655440000", "password=hunter2secret", "amFuZUBleGFtcGxlLmNvbQ==",
    "%6a%61%6e%65%40example.com", "ｊａｎｅ＠ｅｘａｍｐｌｅ．ｃｏｍ", "j\u{200b}ane@exa\u{ad}mple.com", "born on 1980-02-29", "/home/jane/notes.txt",
    "https://user:pw@Bücher.example:8443/users/7?utm_source=news&token=1#/w/acme", "[removed]", "{\"v\":\"jane@example.com\"}",
    "plain words", "search", "project-created", "overall", "\u{202e}", "\0", "İK", " ", "/w/acme/p/x", "😀", "%", "&#64;", "\\u0040",
];
const NAMES: &[&str] = &[
    "pageview",
    "engagement",
    "Feature Used",
    "Activity Rated",
    "404",
    "Outbound Link: Click",
    "File Download",
];
const KEYS: &[&str] = &[
    "feature", "activity", "rating", "path", "url", "user", "email", "note", "id", "password", "ключ",
];

/// The shipped policy, once for each plan.
static GUESTS: LazyLock<Vec<(SitePlan, Sandbox)>> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../relay/bundle/policy.wasm");
    let wasm =
        std::fs::read(&path).unwrap_or_else(|_| panic!("`cargo xtask bundle --for-tests` builds the policy"));
    let shipped = SitePlan::parse("plan.toml", DEFAULT_PLAN).unwrap();
    let component = Compiler::in_process().compile(&wasm, Priority::Normal).unwrap();
    let guest = |plan: SitePlan| {
        let sandbox = Sandbox::load(&component, &plan.clone().into(), &PolicyConfig::default());
        (plan, sandbox.unwrap())
    };
    vec![guest(shipped), guest(Plan::unplanned().into())]
});

/// One to four pieces, some of them arbitrary text, with or without separators.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => proptest::sample::select(PIECES).prop_map(str::to_owned),
        1 => "\\PC{0,20}",
        1 => "[a-zA-Z0-9@.:/+=_-]{0,30}",
    ];
    let between = proptest::sample::select(&["", " ", "/", ", "][..]);
    (proptest::collection::vec(piece, 1..=4), between).prop_map(|(pieces, between)| pieces.join(between))
}

fn address() -> impl Strategy<Value = String> {
    let start = proptest::sample::select(
        &[
            "https://panel.example.com/",
            "https://panel.example.com/#/w/",
            "https://",
            "http://u:p@",
            "",
        ][..],
    );
    (start, text()).prop_map(|(start, rest)| format!("{start}{rest}"))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => text().prop_map(Value::Text),
        1 => any::<i64>().prop_map(Value::Integer),
        1 => (-9i64..9).prop_map(Value::Integer),
        1 => proptest::num::f64::NORMAL.prop_map(Value::Decimal),
        1 => any::<bool>().prop_map(Value::Boolean),
    ]
}

fn one_of(listed: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![3 => proptest::sample::select(listed).prop_map(str::to_owned), 1 => text()]
}

fn event() -> impl Strategy<Value = Visible> {
    let props = proptest::collection::btree_map(one_of(KEYS), value(), 0..6);
    (one_of(NAMES), address(), proptest::option::of(address()), props).prop_map(
        |(name, url, referrer, props)| Visible {
            name,
            url,
            referrer,
            props: props
                .into_iter()
                .map(|(key, value)| Prop { key, value })
                .collect(),
        },
    )
}

/// The whole event as readable text, for comparison.
fn bytes(event: &Visible) -> String {
    let props: Vec<_> = event.props.iter().map(|prop| (&prop.key, &prop.value)).collect();
    serde_json::to_string(&(&event.name, &event.url, &event.referrer, props)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_guest_gives_what_the_rules_give_natively(event in event()) {
        for (plan, guest) in GUESTS.iter() {
            let native = scrub(&event, plan).map(|left| bytes(&left)).map_err(|refusal| match refusal {
                Refusal::MissingProp => Outcome::MissingProp,
                Refusal::UnknownEvent => Outcome::Unwanted,
            });
            let proposed = guest.scrub(plan, &event).map(|left| bytes(&left));
            prop_assert_eq!(proposed, native, "{}", bytes(&event));
        }
    }
}
