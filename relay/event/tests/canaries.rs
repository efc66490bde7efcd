//! Plants personal data anywhere in an event, in any disguise, and checks that the output does not reveal it.

use proptest::prelude::*;
use relay_event::event::{Prop, Value};
use relay_event::plan::Plan;
use relay_event::scrub::{Visible, scrub};

/// Personal data of every family, each valid by its own rules.
const CANARIES: &[&str] = &[
    "jane.doe@example.com",
    "o'neil+news@mail.example.co.uk",
    "+49 176 12345678",
    "(415) 555-0132",
    "192.0.2.146",
    "2001:db8:85a3::8a2e:370:7334",
    "4111 1111 1111 1111",
    "5555555555554444",
    "DE89 3704 0044 0532 0130 00",
    "GB29NWBK60161331926819",
    "078-05-1120",
    "756.9217.0769.85",
    "44051401458",
    "00:1A:2B:3C:4D:5E",
    "356938035643809",
    "550e8400-e29b-41d4-a716-446655440000",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJqYW5lIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
    "password=hunter2secret",
];

/// Ways to disguise a text from a careless scanner.
#[derive(Clone, Copy, Debug)]
enum Disguise {
    Percent,
    PercentAll,
    Base64,
    Base64Url,
    Hex,
    Entities,
    Unicode,
    FullWidth,
    ZeroWidth,
    SoftHyphen,
    JsonString,
    Quoted,
}

const DISGUISES: &[Disguise] = &[
    Disguise::Percent,
    Disguise::PercentAll,
    Disguise::Base64,
    Disguise::Base64Url,
    Disguise::Hex,
    Disguise::Entities,
    Disguise::Unicode,
    Disguise::FullWidth,
    Disguise::ZeroWidth,
    Disguise::SoftHyphen,
    Disguise::JsonString,
    Disguise::Quoted,
];

impl Disguise {
    fn put_on(self, text: &str) -> String {
        match self {
            Self::Percent => text
                .bytes()
                .map(|b| match b.is_ascii_alphanumeric() {
                    true => char::from(b).to_string(),
                    false => format!("%{b:02X}"),
                })
                .collect(),
            Self::PercentAll => text.bytes().map(|b| format!("%{b:02x}")).collect(),
            Self::Base64 => base64(text, b"+/"),
            Self::Base64Url => base64(text, b"-_").trim_end_matches('=').to_owned(),
            Self::Hex => text.bytes().map(|b| format!("{b:02x}")).collect(),
            Self::Entities => text.chars().map(|c| format!("&#{};", u32::from(c))).collect(),
            Self::Unicode => text.encode_utf16().map(|u| format!("\\u{u:04x}")).collect(),
            Self::FullWidth => text
                .chars()
                .map(|c| match c {
                    '!'..='~' => char::from_u32(u32::from(c) + 0xfee0).unwrap_or(c),
                    _ => c,
                })
                .collect(),
            Self::ZeroWidth => text.chars().flat_map(|c| [c, '\u{200b}']).collect(),
            Self::SoftHyphen => text.chars().flat_map(|c| [c, '\u{ad}']).collect(),
            Self::JsonString => format!("{{\"v\":\"{}\"}}", text.replace('"', "\\\"")),
            Self::Quoted => format!("\"{text}\""),
        }
    }
}

