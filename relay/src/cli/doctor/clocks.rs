//! This machine's clock beside Plausible's.

use crate::clock::Moment;
use crate::forward::self_test::{Finding, Grade};
use crate::forward::their_clock;
use std::time::Duration;

const WHAT: &str = "clock and Plausible's";

/// Compares with the date of an answer to what was asked `took` ago.
pub(super) fn finding(date: Option<&str>, answered: Moment, took: Duration) -> Finding {
    match date.and_then(|date| their_clock::ahead_of(date, answered, took)) {
        None => not_checked("the answer has no date that can be read"),
        Some(ahead) => match their_clock::words(ahead) {
            (words, false) => Finding::new(WHAT, Grade::Ok, words),
            (words, true) => Finding::new(WHAT, Grade::Warning, words)
                .advise("set the clock of the one that is wrong: visitors change at midnight by this one"),
        },
    }
}

/// If there is nothing to compare with.
pub(super) fn not_checked(why: &str) -> Finding {
    Finding::new(WHAT, Grade::Note, format!("not checked: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_a_warning_and_no_date_is_no_light_at_all() {
        // Thu, 01 Jan 2026 00:00:00 GMT.
        const DATE_MS: i64 = 1_767_225_600_000;
        let check = |date: Option<&str>, off_s: i64, says: &str, grade: Grade| {
            let found = finding(date, Moment(DATE_MS + off_s * 1000), Duration::from_millis(20));
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
        let why = "not checked: the answer has no date that can be read";
        check(Some("yesterday"), 0, why, Grade::Note);
        check(None, 0, why, Grade::Note);
    }
}
