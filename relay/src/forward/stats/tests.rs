use super::*;
use crate::config::Config;
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

/// Answers one request after the other, and records the requests.
struct Script {
    answers: VecDeque<(u16, String)>,
    asked: Vec<Request<Bytes>>,
}

impl Script {
    fn of(answers: &[(u16, &str)]) -> Self {
        let answers = answers.iter().map(|(status, body)| (*status, (*body).to_owned()));
        Self {
            answers: answers.collect(),
            asked: Vec::new(),
        }
    }
}

impl Connection for Script {
    async fn send_all(
        &mut self,
        requests: Vec<Request<Bytes>>,
        mut ended: impl FnMut(Result<Response<Bytes>, Cause>, Duration) + Send,
    ) {
        for request in requests {
            self.asked.push(request);
            let next = self.answers.pop_front().ok_or(Cause::Refused);
            let answer = |(status, body)| {
                Response::builder()
                    .status(status)
                    .body(Bytes::from(body))
                    .unwrap()
            };
            ended(next.map(answer), Duration::ZERO);
        }
    }

    fn tidy(&mut self) -> Option<Duration> {
        None
    }
}

fn api(profile: &str) -> StatsApi {
    let text = format!(
        "[[site]]\ndomain = \"a.example\"\n[upstream]\nurl = \"http://127.0.0.1:9/sub/\"\nprofile = \"{profile}\"\nstats_key = \"k3y\"\n"
    );
    let config = Config::parse("relay.toml", &text, Path::new(""), &|_| None).unwrap();
    StatsApi::new(&config.upstream).unwrap()
}

const SPAN: Span = Span {
    from: Timestamp(1_792_540_800_000),
    to: Timestamp(1_792_627_199_000),
};

#[tokio::test]
async fn visitors_and_events_are_read_and_nothing_is_guessed() {
    let check = async |profile: &str, status: u16, body: &str, want: Result<(u64, u64), Unread>| {
        let mut script = Script::of(&[(status, body)]);
        let read = api(profile).counts(&mut script, "a.example", SPAN, "Test").await;
        let want = want.map(|(visitors, events)| Counts { visitors, events });
        assert_eq!(read, want, "{profile} {status} {body}");
        let asked = &script.asked[0];
        assert_eq!(asked.headers()[AUTHORIZATION], "Bearer k3y");
        assert!(!format!("{asked:?}").contains("k3y"), "{asked:?}");
    };
    let ce = "plausible-ce";
    let row = r#"{"results":[{"dimensions":[],"metrics":[2,3]}],"meta":{},"query":{}}"#;
    check(ce, 200, row, Ok((2, 3))).await;
    check("plausible-cloud", 200, row, Ok((2, 3))).await;
    check(ce, 200, r#"{"results":[{"metrics":[2,3]}]}"#, Ok((2, 3))).await;
    for unreadable in [
        r#"{"results":[]}"#,
        r#"{"results":[{"metrics":[2]}]}"#,
        r#"{"results":[{"metrics":[2,3]},{"metrics":[2,3]}]}"#,
        r#"{"results":[{"metrics":[null,3]}]}"#,
        r#"{"results":[{"metrics":[-1,3]}]}"#,
        r#"{"results":[{"metrics":[2,3]}"#,
        r#"{"visitors":2,"events":3}"#,
        "<html>log in</html>",
        "",
    ] {
        check(ce, 200, unreadable, Err(Unread::Unreadable)).await;
    }
    for status in [202, 302, 400, 401, 402, 404, 429, 500] {
        check(ce, status, row, Err(Unread::Status(status))).await;
    }
    check("vince", 200, r#"{"visitors":2,"events":3}"#, Ok((2, 3))).await;
    check("vince", 200, r#"{"visitors":2.0,"events":3.0}"#, Ok((2, 3))).await;
    check("vince", 200, r#"{"visitors":2}"#, Err(Unread::Unreadable)).await;
    check(
        "vince",
        200,
        r#"{"visitors":2.5,"events":3}"#,
        Err(Unread::Unreadable),
    )
    .await;
    check(
        "vince",
        200,
        r#"{"visitors":-1,"events":3}"#,
        Err(Unread::Unreadable),
    )
    .await;
    check("vince", 401, "", Err(Unread::Status(401))).await;
    let mut nobody = Script::of(&[]);
    let read = api(ce).counts(&mut nobody, "a.example", SPAN, "Test").await;
    assert_eq!(read, Err(Unread::Unanswered(Cause::Refused)));
}

#[tokio::test]
async fn events_are_asked_for_by_name_in_utc_and_in_pieces_that_fit() {
    let rows = |names: &[String]| {
        let rows: Vec<_> = names
            .iter()
            .map(|name| json!({ "dimensions": [name], "metrics": [1] }))
            .collect();
        json!({ "results": rows }).to_string()
    };
    let names: Vec<String> = (0..NAMES_MAX + 1).map(|n| format!("Event {n}")).collect();
    let last = [names[NAMES_MAX].clone(), TEST_EVENT.to_owned()];
    let (first, second) = (rows(&names[..NAMES_MAX]), rows(&last));
    // One of them is a test event of `doctor`.
    let total = r#"{"results":[{"dimensions":[],"metrics":[21]}]}"#;
    let mut script = Script::of(&[(200, &first), (200, &second), (200, total)]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let read = api("plausible-ce")
        .events(&mut script, "a.example", SPAN, &names)
        .await
        .unwrap();
    assert_eq!((read.counts.0.len(), read.counts.1), (NAMES_MAX + 1, 20));
    assert_eq!(script.asked.len(), 3);
    assert_eq!(script.asked[0].uri(), "/sub/api/v2/query");
    let body: Value = serde_json::from_slice(script.asked[1].body()).unwrap();
    let want = json!({
        "site_id": "a.example",
        "metrics": ["events"],
        "date_range": ["2026-10-21T00:00:00Z", "2026-10-21T23:59:59Z"],
        "filters": [["is", "event:name", [format!("Event {NAMES_MAX}"), TEST_EVENT]]],
        "dimensions": ["event:name"],
    });
    assert_eq!(body, want);

    let mut vince = Script::of(&[]);
    let read = api("vince").events(&mut vince, "a.example", SPAN, &names).await;
    assert_eq!(read.err(), Some(Unread::Unsupported));
    assert!(vince.asked.is_empty(), "what cannot be answered is not asked");
}

#[tokio::test]
async fn an_answer_with_names_of_any_length_fits_the_transport() {
    let longest = "\u{1F600}".repeat(120);
    let names = vec![longest.as_str(); NAMES_MAX];
    let query = json!({ "filters": [["is", "event:name", names]] });
    let rows: Vec<_> = names
        .iter()
        .map(|name| json!({ "dimensions": [name], "metrics": [u32::MAX] }))
        .collect();
    let answer = json!({ "results": rows, "meta": {}, "query": query }).to_string();
    assert!(
        answer.len() < super::super::transport::ANSWER_BYTES_MAX,
        "{}",
        answer.len()
    );
}