fn base64(text: &str, last: &[u8; 2]) -> String {
    let mut alphabet: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').collect();
    alphabet.extend_from_slice(last);
    let mut out = String::new();
    for group in text.as_bytes().chunks(3) {
        let mut bits = [0; 4];
        bits[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(bits);
        for i in 0..4 {
            let sextet = (bits >> (18 - 6 * i)) as usize & 63;
            out.push(if i <= group.len() {
                char::from(alphabet[sextet])
            } else {
                '='
            });
        }
    }
    out
}

/// The place at which a canary is planted.
#[derive(Clone, Copy, Debug)]
enum Place {
    Name,
    Text,
    Sentence,
    Key,
    Path,
    Query,
    Fragment,
    UserInfo,
    Referrer,
}

const PLACES: &[Place] = &[
    Place::Name,
    Place::Text,
    Place::Sentence,
    Place::Key,
    Place::Path,
    Place::Query,
    Place::Fragment,
    Place::UserInfo,
    Place::Referrer,
];

fn planted(place: Place, what: &str) -> Visible {
    let mut event = Visible {
        name: "Searched".into(),
        url: "https://panel.example.com/docs".into(),
        referrer: None,
        props: Vec::new(),
    };
    let mut prop = |key: &str, value: String| {
        event.props.push(Prop {
            key: key.into(),
            value: Value::Text(value),
        });
    };
    match place {
        Place::Name => event.name = format!("Searched {what}"),
        Place::Text => prop("value", what.into()),
        Place::Sentence => prop("value", format!("please look at {what} for me, thanks")),
        Place::Key => prop(what, "1".into()),
        Place::Path => event.url = format!("https://panel.example.com/docs/{what}/edit"),
        Place::Query => event.url = format!("https://panel.example.com/docs?utm_source={what}&q={what}"),
        Place::Fragment => event.url = format!("https://panel.example.com/#/docs/{what}"),
        Place::UserInfo => event.url = format!("https://{what}@panel.example.com/docs"),
        Place::Referrer => event.referrer = Some(format!("https://search.example.org/find/{what}?q={what}")),
    }
    event
}

/// Everything of an event that leaves, one string per field.
fn left(event: &Visible) -> Vec<String> {
    let Ok(out) = scrub(event, &Plan::unplanned()) else {
        return Vec::new();
    };
    let mut left = vec![out.name, out.url];
    left.extend(out.referrer);
    for prop in out.props {
        left.push(prop.key);
        if let Value::Text(text) = prop.value {
            left.push(text);
        }
    }
    left
}

/// The letters and digits of a text, so that other separators hide nothing.
fn core(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

#[track_caller]
fn check(canary: &str, disguises: &[Disguise], place: Place) {
    let mut disguised = canary.to_owned();
    let mut forms = vec![canary.to_owned()];
    for disguise in disguises {
        disguised = disguise.put_on(&disguised);
        forms.push(disguised.clone());
    }
    for text in left(&planted(place, &disguised)) {
        for form in &forms {
            assert!(
                !core(&text).contains(&core(form)),
                "{canary} as {disguises:?} in {place:?} left {text:?}"
            );
        }
    }
}

#[test]
fn no_canary_survives_plain_or_in_one_disguise_anywhere() {
    for canary in CANARIES {
        for place in PLACES {
            check(canary, &[], *place);
            for disguise in DISGUISES {
                check(canary, &[*disguise], *place);
            }
        }
    }
}

proptest! {
    #[test]
    fn no_canary_survives_in_two_disguises(
        canary in proptest::sample::select(CANARIES),
        disguises in proptest::collection::vec(proptest::sample::select(DISGUISES), 2),
        place in proptest::sample::select(PLACES),
    ) {
        check(canary, &disguises, place);
    }

    #[test]
    fn scrubbing_is_total_and_scrubbing_again_changes_nothing(
        name in "\\PC{1,60}",
        url in "(https://[a-z.:@]{0,20})?[/#?&=;%a-z0-9:@.]{0,60}",
        referrer in proptest::option::of("https://[a-zäж.]{1,20}/[a-z/?=]{0,20}"),
        props in proptest::collection::vec(("[a-z_@.0-9A-Z]{1,12}", "\\PC{0,80}"), 0..4),
    ) {
        let plan = Plan::unplanned();
        let props = props.into_iter().map(|(key, value)| Prop { key, value: Value::Text(value) }).collect();
        let event = Visible { name, url, referrer, props };
        let once = scrub(&event, &plan).unwrap();
        prop_assert!(once.url.starts_with('/'));
        let again = Visible { url: format!("https://panel.example.com{}", once.url), ..once.clone() };
        let twice = scrub(&again, &plan).unwrap();
        prop_assert_eq!(&twice.url, &once.url);
        prop_assert_eq!(&twice.name, &once.name);
        prop_assert!(twice.props == once.props);
    }
}
