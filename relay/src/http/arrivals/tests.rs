//! Which oddities are detected, and which findings each reader gets.

use super::super::client_address::client;
use super::*;
use crate::config::Config;
use crate::finding::{Finding, Grade};
use crate::http::server::{self, Closed};
use axum::http::{HeaderName, HeaderValue};
use std::path::Path;

fn public(trusted: &str) -> Public {
    let text = format!(
        "[public]\ntrusted_proxies = {trusted}\n[upstream]\nurl = \"http://127.0.0.1:9\"\n[[site]]\ndomain = \"a.example\"\n"
    );
    Config::parse("relay.toml", &text, Path::new(""), &|_| None)
        .unwrap()
        .public
}

fn arrivals() -> Arrivals {
    let registry = &mut Registry::default();
    let connections = server::Metrics::register(registry).of("public");
    Arrivals::new(connections, registry)
}

/// Sends one request from each of `clients` clients, with these `(header, value)` pairs; `{n}` is the client's
/// number.
fn see(arrivals: &Arrivals, config: &Public, clients: usize, peer: &str, headers: &[(&str, &str)]) {
    for n in 0..clients {
        let numbered = |text: &str| text.replace("{n}", &(n % 250 + 1).to_string());
        let peer: IpAddr = numbered(peer).parse().unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_str(&numbered(value)).unwrap());
        }
        arrivals.saw(peer, client(peer, &map, &config.trusted_proxies), &map);
    }
}

