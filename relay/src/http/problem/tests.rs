use super::*;
use Outcome as O;
use axum::http::header::RETRY_AFTER;

/// The status, `Retry-After` and name of the response to every outcome.
const ANSWERS: &[(Outcome, u16, Option<u64>, &str)] = &[
    (O::Malformed, 400, None, "invalid"),
    (O::TooLarge, 413, None, "too_large"),
    (O::UnsupportedType, 415, None, "unsupported_type"),
    (O::Incomplete, 408, None, "incomplete"),
    (O::LimitedClient, 429, Some(1), "client"),
    (O::LimitedEvents, 429, Some(1), "events"),
    (O::LimitedVisitors, 429, Some(1), "visitors"),
    (O::LimitedSite, 429, Some(1), "site"),
    (O::SlowBody, 503, Some(1), "slow_body"),
    (O::UnknownSite, 403, None, "unknown_site"),
    (O::WrongOrigin, 403, None, "origin"),
    (O::Suspicious, 403, None, "suspicious"),
    (O::NoOrigin, 403, None, "no_origin"),
    (O::FetchMetadata, 403, None, "fetch_metadata"),
    (O::PageToken, 403, None, "page_token"),
    (O::ToolToken, 403, None, "tool_token"),
    (O::TrackersClosed, 403, None, "trackers_closed"),
    (O::OperatorLock, 403, None, "operator_lock"),
    (O::SwitchedOff, 403, None, "switched_off"),
    (O::PrivacySignal, 403, None, "privacy_signal"),
    (O::NoConsent, 403, None, "no_consent"),
    (O::ConsentOutdated, 403, None, "consent_outdated"),
    (O::CategoryRefused, 403, None, "category_refused"),
    (O::UnknownEvent, 400, None, "unknown_event"),
    (O::Bot, 403, None, "bot"),
    (O::EngagementLeftOut, 403, None, "engagement"),
    (O::NameLeftOut, 403, None, "name_too_long"),
    (O::MissingProp, 400, None, "missing_prop"),
    (O::Unsafe, 400, None, "unsafe"),
    (O::Unwanted, 400, None, "unwanted"),
    (O::PolicyTrap, 500, None, "trap"),
    (O::PolicyTimeout, 500, None, "timeout"),
    (O::PolicyUnavailable, 503, Some(60), "unavailable"),
    (O::Widened, 500, None, "widened"),
    (O::Leak, 500, None, "leak"),
    (O::Duplicate, 500, None, "duplicate"),
    (O::SpoolFull, 503, Some(60), "full"),
    (O::SpoolFullSite, 503, Some(60), "site"),
    (O::SpoolUnavailable, 503, Some(5), "unavailable"),
    (O::Overloaded, 503, Some(1), "overloaded"),
    (O::Delivered, 500, None, "delivered"),
    (O::DroppedByPlausible, 500, None, "plausible_dropped"),
    (O::InvalidForPlausible, 500, None, "plausible_invalid"),
    (O::Unanswered, 500, None, "unknown"),
    (O::Unclear, 500, None, "unclear"),
    (O::Corrupt, 500, None, "corrupt"),
    (O::Newer, 500, None, "newer"),
    (O::Expired, 500, None, "expired"),
    (O::EngagementExpired, 500, None, "engagement"),
    (O::Purged, 500, None, "purged"),
    (O::Lost, 500, None, "lost"),
];

#[test]
fn every_outcome_has_its_answer() {
    let listed: Vec<Outcome> = ANSWERS.iter().map(|(outcome, ..)| *outcome).collect();
    assert_eq!(listed, Outcome::ALL);
    for (outcome, status, retry, name) in ANSWERS {
        let answer = Problem::from(*outcome).into_response();
        let sent = answer
            .headers()
            .get(RETRY_AFTER)
            .map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(answer.status().as_u16(), *status, "{outcome:?}");
        assert_eq!(sent, retry.map(|seconds| seconds.to_string()), "{outcome:?}");
        assert_eq!(outcome.name(), *name, "{outcome:?}");
    }
}

#[test]
fn a_sender_is_asked_to_retry_what_can_be_taken_later_and_nothing_else() {
    for (outcome, status, retry, _) in ANSWERS {
        assert_eq!(outcome.is_temporary(), retry.is_some(), "{outcome:?}");
        assert_eq!(outcome.is_temporary(), [429, 503].contains(status), "{outcome:?}");
    }
}

#[test]
fn a_wait_is_rounded_up_to_whole_seconds_from_one() {
    let check = |wait, want| {
        let problem = Problem::from(Outcome::LimitedSite).retry_in(wait);
        assert_eq!(problem.retry_after_s, Some(want), "{wait:?}");
    };
    let ms = Duration::from_millis;
    check(ms(0), 1);
    check(ms(1), 1);
    check(ms(999), 1);
    check(ms(1000), 1);
    check(ms(1001), 2);
    check(ms(59_999), 60);
    check(Duration::from_nanos(1_000_000_001), 2);
    check(Duration::MAX, u64::MAX);
}
