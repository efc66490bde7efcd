//! The pure heart of the feedback relay: what an event is, what may leave, and how that is decided.
//!
//! No IO, no clock, no randomness, no async: everything here is a function of its arguments, so the
//! relay, the policy guest and the tests share one definition of every rule.
//!
//! - [`wire`] turns hostile bytes into [`Event`]s or a [`Malformed`] reason.
//! - [`plan`] is the tracking plan: all that may ever leave.
//! - [`scrub`] is the default policy: an event in, the part of it that may leave out.
//! - [`route`], [`address`], [`detect`] and [`user_agent`] are the coarsenings it uses.
//! - [`outcome`] is the closed list of ways in which an event can end.

pub mod address;
pub mod consent;
pub mod day_values;
pub mod detect;
pub mod event;
mod json;
pub mod outcome;
pub mod plan;
pub mod revenue;
pub mod route;
pub mod scrub;
pub mod shape;
pub mod user_agent;
pub mod wire;

pub use consent::Consent;
pub use day_values::DayValues;
pub use event::{Engagement, Event, EventId, Prop, Value};
pub use outcome::Outcome;
pub use plan::Plan;
pub use revenue::Revenue;
pub use wire::Malformed;
