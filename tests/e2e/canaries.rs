//! Canaries: secrets for every place a browser can put one, and a scan that finds them in any encoding.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use feedback_tests::{BROWSER, Post, SITE};
use serde_json::{Value, json};
use std::path::Path;

/// The version of the built-in plan.
const PLAN: u32 = 1;
/// The client's address, which is a canary as well.
pub(crate) const ADDRESS: &str = "198.51.100.207";
/// An event id: a value chosen by the sender must not reach the disk unchanged.
const ID: &str = "c0ffee00c0ffee11c0ffee22c0ffee33";
/// The text that every planted secret contains.
const CANARY: &str = "kanarie9q7z";

/// A separate secret for each place it is planted in, so that a hit identifies its source.
pub(crate) fn plant(place: &str) -> String {
    format!("{CANARY}{place}")
}

/// Every request that can carry a canary, accepted or refused.
pub(crate) fn requests() -> Vec<Post> {
    let p = plant;
    let url = format!(
        "https://{}:{}@{}.example.com/{}?{}={}#/w/{}/p/{}/tenants?{}",
        p("user"),
        p("password"),
        p("host"),
        p("path"),
        p("key"),
        p("value"),
        p("workspace"),
        p("project"),
        p("hashquery")
    );
    let referrer = format!(
        "https://{}@search.example.org/{}?q={}#{}",
        p("ruser"),
        p("rpath"),
        p("rquery"),
        p("rhash")
    );
    let feature = json!({
        "feature": "search", "text": p("prop"), p("propkey"): 1, "nested": { "deep": p("nested") },
        "path": url, "email": format!("{}@example.com", p("mail")),
    });
    let event = |name: &str, props: &Value| json!({ "n": name, "u": url, "d": SITE, "r": referrer, "p": props, p("field"): p("fieldvalue") });
    let link = format!(
        "https://{}@docs.example.org/{}?{}#{}",
        p("luser"),
        p("lpath"),
        p("lquery"),
        p("lhash")
    );
    let file = format!(
        "https://files.example.org/{}/{}.pdf?{}",
        p("fpath"),
        p("fname"),
        p("fquery")
    );
    let batch = json!({
        "site": SITE, p("batchfield"): p("batchvalue"),
        "consent": { "plan": PLAN, "categories": ["usage", p("category")] },
        "events": [
            { "id": ID, "name": "pageview", "url": url, "referrer": referrer, "props": feature },
            { "id": p("id"), "name": "pageview", "url": url },
            { "id": ID.replace('c', "d"), "name": p("batchname"), "url": url },
        ],
    });
    let good = |name: &str, props: &Value| dressed(Post::plausible(&event(name, props)));
    let feature_used = || good("Feature Used", &feature);
    vec![
        // Accepted.
        feature_used(),
        good("pageview", &Value::Null),
        good(
            "404",
            &json!({ "path": format!("/w/{}/p/{}/tenants", p("404w"), p("404p")) }),
        ),
        good("Outbound Link: Click", &json!({ "url": link })),
        good("File Download", &json!({ "url": file })),
        good(
            "File Download",
            &json!({ "url": format!("https://x.example/a.{}", p("extension")) }),
        ),
        good("pageview", &Value::Null)
            .with("user-agent", &format!("{}/1.0 ({})", p("agent"), p("agentnote"))),
        dressed(Post::batch(&[]).body(batch.to_string())),
        // Refused, each by a different check.
        good(&p("name"), &feature),
        good("Feature Used", &json!({ "feature": p("feature") })),
        dressed(Post::plausible(
            &json!({ "n": "pageview", "u": url, "d": p("site") }),
        )),
        feature_used().with("origin", &format!("https://{}.example.com", p("origin"))),
        feature_used().path(&format!("/api/event?consent={}", p("consent"))),
        feature_used().path(&format!("/{}/api/event?{}", p("requestpath"), p("requestquery"))),
        feature_used().with("sec-gpc", "1"),
        feature_used().with("user-agent", &format!("Googlebot {}", p("bot"))),
        feature_used().body(format!("{{\"n\":\"{}\"", p("half"))),
        feature_used().body(format!("\"{}\"", p("text"))),
        feature_used().body(p("large").repeat(9000)),
        feature_used().with("content-type", &format!("text/{}", p("type"))),
        feature_used().with("content-encoding", &p("encoding")),
        dressed(Post::batch(&[]).body(json!({ p("batchkey"): 1 }).to_string())),
    ]
}

