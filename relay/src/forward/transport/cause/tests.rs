use super::*;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use bytes::Bytes;
use std::io;

#[test]
fn the_cause_of_a_failed_look_up_or_connection_is_kept() {
    let check = |error: Error, want: Cause| assert_eq!(Cause::of_connect(&error), want, "{error:?}");
    // errno of Linux, asm-generic/errno.h.
    check(Error::from_raw_os_error(111), Cause::Refused);
    check(Error::from_raw_os_error(110), Cause::ConnectTimedOut);
    check(Error::from_raw_os_error(113), Cause::NoRoute);
    check(Error::from_raw_os_error(101), Cause::NoRoute);
    check(Error::from_raw_os_error(100), Cause::NoRoute);
    check(Error::from_raw_os_error(99), Cause::NoRoute);
    check(Error::from_raw_os_error(13), Cause::Blocked);
    check(Error::from_raw_os_error(1), Cause::Blocked);
    check(Error::from_raw_os_error(104), Cause::BrokenBefore);
    check(Error::from_raw_os_error(24), Cause::System(Some(24)));
    check(Error::other("strange"), Cause::System(None));
    assert!(
        Cause::System(Some(24))
            .to_string()
            .contains("Too many open files")
    );

    let check = |error: Error, want: fn(String) -> Cause| {
        let got = Cause::of_lookup("plausible.example", &error);
        assert_eq!(got, want("plausible.example".into()), "{error:?}");
        assert!(got.to_string().contains("plausible.example"), "{got}");
    };
    let said = |text: &str| Error::other(format!("failed to lookup address information: {text}"));
    check(said("Name or service not known"), Cause::NameUnknown);
    check(said("No address associated with hostname"), Cause::NameUnknown);
    check(said("Name does not resolve"), Cause::NameUnknown);
    check(said("Temporary failure in name resolution"), Cause::NameServer);
    check(said("Try again"), Cause::NameServer);
    check(
        said("Non-recoverable failure in name resolution"),
        Cause::NameServer,
    );
    check(io::ErrorKind::TimedOut.into(), Cause::NameServer);
    assert_eq!(
        Cause::of_lookup("a", &Error::from_raw_os_error(24)),
        Cause::System(Some(24)),
        "not the name's fault"
    );
}

#[test]
fn a_request_may_have_arrived_only_if_it_was_sent_and_understood() {
    for cause in [Cause::BrokenAfter, Cause::AnswerTimedOut, Cause::NotHttp] {
        assert!(cause.may_have_arrived(), "{cause:?}");
    }
    for cause in [
        Cause::Refused,
        Cause::BrokenBefore,
        Cause::NoTls,
        Cause::TlsPort,
        Cause::ClientCertificate,
        Cause::Certificate(Certificate::Expired),
        Cause::NameUnknown("a".into()),
    ] {
        assert!(!cause.may_have_arrived(), "{cause:?}");
    }
}

const TLS: &str = "https://plausible.example.com";
const PLAIN: &str = "http://plausible.example.com:8000";

fn answer(status: u16, kind: &str, body: &str) -> Response<Bytes> {
    let answer = Response::builder().status(status).header(CONTENT_TYPE, kind);
    answer.body(Bytes::from(body.to_owned())).unwrap()
}

