//! Browsers behind one address: distinguished by daily values, which never leave the relay's memory.

use crate::EXE;
use feedback_tests::{ChildRelay, MiniPlausible, Post, SITE, Setup, eventually, load};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

const OFFICE: &str = "198.51.100.20";

/// A batch of one event with additional members.
fn batch(n: usize, members: &Value) -> Post {
    let mut body = json!({ "site": SITE, "consent": { "plan": 3 }, "events": [load(n)] });
    for (key, value) in members.as_object().unwrap() {
        body[key] = value.clone();
    }
    Post::batch(&[]).body(body.to_string())
}

fn value(n: u8) -> String {
    format!("{n:032x}")
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_of_one_make_behind_one_address_are_as_many_visitors_as_they_have_values() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let mut sent = 0;
    // The members of each batch, its address, and the expected number of visitors.
    let mut check = async |name: &str, batches: &[(Value, &str)], visitors: usize| {
        let before = plausible.arrivals().len();
        for (members, address) in batches {
            sent += 1;
            let post = batch(sent, members).from(address);
            assert_eq!(
                relay.send(&post).await.text,
                r#"{"accepted":1,"dropped":[]}"#,
                "{name}"
            );
        }
        let arrivals = eventually(name, async || {
            Some(plausible.arrivals()).filter(|a| a.len() == before + batches.len())
        })
        .await;
        let seen: BTreeSet<_> = arrivals[before..]
            .iter()
            .map(|arrival| arrival.header("x-plausible-ip").to_owned())
            .collect();
        assert_eq!(seen.len(), visitors, "{name}");
    };
    let of = |n: u8| json!({ "visitor": value(n) });
    let none = json!({});
    check(
        "three browsers of an office",
        &[(of(1), OFFICE), (of(2), OFFICE), (of(3), OFFICE)],
        3,
    )
    .await;
    check("two tabs of one", &[(of(4), OFFICE), (of(4), OFFICE)], 1).await;
    check(
        "without the module",
        &[(none.clone(), OFFICE), (none.clone(), OFFICE)],
        1,
    )
    .await;
    let hosts: Vec<(Value, &str)> = [
        "2001:db8:7:1::1",
        "2001:db8:7:1::2",
        "2001:db8:7:1::3",
        "2001:db8:7:1::4",
    ]
    .iter()
    .zip(10..)
    .map(|(host, n)| (of(n), *host))
    .collect();
    check("hosts of one network", &hosts, 4).await;
    check(
        "the same value elsewhere",
        &[(of(1), OFFICE), (of(1), "198.51.100.21")],
        2,
    )
    .await;
    let odd = [
        json!(null),
        json!(7),
        json!("jane"),
        json!(["x"]),
        json!({ "a": 1 }),
        json!(value(1).replace('1', "A")),
    ];
    let odd: Vec<_> = odd
        .into_iter()
        .map(|odd| (json!({ "visitor": odd }), OFFICE))
        .collect();
    check("values of another form are none", &odd, 1).await;
    let night = json!({ "visitor": value(31), "visitor_before": value(30) });
    check(
        "a visit over midnight",
        &[(of(30), OFFICE), (night.clone(), OFFICE), (night, OFFICE)],
        1,
    )
    .await;
    let early = json!({ "visitor": value(33), "visitor_before": value(32) });
    check(
        "a visit that begins after it",
        &[(early.clone(), OFFICE), (early, OFFICE)],
        1,
    )
    .await;
    for arrival in plausible.arrivals() {
        let body = arrival.body.to_string();
        assert!(!body.contains("visitor") && !body.contains(&value(1)), "{body}");
    }
    relay.stop().await;
}

fn assert_without(folder: &Path, needles: &[&[u8]]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_without(&path, needles);
        } else if let Ok(bytes) = std::fs::read(&path) {
            for needle in needles {
                let found = bytes.windows(needle.len()).any(|window| window == *needle);
                assert!(!found, "a value of the day is in {}", path.display());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_the_day_is_on_no_disk_in_no_log_and_in_no_metric() {
    let plausible = MiniPlausible::away();
    let setup = Setup::new(&plausible.url());
    let done = setup.command(EXE, &["switch", "on", "--site", SITE], "").await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let relay: ChildRelay = setup.spawn(EXE).await;
    let (today, before) = (
        "c0ffee00d15ea5e0badc0de0feedface",
        "5eed5eed0ddba11ca11ab1edeca55e77",
    );
    let members = json!({ "visitor": today, "visitor_before": before });
    assert_eq!(relay.try_send(&batch(1, &members)).await.unwrap().status, 202);
    // One batch that is refused as a whole, and one whose only event is.
    let wrong = json!({ "visitor": today, "visitor_before": before, "consent": { "plan": 99 } });
    assert_eq!(relay.try_send(&batch(2, &wrong)).await.unwrap().status, 403);
    let broken = json!({ "visitor": today, "visitor_before": before, "events": [{}] });
    let answer = relay.try_send(&batch(3, &broken)).await.unwrap();
    assert!(
        !answer.text.contains(today) && !answer.text.contains(before),
        "{}",
        answer.text
    );
    let shown = format!("{}{}", relay.log(), relay.metrics().await.text);
    assert!(!shown.contains(today) && !shown.contains(before), "{shown}");
    let bytes = |text: &str| -> Vec<u8> {
        let pairs = text.as_bytes().chunks(2);
        pairs
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    };
    let (raw, raw_before) = (bytes(today), bytes(before));
    assert_without(
        setup.folder(),
        &[today.as_bytes(), before.as_bytes(), &raw, &raw_before],
    );
    relay.stop().await;
    assert_without(
        setup.folder(),
        &[today.as_bytes(), before.as_bytes(), &raw, &raw_before],
    );
}
