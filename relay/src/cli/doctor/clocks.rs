//! Compares this machine's clock with Plausible's.

use crate::clock::Timestamp;
use crate::finding::Finding;
use crate::forward::their_clock;
use std::time::Duration;

const WHAT: &str = "clock against Plausible's";

/// Compares with the date of an answer; its request started `took` before the answer.
pub(super) fn finding(date: Option<&str>, answered: Timestamp, took: Duration) -> Finding {
    match date.and_then(|date| their_clock::ahead_of(date, answered, took)) {
        None => not_checked("the answer has no readable Date header"),
        Some(ahead) => match their_clock::words(ahead) {
            (words, false) => Finding::ok(WHAT, words),
            (words, true) => Finding::warning(WHAT, words).advise(
                "correct the clock that is wrong: visitors change at midnight by this machine's clock",
            ),
        },
    }
}

/// The finding if there is no date to compare with.
pub(super) fn not_checked(why: &str) -> Finding {
    Finding::note(WHAT, format!("not checked: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Grade;

    #[test]
    fn a_difference_is_a_warning_and_no_date_is_no_light_at_all() {
        // Thu, 01 Jan 2026 00:00:00 GMT.
        const DATE_MS: i64 = 1_767_225_600_000;
        let check = |date: Option<&str>, off_s: i64, says: &str, grade: Grade| {
            let found = finding(date, Timestamp(DATE_MS + off_s * 1000), Duration::from_millis(20));
            assert_eq!(
                (found.says.as_str(), found.grade),
                (says, grade),
                "{date:?} {off_s}"
            );
        };
        let date = Some("Thu, 01 Jan 2026 00:00:00 GMT");
        check(date, 0, "within 60 s of Plausible's", Grade::Ok);
        check(date, 30, "within 60 s of Plausible's", Grade::Ok);
        check(date, 3 * 86_400, "259198 s ahead of Plausible's", Grade::Warning);
        check(date, -2 * 86_400, "172800 s behind Plausible's", Grade::Warning);
        let why = "not checked: the answer has no readable Date header";
        check(Some("yesterday"), 0, why, Grade::Note);
        check(None, 0, why, Grade::Note);
    }
}
