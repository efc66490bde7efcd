//! The finding about failed logins, for health and `doctor`.

use crate::finding::{Finding, Grade};

/// Failed logins within an hour that cause a warning: more than typing errors explain.
const MANY: u64 = 50;

/// The finding for this number of failed logins within the last hour.
pub(crate) fn finding(failed: u64) -> Finding {
    let (what, says) = ("admin logins", format!("{failed} failed within the last hour"));
    if failed < MANY {
        return Finding::new(what, Grade::Ok, says);
    }
    Finding::new(what, Grade::Warning, says).advise(
        "this may be password guessing: keep the admin listener on loopback or a network of your own; the log names \
         the accounts that were tried",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_failed_logins_are_worth_a_warning() {
        let check = |failed, want| assert_eq!(finding(failed).grade, want, "{failed}");
        check(0, Grade::Ok);
        check(MANY - 1, Grade::Ok);
        check(MANY, Grade::Warning);
    }
}
