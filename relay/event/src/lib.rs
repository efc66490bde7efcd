//! The pure core of the feedback relay: the definition of an event, and the rules for the part of it that may leave.
//!
//! No IO, no clock, no randomness, no async: everything here is a function of its arguments, so the relay, the policy
//! guest and the tests share one definition of every rule.
//!
//! - [`wire`] parses hostile bytes into [`Event`]s or a [`Malformed`] reason.
//! - [`plan`] is the tracking plan: the list of everything that may leave.
//! - [`scrub`] is the default policy: it takes an event and returns the part that may leave.
//! - [`route`], [`address`] and [`user_agent`] are the coarsenings it uses.
//! - [`outcome`] is the closed list of ways in which an event can end.

pub mod address;
pub mod consent;
pub mod day_values;
pub mod event;
mod json;
pub mod outcome;
pub mod plan;
pub mod revenue;
pub mod route;
pub mod scrub;
pub mod shape;
pub mod user_agent;
pub mod value;
pub mod wire;

pub use consent::Consent;
pub use day_values::DayValues;
pub use event::{Engagement, Event, EventId, Prop};
pub use outcome::{Group, Outcome};
pub use plan::Plan;
pub use revenue::Revenue;
pub use value::Value;
pub use wire::Malformed;