fn said(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let advice = finding.advice.as_deref().unwrap_or_default();
        format!("{:?} {} | {advice}", finding.grade, finding.says)
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_oddity_is_named_with_the_line_to_write() {
    let check = |trusted: &str, peer: &str, headers: &[(&str, &str)], want: &[&str]| {
        let (arrivals, config) = (arrivals(), public(trusted));
        see(&arrivals, &config, 10, peer, headers);
        let said = said(&arrivals.findings(&config, Shown::Operator));
        for want in want {
            assert!(
                said.contains(want),
                "{trusted} {peer} {headers:?}: {want} is not in\n{said}"
            );
        }
        assert_eq!(said.lines().count(), 1, "{said}");
    };
    let (none, local) = ("[]", "[\"127.0.0.1\"]");
    check(
        none,
        "198.51.100.{n}",
        &[],
        &["Ok each of the last 10 requests carried a client address | "],
    );
    check(
        local,
        "127.0.0.1",
        &[("x-forwarded-for", "198.51.100.{n}")],
        &["Ok "],
    );
    check(
        local,
        "127.0.0.1",
        &[("forwarded", "for=198.51.100.{n}")],
        &["Ok "],
    );
    let both = [
        ("x-forwarded-for", "198.51.100.{n}"),
        ("cf-connecting-ip", "198.51.100.{n}"),
    ];
    check(local, "127.0.0.1", &both, &["Ok "]);
    // A header that names the connection's own address hides no visitor.
    check(
        none,
        "198.51.100.{n}",
        &[("x-real-ip", "198.51.100.{n}")],
        &["Ok "],
    );

    let untrusted = "Warning 10 of the last 10 requests: a peer that is not in `public.trusted_proxies`";
    let line = "trusted_proxies = [\"172.18.0.5\"]";
    for name in FORWARDING {
        let unused = format!("(unused headers: {name})");
        check(
            none,
            "172.18.0.5",
            &[(name, "198.51.100.{n}")],
            &[untrusted, line, &unused],
        );
    }
    let another = "(unused headers: another header with an address)";
    for (name, value) in [
        ("x-visitor", "198.51.100.{n}"),
        ("x-edge-peer", "[2001:db8::{n}]:4711"),
        ("x-chain", "198.51.100.{n}, 203.0.113.7"),
    ] {
        check(none, "172.18.0.5", &[(name, value)], &[untrusted, line, another]);
        check(
            local,
            "127.0.0.1",
            &[(name, value)],
            &["a trusted proxy sends neither", another],
        );
    }
    for (name, value) in [
        ("host", "192.0.2.1:8080"),
        ("x-forwarded-host", "192.0.2.1"),
        ("content-length", "123"),
        ("x-request-id", "deadbeef-0123"),
        ("x-visitor", "172.18.0.5"),
    ] {
        check(none, "172.18.0.5", &[(name, value)], &["Ok "]);
    }
    check(
        "[\"10.0.0.0/8\", \"::1\"]",
        "172.18.0.5",
        &[("X-Forwarded-For", "198.51.100.{n}, 192.0.2.1")],
        &[
            untrusted,
            "trusted_proxies = [\"10.0.0.0/8\", \"::1\", \"172.18.0.5\"]",
        ],
    );
    check(
        none,
        "203.0.113.5",
        &[("x-forwarded-for", "198.51.100.{n}")],
        &[untrusted, "public addresses, which the relay does not store"],
    );
    let silent =
        "Warning 10 of the last 10 requests: a trusted proxy sends neither X-Forwarded-For nor Forwarded";
    let nginx = "proxy_set_header X-Forwarded-For $remote_addr;";
    check(local, "127.0.0.1", &[], &[silent, nginx]);
    check(
        local,
        "127.0.0.1",
        &[("x-real-ip", "198.51.100.{n}")],
        &[silent, "(unused headers: x-real-ip)", nginx],
    );
    let unreadable =
        "Warning 10 of the last 10 requests: the forwarding header of a trusted proxy names no address";
    check(
        local,
        "127.0.0.1",
        &[("x-forwarded-for", "unknown")],
        &[unreadable],
    );
    check(local, "127.0.0.1", &[("forwarded", "for=_hidden")], &[unreadable]);
    check(
        local,
        "127.0.0.1",
        &[
            ("x-forwarded-for", "198.51.100.{n}"),
            ("forwarded", "for=192.0.2.{n}"),
        ],
        &["Warning 10 of the last 10 requests: X-Forwarded-For and Forwarded name different clients"],
    );
    check(
        local,
        "127.0.0.1",
        &[("x-forwarded-for", "198.51.100.{n}, 203.0.113.{n}")],
        &[
            "lists more addresses before",
            "add its networks to `public.trusted_proxies`",
        ],
    );
}

#[test]
fn single_clients_can_make_up_a_note_and_no_warning() {
    let (arrivals, config) = (arrivals(), public("[]"));
    see(&arrivals, &config, 30, "198.51.100.{n}", &[]);
    see(
        &arrivals,
        &config,
        5,
        "203.0.113.9",
        &[("x-forwarded-for", "192.0.2.{n}")],
    );
    let findings = arrivals.findings(&config, Shown::Operator);
    assert_eq!(
        (findings.len(), findings[0].grade),
        (1, Grade::Note),
        "{}",
        said(&findings)
    );
    see(
        &arrivals,
        &config,
        30,
        "203.0.113.{n}",
        &[("x-forwarded-for", "192.0.2.{n}")],
    );
    assert_eq!(
        arrivals.findings(&config, Shown::Operator)[0].grade,
        Grade::Warning
    );
}

#[test]
fn nearly_all_requests_from_one_address_are_seen_without_the_address() {
    let check = |one: usize, others: usize, want: bool| {
        let (arrivals, config) = (arrivals(), public("[]"));
        see(&arrivals, &config, one, "203.0.113.9", &[]);
        see(&arrivals, &config, others, "198.51.100.{n}", &[]);
        let said = said(&arrivals.findings(&config, Shown::Operator));
        assert_eq!(
            said.contains("nearly all requests come from one address"),
            want,
            "{one} {others}: {said}"
        );
        assert!(!said.contains("203.0.113.9"), "{said}");
        assert!(!format!("{arrivals:?}").contains("203.0.113"));
    };
    check(19, 0, false);
    check(20, 0, true);
    check(90, 10, true);
    check(80, 20, false);
    check(0, 250, false);
    check(9_000, 100, true);
}

#[test]
fn an_address_at_its_connection_limit_is_reported_and_others_are_not() {
    let check = |why: Closed, want: bool| {
        let (arrivals, config) = (arrivals(), public("[]"));
        arrivals.connections.closed(why).inc();
        let said = said(&arrivals.findings(&config, Shown::Admin));
        assert_eq!(
            said.contains("1 connections were closed"),
            want,
            "{why:?}: {said}"
        );
    };
    check(Closed::Client, true);
    check(Closed::Evicted, false);
    check(Closed::Silent, false);
}

#[test]
fn nothing_seen_is_not_fine() {
    let (arrivals, config) = (arrivals(), public("[]"));
    let findings = arrivals.findings(&config, Shown::Operator);
    assert_eq!(findings[0].grade, Grade::Note);
    assert!(findings[0].says.starts_with("not checked"), "{}", said(&findings));
}

#[test]
fn an_oddity_that_ended_is_forgotten_after_a_while() {
    let (arrivals, config) = (arrivals(), public("[\"127.0.0.1\"]"));
    see(&arrivals, &config, 1000, "127.0.0.1", &[]);
    let grade = || arrivals.findings(&config, Shown::Operator)[0].grade;
    assert_eq!(grade(), Grade::Warning);
    see(
        &arrivals,
        &config,
        20_000,
        "127.0.0.1",
        &[("x-forwarded-for", "198.51.100.{n}")],
    );
    assert!(
        grade() < Grade::Warning,
        "{}",
        said(&arrivals.findings(&config, Shown::Operator))
    );
    see(
        &arrivals,
        &config,
        60_000,
        "127.0.0.1",
        &[("x-forwarded-for", "198.51.100.{n}")],
    );
    assert_eq!(grade(), Grade::Ok);
}

#[test]
fn refused_origins_are_named_and_proxies_only_to_the_operator() {
    let (arrivals, config) = (arrivals(), public("[]"));
    arrivals.refused(b"https://alias.example.com", true);
    arrivals.refused(b"https://elsewhere.example.net", false);
    arrivals.refused(b"https://elsewhere.example.net", false);
    arrivals.refused(b"null", false);
    arrivals.refused(b"javascript:jane@example.com", false);
    see(
        &arrivals,
        &config,
        10,
        "172.18.0.5",
        &[("x-forwarded-for", "198.51.100.{n}")],
    );
    for shown in [Shown::Operator, Shown::Admin] {
        let said = said(&arrivals.findings(&config, shown));
        let own = "because their origin is not in `origins` of the site: https://alias.example.com (1) | strangers can claim this as well; if these pages are yours: add \"https://alias.example.com\" to `origins`";
        assert!(said.contains(own), "{said}");
        let foreign = "https://elsewhere.example.net (2), null (1), others (1) | if these pages are yours: add \"https://elsewhere.example.net\" to `origins` in [[site]]. null is a page that hides its origin";
        assert_eq!(said.contains(foreign), shown == Shown::Operator, "{said}");
        let counted = "`origins` of the site: 4 requests | `feedback-relay doctor` names them";
        assert_eq!(said.contains(counted), shown == Shown::Admin, "{said}");
        assert_eq!(said.contains("elsewhere"), shown == Shown::Operator, "{said}");
        assert!(!said.contains("jane") && !said.contains("198.51.100"), "{said}");
        assert_eq!(said.contains("172.18.0.5"), shown == Shown::Operator, "{said}");
    }
}

#[test]
fn strangers_cannot_hide_the_page_that_is_to_be_added() {
    let check = |strangers_claim: bool, honest_is_own: bool| {
        let (arrivals, config) = (arrivals(), public("[]"));
        for n in 0..500 {
            let made_up = format!("https://login-{n}.example");
            arrivals.refused(made_up.as_bytes(), strangers_claim);
            if n % 8 == 0 {
                arrivals.refused(b"https://alias.example.com", honest_is_own);
            }
        }
        let said = said(&arrivals.findings(&config, Shown::Operator));
        assert!(said.contains("https://alias.example.com (63)"), "{said}");
        assert!(
            said.contains("yours: add \"https://alias.example.com\""),
            "{said}"
        );
        assert!(said.matches("add \"").count() <= 2, "{said}");
        assert!(said.contains("| strangers") || !strangers_claim, "{said}");
    };
    for claim in [true, false] {
        check(claim, true);
        check(claim, false);
    }
}

#[test]
fn what_is_only_counted_has_advice_too_and_is_forgotten_after_a_while() {
    let (arrivals, config) = (arrivals(), public("[]"));
    arrivals.refused(b"jane@example.com", false);
    arrivals.refused(b"https://login.example", true);
    for shown in [Shown::Operator, Shown::Admin] {
        for finding in arrivals.findings(&config, shown) {
            let has_advice = finding.advice.as_ref().is_some_and(|advice| !advice.is_empty());
            assert!(has_advice || finding.grade < Grade::Warning, "{}", finding.says);
        }
    }
    let operator = said(&arrivals.findings(&config, Shown::Operator));
    assert!(
        operator.contains("others (1) | other origins are only counted"),
        "{operator}"
    );
    see(&arrivals, &config, 10_000, "198.51.100.{n}", &[]);
    let operator = said(&arrivals.findings(&config, Shown::Operator));
    assert!(
        operator.starts_with("Ok ") && !operator.contains("login"),
        "{operator}"
    );
}

#[test]
fn the_headers_are_in_the_order_in_which_they_are_looked_up() {
    assert!(FORWARDING.is_sorted());
    assert!(
        FORWARDING
            .iter()
            .all(|name| name.parse::<HeaderName>().is_ok_and(|known| known == *name))
    );
}
