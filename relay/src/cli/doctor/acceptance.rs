//! Whether Plausible accepts a site's events, by the relay's records and by the test event.

use crate::finding::{Finding, Grade};
use crate::forward::acceptance::Record;
use crate::forward::sites::status::SiteStatus;

/// `tested` is the result of the test event, if one was sent.
pub(super) fn finding(site: &str, record: &Record, tested: Option<&Finding>) -> Finding {
    let what = format!("{site}: events accepted");
    let SiteStatus { says, advice, .. } = SiteStatus::recorded(site, record);
    let grade = record.state().grade();
    let is_accepted_now = tested.is_some_and(|tested| tested.grade == Grade::Ok);
    if is_accepted_now && grade != Grade::Ok {
        return Finding::note(what, says).advise(
            "the test event was accepted just now; a running relay delivers waiting events within two minutes",
        );
    }
    let finding = Finding::new(what, grade, says);
    match advice {
        Some(advice) => finding.advise(advice),
        None => finding,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::forward::acceptance::DROPS_MAX;

    #[test]
    fn the_record_is_judged_and_a_test_event_that_was_accepted_just_now_is_newer() {
        let check = |first: Option<i64>, drops: u32, tested: Option<Grade>, want: Grade| {
            let record = Record {
                first_accepted: first.map(Timestamp),
                last_accepted: first.map(Timestamp),
                drops,
            };
            let tested = tested.map(|grade| Finding::new("test event", grade, ""));
            let found = finding("a.example", &record, tested.as_ref());
            assert_eq!(found.grade, want, "{found:?}");
            assert_eq!(found.advice.is_some(), want != Grade::Ok, "{found:?}");
        };
        use Grade::{Note, Ok, Wrong};
        check(None, 0, None, Note);
        check(None, 3, None, Wrong);
        check(None, 3, Some(Wrong), Wrong);
        check(None, 3, Some(Ok), Note);
        check(Some(1), 0, None, Ok);
        check(Some(1), 0, Some(Wrong), Ok);
        check(Some(1), DROPS_MAX, None, Wrong);
        check(Some(1), DROPS_MAX, Some(Ok), Note);
    }
}