/// A request with a canary in every header.
fn dressed(post: Post) -> Post {
    let agent = BROWSER.replace(
        "X11; Linux x86_64",
        &format!("X11; Linux x86_64; {}", plant("device")),
    );
    post.path_of_plan(PLAN)
        .with("user-agent", &format!("{agent} {}", plant("agenttail")))
        .with("x-forwarded-for", &format!("{}, {ADDRESS}", plant("forwarded")))
        .with("forwarded", &format!("for={}", plant("rfc7239")))
        .with("cf-connecting-ip", &plant("cf"))
        .with("x-real-ip", &plant("realip"))
        .with("x-plausible-ip", &plant("plausibleip"))
        .with("cookie", &format!("session={}", plant("cookie")))
        .with("authorization", &format!("Bearer {}", plant("bearer")))
        .with("accept-language", &plant("language"))
        .with("sec-ch-ua-model", &plant("model"))
        .with(
            "referer",
            &format!("https://panel.example.com/{}", plant("referer")),
        )
        .with("x-request-id", &plant("requestid"))
        .with("traceparent", &plant("trace"))
        .with(&plant("headername"), "1")
}

/// The forms in which a secret could be written: plain, and in the encodings a careless program uses.
fn spellings() -> Vec<Vec<u8>> {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let mut spellings = Vec::new();
    for secret in [CANARY, ADDRESS] {
        spellings.push(secret.to_owned());
        spellings.push(hex(secret.as_bytes()));
        spellings.push(secret.bytes().map(|b| format!("%{b:02x}")).collect());
        spellings.push(secret.bytes().map(|b| format!("\\u{b:04x}")).collect());
        // Base64 depends on the secret's offset within a group of three; its ends depend on the surrounding bytes.
        for lead in 0..3 {
            let encoded = STANDARD_NO_PAD.encode(format!("{}{secret}", "x".repeat(lead)));
            spellings.push(encoded[if lead == 0 { 0 } else { 4 }..encoded.len() - 2].to_owned());
        }
    }
    spellings.push(ID.to_owned());
    let mut bytes: Vec<Vec<u8>> = spellings
        .iter()
        .map(|s| s.to_ascii_lowercase().into_bytes())
        .collect();
    bytes.push(
        (0..16)
            .map(|i| u8::from_str_radix(&ID[2 * i..2 * i + 2], 16).unwrap())
            .collect(),
    );
    bytes
}

/// Fails if a secret is in the bytes, in any encoding and any case.
pub(crate) fn assert_clean(place: &str, bytes: &[u8]) {
    let lower = bytes.to_ascii_lowercase();
    for spelling in spellings() {
        let wanted = spelling.to_ascii_lowercase();
        if let Some(at) = lower.windows(wanted.len()).position(|w| w == wanted) {
            let around = &bytes[at.saturating_sub(80)..bytes.len().min(at + 120)];
            panic!("a canary in {place}: {:?}", String::from_utf8_lossy(around));
        }
    }
}

/// Fails if a secret is in a file of a folder.
pub(crate) fn assert_clean_folder(folder: &Path) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += assert_clean_folder(&path);
        } else if path.extension().is_none_or(|extension| extension != "sock") {
            assert_clean(&path.display().to_string(), &std::fs::read(&path).unwrap());
            files += 1;
        }
    }
    files
}

#[test]
fn a_scan_finds_a_secret_in_every_spelling() {
    let found = |text: &str| std::panic::catch_unwind(|| assert_clean("a test", text.as_bytes())).is_err();
    let secret = plant("here");
    assert!(found(&secret) && found(&secret.to_uppercase()));
    for lead in ["", "a", "ab", "abc"] {
        assert!(
            found(&STANDARD_NO_PAD.encode(format!("{lead}{secret}"))),
            "{lead}"
        );
    }
    assert!(found("6b616e617269653971377a") && found("%6B%61%6e%61%72%69%65%39%71%37%7a"));
    assert!(found(&format!("x{ADDRESS}x")) && found(ID));
    assert!(!found("kanarie, and 198.51.100.20"));
}
