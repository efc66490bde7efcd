use super::*;
use crate::config::Config;
use crate::finding::Grade;
use std::path::Path;

fn upstream(lines: &str) -> Upstream {
    let text =
        format!("[[site]]\ndomain = \"a.example\"\n[upstream]\nurl = \"http://127.0.0.1:9\"\n{lines}\n");
    Config::parse("relay.toml", &text, Path::new(""), &|_| None)
        .unwrap()
        .upstream
}

fn answer(status: u16, body: &str) -> Response<Bytes> {
    let body = Bytes::from(body.to_owned());
    Response::builder().status(status).body(body).unwrap()
}

const PLAUSIBLE: (u16, &str) = (
    400,
    r#"{"errors":{"event_name":["should be at most 120 character(s)"]}}"#,
);
const VINCE: (u16, &str) = (400, r#"{"error":"event name too long"}"#);
const SEES_OURS: (u16, &str) = (200, r#"{"ip":"2001:db8::5e1f:7e57"}"#);
const SEES_ANOTHER: (u16, &str) = (200, "192.0.2.1");

#[test]
fn a_server_that_is_not_the_profiles_is_reported_with_the_line_to_write() {
    use Grade::{Note, Ok as Fine, Warning, Wrong};
    let check = |settings: &str,
                 (status, body): (u16, &str),
                 api: Grade,
                 visitors: Option<Grade>,
                 advice: &str,
                 mismatch: bool| {
        let mut report = Report::default();
        judge(&mut report, &upstream(settings), &answer(status, body));
        let row = format!("{settings} {status} {body}: {report:?}");
        let grade = |what: &str| report.findings.iter().find(|f| f.what == what).map(|f| f.grade);
        assert_eq!(
            (grade(EVENTS_API), grade(ADDRESS)),
            (Some(api), visitors),
            "{row}"
        );
        let worst = report.findings.iter().max_by_key(|f| f.grade).unwrap();
        assert!(
            worst.advice.as_deref().unwrap_or_default().contains(advice),
            "{row}"
        );
        assert_eq!(report.mismatch.is_some(), mismatch, "{row}");
        let claims = report
            .findings
            .iter()
            .filter(|f| f.grade == Fine && f.what == ADDRESS);
        assert!(
            claims.count() == 0 || body.contains("5e1f"),
            "only an address that was named is ok: {row}"
        );
    };
    let (ce, cloud, vince) = (
        "profile = \"plausible-ce\"",
        "profile = \"plausible-cloud\"",
        "profile = \"vince\"",
    );
    let with = |profile: &str, header: &str| format!("{profile}\naddress_header = \"{header}\"");

    check("", PLAUSIBLE, Fine, Some(Note), "stats_key_file", false);
    check(ce, PLAUSIBLE, Fine, Some(Note), "stats_key_file", false);
    check(vince, VINCE, Fine, Some(Note), "stats_key_file", false);
    check("", VINCE, Warning, Some(Wrong), "profile = \"vince\"", true);
    check(cloud, VINCE, Warning, Some(Note), "profile = \"vince\"", false);
    check(
        &with(ce, "x-vince-ip"),
        VINCE,
        Warning,
        Some(Note),
        "profile = \"vince\"",
        false,
    );
    check(
        &with(vince, "x-plausible-ip"),
        VINCE,
        Fine,
        Some(Wrong),
        "address_header = \"x-vince-ip\"",
        true,
    );
    check(
        vince,
        PLAUSIBLE,
        Warning,
        Some(Wrong),
        "profile = \"plausible-ce\"",
        true,
    );
    check(
        &with(ce, "x-real-ip"),
        PLAUSIBLE,
        Fine,
        Some(Wrong),
        "address_header = \"x-plausible-ip\"",
        true,
    );
    check(
        &with(ce, "forwarded"),
        PLAUSIBLE,
        Fine,
        Some(Wrong),
        "address_header = \"x-plausible-ip\"",
        true,
    );
    check(
        cloud,
        PLAUSIBLE,
        Warning,
        Some(Note),
        "profile = \"plausible-ce\"",
        false,
    );

    check(cloud, SEES_OURS, Fine, Some(Fine), "", false);
    check(ce, SEES_OURS, Fine, Some(Fine), "", false);
    check(vince, SEES_OURS, Warning, Some(Fine), "plausible-cloud", false);
    check(
        ce,
        SEES_ANOTHER,
        Fine,
        Some(Wrong),
        "profile = \"plausible-cloud\"",
        true,
    );
    check(cloud, SEES_ANOTHER, Fine, Some(Wrong), "a proxy", true);
    check(
        &with(cloud, "x-plausible-ip"),
        SEES_ANOTHER,
        Fine,
        Some(Wrong),
        "x-forwarded-for",
        true,
    );

    check(ce, (202, "ok"), Warning, None, "upstream.url", false);
    check(ce, (404, ""), Wrong, None, "upstream.url", false);
    check(
        ce,
        (200, "<html>log in</html>"),
        Wrong,
        None,
        "upstream.headers_file",
        false,
    );
    check(ce, (200, r#"{"ok":true}"#), Wrong, None, "upstream.url", false);
    check(ce, (500, ""), Wrong, None, "log", false);
}

#[test]
fn only_a_server_that_says_so_is_called_well() {
    let check = |profile: Profile, status: u16, body: &str, want: Grade| {
        let found = health(profile, Ok(answer(status, body)));
        assert_eq!(found.grade, want, "{} {status} {body}", profile.name());
        let observed = want != Grade::Note || found.says.contains("not checked");
        assert!(observed, "{found:?}");
    };
    use Grade::{Note, Ok as Fine, Wrong};
    let ce = Profile::PlausibleCe;
    check(ce, 200, r#"{"postgres":"ok","clickhouse":"ok"}"#, Fine);
    check(ce, 200, r#"{"ok":true}"#, Fine);
    check(ce, 200, r#"{"postgres":"ok","clickhouse":"error"}"#, Note);
    check(ce, 200, "{}", Note);
    check(ce, 200, "<html>log in</html>", Note);
    check(ce, 404, "", Note);
    check(ce, 301, "", Note);
    check(ce, 500, "", Wrong);
    check(Profile::Vince, 200, "<html>Vince</html>", Note);
    check(Profile::Vince, 302, "", Note);
    check(Profile::Vince, 503, "", Wrong);
    for cause in [Cause::Refused, Cause::TlsClosed, Cause::AnswerTimedOut] {
        let found = health(ce, Err(cause.clone()));
        assert_eq!(found.grade, Wrong, "{cause:?}");
        assert_eq!(
            (found.says, found.advice),
            (cause.to_string(), Some(cause.advice())),
            "the advice follows the cause"
        );
    }
}
