//! How a site stands with Plausible, in words: the same for health, the admin page and the commands.

use super::Shown;
use crate::forward::acceptance::{DROPS_MAX, Record, Standing};
use crate::forward::self_test::Grade;
use serde::{Deserialize, Serialize};

/// A site as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Words {
    /// Whether Plausible accepts its events: `yes`, `never`, `no longer` or `not checked`.
    pub accepting: String,
    /// When Plausible last accepted one.
    pub last_accepted: Option<String>,
    /// Events that wait for that; 0 if no relay runs.
    pub held: u64,
    /// How it is.
    pub says: String,
    /// The next step for the operator.
    pub advice: Option<String>,
}

impl Words {
    /// Of a site in a running relay. A site that is off holds nothing: what waited was purged.
    pub fn of(site: &str, shown: &Shown, is_on: bool) -> Self {
        let held = if is_on { shown.held } else { 0 };
        Self::new(site, &shown.record, held, is_on)
    }

    /// Of what the database says about a site that is on.
    pub fn recorded(site: &str, record: &Record) -> Self {
        Self::new(site, record, 0, true)
    }

    fn new(site: &str, record: &Record, held: u64, is_on: bool) -> Self {
        let standing = record.standing();
        let last_accepted = record.last_accepted.map(crate::clock::Moment::rfc3339);
        let last = last_accepted.as_deref().unwrap_or_default();
        let mut says = match standing {
            Standing::Untested => {
                "not checked: no event of this site was sent to Plausible yet, so whether Plausible knows the site was not observed".to_owned()
            }
            Standing::NeverAccepted => {
                "Plausible has never accepted an event of this site: it answers 202 and drops them".to_owned()
            }
            Standing::Accepting => format!("Plausible last accepted an event of this site at {last}"),
            Standing::Dropping => format!(
                "Plausible dropped the last {DROPS_MAX} events of this site, and last accepted one at {last}"
            ),
        };
        if standing.is_refused() && is_on {
            says += ". Events wait";
        }
        let advice = match standing {
            Standing::Untested => Some(format!(
                "add the site `{site}` in Plausible under exactly this domain, if it is not there"
            )),
            Standing::NeverAccepted => Some(format!(
                "add the site `{site}` in Plausible under exactly this domain; then what waits is delivered within two minutes"
            )),
            Standing::Accepting => None,
            Standing::Dropping => Some(format!(
                "check in Plausible that the site `{site}` exists under exactly this domain, that the plan is paid, and which shields it has; then what waits is delivered within two minutes"
            )),
        };
        Self {
            accepting: standing.name().to_owned(),
            last_accepted,
            held,
            says,
            advice,
        }
    }
}

impl Standing {
    /// How that is, for the doctor.
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
    use crate::clock::Moment;

    #[test]
    fn a_site_that_is_not_accepted_says_so_and_what_to_do_and_what_was_not_observed_is_not_checked() {
        let check = |first: Option<i64>, drops: u32, accepting: &str, says: &str, advice: &str| {
            let record = Record {
                first_accepted: first.map(Moment),
                last_accepted: first.map(Moment),
                drops,
            };
            let words = Words::recorded("a.example", &record);
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