#[test]
fn an_answer_that_is_not_plausibles_names_its_cause() {
    let check = |url: &str, status: u16, kind: &str, body: &str, want: Option<Cause>| {
        let got = Cause::of_answer(url, &answer(status, kind, body));
        assert_eq!(got, want, "{url} {status} {kind} {body}");
    };
    const HTML: &str = "text/html; charset=utf-8";
    const JSON: &str = "application/json";
    // Plausible's own answers, and Vince's.
    check(TLS, 202, "text/plain", "ok", None);
    check(TLS, 400, JSON, r#"{"errors":{"url":["is required"]}}"#, None);
    check(TLS, 400, JSON, r#"{"error":"url is required"}"#, None);
    check(TLS, 400, "text/plain", "", Some(Cause::Status(400)));
    check(
        TLS,
        400,
        "text/plain",
        "400 Bad Request",
        Some(Cause::Status(400)),
    );
    check(
        TLS,
        400,
        JSON,
        r#"{"title":"no","errors":{"$":["x"]}}"#,
        Some(Cause::OtherApi(400)),
    );
    check(
        TLS,
        400,
        JSON,
        r#"{"errors":{"email":["is required"]}}"#,
        Some(Cause::OtherApi(400)),
    );
    check(TLS, 202, "text/plain", "ok", None);
    check(
        TLS,
        202,
        HTML,
        "<form><input type=\"password\">",
        Some(Cause::LoginPage(202)),
    );
    let too_large = "<h1>413 Request Entity Too Large</h1>";
    check(TLS, 413, HTML, too_large, Some(Cause::Page(413)));
    check(TLS, 431, "text/plain", "", Some(Cause::Status(431)));
    check(TLS, 422, "text/plain", "no", Some(Cause::Status(422)));
    // Logins.
    check(TLS, 401, HTML, "<h1>401</h1>", Some(Cause::LoginNeeded));
    check(TLS, 403, JSON, "{}", Some(Cause::Forbidden));
    check(
        TLS,
        200,
        HTML,
        "<form><input type=\"password\">",
        Some(Cause::LoginPage(200)),
    );
    check(
        TLS,
        200,
        "text/plain",
        "\n<!doctype html><a>Sign in</a>",
        Some(Cause::LoginPage(200)),
    );
    check(
        TLS,
        511,
        HTML,
        "<h1>Welcome to the hotel</h1>",
        Some(Cause::NetworkLogin),
    );
    // Pages and other APIs.
    check(TLS, 200, HTML, "<h1>It works!</h1>", Some(Cause::Page(200)));
    check(TLS, 400, HTML, "<h1>Bad Request</h1>", Some(Cause::Page(400)));
    check(TLS, 200, JSON, r#"{"status":"ok"}"#, Some(Cause::OtherApi(200)));
    check(TLS, 201, JSON, "[]", Some(Cause::OtherApi(201)));
    check(TLS, 400, JSON, r#"{"message":"no"}"#, Some(Cause::OtherApi(400)));
    check(
        TLS,
        400,
        JSON,
        r#"{"error":{"code":3}}"#,
        Some(Cause::OtherApi(400)),
    );
    check(TLS, 200, "text/plain", "ok", Some(Cause::Status(200)));
    check(TLS, 204, "text/plain", "", Some(Cause::Status(204)));
    check(TLS, 418, "text/plain", "", Some(Cause::Status(418)));
    // Nothing there, or not now.
    check(TLS, 404, HTML, "<h1>404</h1>", Some(Cause::NothingThere(404)));
    check(TLS, 405, JSON, "{}", Some(Cause::NothingThere(405)));
    check(
        TLS,
        502,
        HTML,
        "<h1>502 Bad Gateway</h1>",
        Some(Cause::Gateway(502)),
    );
    check(TLS, 504, "text/plain", "", Some(Cause::Gateway(504)));
    check(TLS, 500, JSON, "{}", Some(Cause::Busy(500)));
    check(TLS, 429, "text/plain", "", Some(Cause::Busy(429)));
    // Plain HTTP to a TLS port, as nginx, Apache, Go and Tomcat answer it; over TLS it means nothing.
    for said in [
        "<center>The plain HTTP request was sent to HTTPS port</center>",
        "You're speaking plain HTTP to an SSL-enabled server port.",
        "Client sent an HTTP request to an HTTPS server.\n",
        "Bad Request\nThis combination of host and port requires TLS.\n",
    ] {
        check(PLAIN, 400, "text/plain", said, Some(Cause::TlsPort));
        assert_ne!(
            Cause::of_answer(TLS, &answer(400, HTML, said)),
            Some(Cause::TlsPort)
        );
    }
    let nginx = "<center>No required SSL certificate was sent</center>";
    check(TLS, 400, HTML, nginx, Some(Cause::ClientCertificate));
}

#[test]
fn a_redirects_target_is_named_without_its_secrets_and_the_advice_follows() {
    let check = |location: &str, want: Option<&str>, advice: &str| {
        let moved = Response::builder().status(302).header(LOCATION, location);
        let cause = Cause::of_answer(PLAIN, &moved.body(Bytes::new()).unwrap()).unwrap();
        assert_eq!(cause, Cause::Redirect(want.map(str::to_owned)), "{location}");
        assert!(cause.advice().contains(advice), "{location}: {}", cause.advice());
    };
    check(
        "https://p.example/api/event",
        Some("https://p.example/api/event"),
        "`upstream.url` to \"https://p.example\"",
    );
    check(
        "https://p.example/x/api/event?a=b",
        Some("https://p.example/x/api/event"),
        "\"https://p.example/x\"",
    );
    check(
        "https://sso.example/login?state=secret",
        Some("https://sso.example/login"),
        "login",
    );
    check(
        "https://user:secret@sso.example/a#token",
        Some("https://sso.example/a"),
        "login",
    );
    check(
        "/login?next=%2Fapi",
        Some("http://plausible.example.com:8000/login"),
        "login",
    );
    check(
        "//other.example:8443/a?b",
        Some("http://other.example:8443/a"),
        "login",
    );
    check("//u:p@other.example", Some("http://other.example/"), "login");
    let beside = Some("http://plausible.example.com:8000/api/login");
    check("login", beside, "login");
    check("login?next=secret", beside, "login");
    check("login;s=secret", beside, "login");
    check("../x", Some("http://plausible.example.com:8000/x"), "login");
    check(
        "?login",
        Some("http://plausible.example.com:8000/api/event"),
        "`upstream.url`",
    );
    check(
        "HTTPS://P.example/api/event/",
        Some("https://p.example/api/event"),
        "`upstream.url` to \"https://p.example\"",
    );
    check("https://p.example", Some("https://p.example/"), "login");
    check("", None, "`upstream.url`");
    check("http://[", None, "`upstream.url`");
    let long = format!("https://p.example/{}", "a".repeat(5000));
    let moved = Response::builder().status(301).header(LOCATION, long);
    let cause = Cause::of_answer(PLAIN, &moved.body(Bytes::new()).unwrap()).unwrap();
    assert!(cause.to_string().chars().count() < TEXT_CHARS_MAX + 60, "{cause}");
    let nowhere = Response::builder().status(301).body(Bytes::new()).unwrap();
    assert_eq!(Cause::of_answer(TLS, &nowhere), Some(Cause::Redirect(None)));
}
