//! The tracking plan: the one list of everything that may leave.
//!
//! The relay reads it from `plan.toml`; the policy guest gets it as JSON. Anything not listed does not leave: the relay
//! denies an unknown event, drops an unknown property and replaces an unknown path with `/other`.

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
    /// Raised whenever a new plan lists more than the one before; consent is given to one version.
    pub version: u32,
    /// The categories a user can agree to.
    pub categories: Vec<Category>,
    /// The pages, as templates.
    pub routes: Routes,
    /// The events.
    pub events: Vec<EventPlan>,
    /// How to treat anything that is not listed.
    #[serde(default)]
    pub unmatched: Unmatched,
    /// Whether the campaign keys of a page's query that Plausible reads (`utm_source` and the like) may leave,
    /// scrubbed. The rest of a query never leaves.
    #[serde(default)]
    pub campaigns: bool,
}

/// How to treat events, properties and pages that a plan does not list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    /// They do not leave: the event is refused, the property dropped, the page counted as `/other`.
    #[default]
    Other,
    /// They leave after the detectors and the shape rules have scrubbed them, for sites without a plan.
    Scrub,
}

/// A group of events to which a user can agree separately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// The name, as consent and events use it.
    pub name: String,
    /// The meaning, for the user who is asked.
    pub description: String,
}

/// One event of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPlan {
    /// The name, exactly as sent.
    pub name: String,
    /// The category it belongs to.
    pub category: String,
    /// The information it gives and its purpose, for users and reviewers.
    pub description: String,
    /// Whether its revenue, an amount and a currency, may leave.
    #[serde(default)]
    pub revenue: bool,
    /// The properties that may leave.
    pub props: Vec<PropPlan>,
}

/// One property of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropPlan {
    /// The key, exactly as sent.
    pub key: String,
    /// The values it may have.
    pub kind: PropKind,
    /// Whether the event makes no sense without it.
    pub required: bool,
    /// The information it gives.
    pub description: String,
}

impl Plan {
    /// The plan of a site that has none: everything is scrubbed. It lists only the links of Plausible's own events,
    /// because the host or the extension is all that Plausible's reports show of them (contract a.3).
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

    /// The category that consent must cover for an event. For a listed event it is the event's own; if the plan scrubs
    /// unlisted events, it is the plan's first category. `None` if the event is not wanted at all. This is the only
    /// place that decides it.
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
