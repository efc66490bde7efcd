//! The tracking plan: the one list of all that may ever leave.
//!
//! The relay reads it from `plan.toml`; the policy guest gets it as JSON. What is not in it does not
//! leave: an unknown event is denied, an unknown property dropped, an unknown path becomes `/other`.

mod duration;
mod kind;
mod spelling;

pub use duration::{Buckets, BucketsError};
pub use kind::PropKind;

pub(crate) use spelling::{number, text_of};

use crate::route::Routes;
use serde::{Deserialize, Serialize};

/// A tracking plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Raised whenever the plan lists more than before; consent is given to one version.
    pub version: u32,
    /// The categories a user can agree to.
    pub categories: Vec<Category>,
    /// The pages, as templates.
    pub routes: Routes,
    /// The events.
    pub events: Vec<EventPlan>,
    /// What becomes of what is not listed.
    #[serde(default)]
    pub unmatched: Unmatched,
    /// Whether the campaign keys of a page's query that Plausible reads (`utm_source` and its kin) may
    /// leave, scrubbed. Everything else of a query never does.
    #[serde(default)]
    pub campaigns: bool,
}

/// What becomes of events, properties and pages that a plan does not list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    /// It does not leave: an event is refused, a property dropped, a page counted as `/other`.
    #[default]
    Other,
    /// It passes the detectors and the shape rules, for sites without a plan.
    Scrub,
}

/// What a user can agree to on its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// The name, as consent and events use it.
    pub name: String,
    /// What it means, for the user who is asked.
    pub description: String,
}

/// One event of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPlan {
    /// The name, exactly as sent.
    pub name: String,
    /// The category it belongs to.
    pub category: String,
    /// What it tells and why, for users and reviewers.
    pub description: String,
    /// Whether its revenue, an amount and a currency, may go along.
    #[serde(default)]
    pub revenue: bool,
    /// The properties that may go along.
    pub props: Vec<PropPlan>,
}

/// One property of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropPlan {
    /// The key, exactly as sent.
    pub key: String,
    /// What its value may be.
    pub kind: PropKind,
    /// Whether the event makes no sense without it.
    pub required: bool,
    /// What it tells.
    pub description: String,
}

impl Plan {
    /// The plan of a site that has none: everything is scrubbed. Listed are only the links of Plausible's own
    /// events, of which the host or the extension says all that its reports show (contract a.3).
    pub fn unplanned() -> Self {
        let event = |name: &str, description: &str, kind| EventPlan {
            name: name.to_owned(),
            category: "usage".to_owned(),
            description: description.to_owned(),
            revenue: false,
            props: vec![PropPlan {
                key: "url".to_owned(),
                kind,
                required: false,
                description: "Where the link leads, coarsened.".to_owned(),
            }],
        };
        Self {
            version: 1,
            categories: vec![Category {
                name: "usage".to_owned(),
                description: "How the site is used.".to_owned(),
            }],
            routes: Routes::default(),
            events: vec![
                event(
                    "Outbound Link: Click",
                    "A link to another site was followed.",
                    PropKind::Link,
                ),
                event("File Download", "A file was downloaded.", PropKind::File),
            ],
            unmatched: Unmatched::Scrub,
            campaigns: true,
        }
    }

    /// The plan of an event. The name must match exactly.
    pub fn event(&self, name: &str) -> Option<&EventPlan> {
        self.events.iter().find(|e| e.name == name)
    }

    /// The category that an event belongs to, which consent has to cover: its own where the plan lists
    /// the event; the plan's first category where it does not and what is not listed is scrubbed. `None`
    /// when the event is not wanted at all. The one place that decides it.
    pub fn category_of(&self, name: &str) -> Option<&str> {
        match (self.event(name), self.unmatched) {
            (Some(event), _) => Some(&event.category),
            (None, Unmatched::Scrub) => self.categories.first().map(|category| category.name.as_str()),
            (None, Unmatched::Other) => None,
        }
    }
}

impl EventPlan {
    /// The plan of a property. The key must match exactly.
    pub fn prop(&self, key: &str) -> Option<&PropPlan> {
        self.props.iter().find(|p| p.key == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_belongs_to_its_category_or_to_the_first_or_is_not_wanted() {
        let category = |name: &str| Category {
            name: name.into(),
            description: String::new(),
        };
        let plan = |unmatched| Plan {
            categories: vec![category("first"), category("second")],
            events: vec![EventPlan {
                name: "Rated".into(),
                category: "second".into(),
                description: String::new(),
                revenue: false,
                props: Vec::new(),
            }],
            unmatched,
            ..Plan::unplanned()
        };
        let check = |plan: &Plan, name: &str, want: Option<&str>| {
            assert_eq!(plan.category_of(name), want, "{name} {:?}", plan.unmatched);
        };
        check(&plan(Unmatched::Other), "Rated", Some("second"));
        check(&plan(Unmatched::Other), "rated", None);
        check(&plan(Unmatched::Other), "Paid", None);
        check(&plan(Unmatched::Scrub), "Rated", Some("second"));
        check(&plan(Unmatched::Scrub), "Paid", Some("first"));
        check(&Plan::unplanned(), "Paid", Some("usage"));
    }

    #[test]
    fn a_plan_that_says_nothing_of_what_is_new_is_the_stricter_one() {
        let json = r#"{"version":1,"categories":[],"routes":["/"],"events":[]}"#;
        let plan: Plan = serde_json::from_str(json).unwrap();
        assert_eq!((plan.unmatched, plan.campaigns), (Unmatched::Other, false));
        let unplanned = serde_json::to_string(&Plan::unplanned()).unwrap();
        assert!(serde_json::from_str::<Plan>(&unplanned).unwrap() == Plan::unplanned());
    }
}
