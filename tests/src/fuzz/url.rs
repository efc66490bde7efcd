//! URLs, and every coarsening of them.

use super::rules::{
    check_campaign, check_event, check_host, check_origin, check_page, check_shape, event_of, plans, text_of,
};
use relay_event::address::{Address, Referrer, coarse_file, coarse_link, coarse_origin};
use relay_event::event::{Prop, Value};
use relay_event::scrub::{self, Visible};
use relay_event::shape;

/// Prefixes for an input that is only a part of a URL.
const PREFIXES: [&str; 3] = [
    "https://panel.example.com",
    "https://panel.example.com/#",
    "https://",
];

/// Splitting a URL is total; each coarsening is total, in ASCII, bounded and idempotent, and leaves no user, port,
/// fragment or unknown query key. The first line is the URL, the second, if there is one, the referrer.
///
/// # Panics
/// If one of these is violated.
pub fn url(data: &[u8]) {
    let text = text_of(data);
    let (address, from) = text.split_once('\n').unwrap_or((&text, ""));
    check(address, from);
    if !address.contains("://") {
        PREFIXES
            .iter()
            .for_each(|prefix| check(&format!("{prefix}{address}"), from));
    }
    check_parts(address);
}

fn check(address: &str, from: &str) {
    let [shipped, unplanned, open, _] = plans();
    // Each event as a browser sends it, by the plan that has a specific rule for it.
    for (plan, name, key) in [
        (unplanned, "Searched", "link"),
        (open, "404", "path"),
        (shipped, "Outbound Link: Click", "url"),
        (shipped, "File Download", "url"),
    ] {
        check_page(&scrub::page(address, plan), plan);
        let event = Visible {
            name: name.to_owned(),
            url: address.to_owned(),
            referrer: (!from.is_empty()).then(|| from.to_owned()),
            props: vec![Prop {
                key: key.to_owned(),
                value: Value::Text(address.to_owned()),
            }],
        };
        check_event(&event_of(&event), plan);
        let Ok(left) = scrub::scrub(&event, plan) else {
            continue;
        };
        if key == "link" {
            left.props
                .iter()
                .for_each(|prop| check_unlisted(address, &prop.value));
        }
    }
    check_link(address);
    if let Some(Referrer::Foreign(page)) = Referrer::parse(address, "https://panel.example.com")
        && let Some(origin) = coarse_origin(&page)
    {
        check_origin(&origin);
        let again = Address::parse(&origin).expect("an origin is no address");
        assert_eq!(
            coarse_origin(&again),
            Some(origin.clone()),
            "another origin the second time"
        );
    }
}

/// Parts of the URL are parts of the text, and a host contains nothing else.
fn check_parts(text: &str) {
    let Some(parts) = Address::parse(text) else {
        return;
    };
    assert!(parts.scheme.eq_ignore_ascii_case("http") || parts.scheme.eq_ignore_ascii_case("https"));
    assert!(!parts.host.is_empty() && !parts.host.contains(['@', '/', '\\', '?', '#']));
    assert!(parts.path.is_empty() || parts.path.starts_with(['/', '\\']));
    assert!(!parts.path.contains(['?', '#']) && !parts.query.contains('#'));
    let route = parts.route();
    assert!(route.is_empty() || route.starts_with(['/', '\\']));
    assert!(!route.contains('?'), "a route with a query: {route}");

    let shaped = shape::path(parts.path);
    check_shape(&shaped);
    assert_eq!(shape::path(&shaped), shaped, "another path the second time");
    let campaign = shape::campaign(parts.query);
    check_campaign(&campaign);
    assert_eq!(
        shape::campaign(&campaign),
        campaign,
        "another campaign the second time"
    );
}

fn check_link(text: &str) {
    if let Some(link) = coarse_link(text) {
        let host = link
            .strip_prefix("https://")
            .and_then(|host| host.strip_suffix('/'));
        check_host(host.expect("more than a host"));
        assert_eq!(
            coarse_link(&link),
            Some(link.clone()),
            "another link the second time"
        );
    }
    if let Some(extension) = coarse_file(text) {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        assert!(
            (1..=5).contains(&extension.len()) && extension.bytes().all(plain),
            "{extension}"
        );
        assert_eq!(
            coarse_file(&format!("https://x.example/a.{extension}")),
            Some(extension)
        );
    }
}

/// An unlisted property that consists of a URL keeps at most host and route.
fn check_unlisted(from: &str, left: &Value) {
    let Value::Text(left) = left else {
        panic!("a text became something else");
    };
    if from.contains(char::is_whitespace) || Address::parse(from).is_none() {
        return;
    }
    let route = match left.split_once("://") {
        Some((scheme, rest)) => {
            let (host, route) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            // A single word after a scheme is a placeholder URL.
            if route.is_empty() && host.bytes().all(|b| b.is_ascii_alphabetic()) {
                return;
            }
            check_origin(&format!("{scheme}://{host}/"));
            route
        }
        None => left,
    };
    if !route.is_empty() {
        check_shape(route);
    }
}
