//! A site's state with Plausible, in words: the same for health, the admin page and the commands.

use super::SiteSnapshot;
use crate::finding::Grade;
use crate::forward::acceptance::{AcceptanceState, DROPS_MAX, Record};
use serde::{Deserialize, Serialize};

/// A site's state with Plausible, in words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SiteStatus {
    /// Whether Plausible accepts its events: `yes`, `never`, `no longer` or `not checked`.
    pub accepting: String,
    /// When Plausible last accepted one.
    pub last_accepted: Option<String>,
    /// Events held until Plausible accepts them; 0 if no relay runs.
    pub held: u64,
    /// A sentence about its state.
    pub says: String,
    /// The next step for the operator.
    pub advice: Option<String>,
}

impl SiteStatus {
    /// The status of a site in a running relay. A site that is off holds nothing: its events were purged.
    pub fn of(site: &str, shown: &SiteSnapshot, is_on: bool) -> Self {
        let held = if is_on { shown.held } else { 0 };
        Self::new(site, &shown.record, held, is_on)
    }

    /// The status recorded in the database of a site that is on.
    pub fn recorded(site: &str, record: &Record) -> Self {
        Self::new(site, record, 0, true)
    }

    fn new(site: &str, record: &Record, held: u64, is_on: bool) -> Self {
        let state = record.state();
        let last_accepted = record.last_accepted.map(crate::clock::Timestamp::rfc3339);
        let last = last_accepted.as_deref().unwrap_or_default();
        let exactly = "under exactly this domain";
        let then = "waiting events are then delivered within two minutes";
        let (mut says, advice) = match state {
            AcceptanceState::Untested => (
                "not checked: no event of this site has been sent to Plausible yet, so it is unknown whether \
                 Plausible has the site"
                    .to_owned(),
                Some(format!("add the site `{site}` in Plausible {exactly}, if it is not there")),
            ),
            AcceptanceState::NeverAccepted => (
                "Plausible has never accepted an event of this site: it answers 202 and drops them".to_owned(),
                Some(format!("add the site `{site}` in Plausible {exactly}; {then}")),
            ),
            AcceptanceState::Accepting => (
                format!("Plausible last accepted an event of this site at {last}"),
                None,
            ),
            AcceptanceState::Dropping => (
                format!("Plausible dropped the last {DROPS_MAX} events of this site, and last accepted one at {last}"),
                Some(format!(
                    "check in Plausible that the site `{site}` exists {exactly}, that the plan is paid, and that no \
                     shield blocks its events; {then}"
                )),
            ),
        };
        if state.is_refused() && is_on {
            says += ". Events wait";
        }
        Self {
            accepting: state.name().to_owned(),
            last_accepted,
            held,
            says,
            advice,
        }
    }
}

impl AcceptanceState {
    /// The doctor's grade of it.
    pub fn grade(self) -> Grade {
        match self {
            Self::Untested => Grade::Note,
            Self::Accepting => Grade::Ok,
            Self::NeverAccepted | Self::Dropping => Grade::Wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_site_that_is_not_accepted_says_so_and_what_to_do_and_what_was_not_observed_is_not_checked() {
        let check = |first: Option<i64>, drops: u32, accepting: &str, says: &str, advice: &str| {
            let record = Record {
                first_accepted: first.map(Timestamp),
                last_accepted: first.map(Timestamp),
                drops,
            };
            let words = SiteStatus::recorded("a.example", &record);
            assert_eq!(words.accepting, accepting);
            assert!(words.says.contains(says), "{words:?}");
            assert_eq!(words.advice.is_some(), !advice.is_empty(), "{words:?}");
            assert!(words.advice.unwrap_or_default().contains(advice));
        };
        let add = "add the site `a.example` in Plausible under exactly this domain";
        check(None, 0, "not checked", "not checked", add);
        check(None, 1, "never", "has never accepted", add);
        check(Some(0), 0, "yes", "at 1970-01-01T00:00:00Z", "");
        check(Some(0), DROPS_MAX - 1, "yes", "last accepted", "");
        check(
            Some(0),
            DROPS_MAX,
            "no longer",
            "dropped the last 8 events",
            "the site `a.example` exists",
        );
    }
}
