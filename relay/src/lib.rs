//! The feedback relay: opt-in browser events in, scrubbed Plausible events out.
//!
//! The path of an event, one room per door (see `docs/ARCHITECTURE.md`):
//!
//! 1. [`http`] reads the body within limits; `relay_event::wire` makes an `Event` of it.
//! 2. [`gate`] asks site, origin, switch and consent: [`gate::Admitted`].
//! 3. [`policy::sandbox`] lets the policy component scrub it.
//! 4. [`guard`] proves the policy's output: [`guard::Scrubbed`], the only type the next room takes.
//! 5. [`spool`] puts it on disk; only then is the browser answered 202.
//! 6. [`forward`] takes it to Plausible and settles it.
//!
//! [`corridor`] strings 2 to 5 together, [`metrics`] counts every ending, [`switch`] can close the
//! corridor, and [`run`] builds the whole, serves and stops.

// A command must not panic if the reader of its errors is gone, as `eprintln!` does.
#![warn(clippy::print_stderr)]

pub mod accounts;
pub mod app;
pub mod budget;
pub mod bundle;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod corridor;
pub mod data_folder;
pub mod digest;
pub mod exposure;
pub mod finding;
pub mod forward;
pub mod gate;
pub mod guard;
mod hidden;
pub mod host;
pub mod http;
pub mod metrics;
pub mod network;
pub mod notice;

pub mod os;
pub mod permit;
pub mod policy;
pub mod reload;
pub mod run;
pub mod running;
pub mod spool;
pub mod store;
pub mod suspicion;
pub mod switch;
pub mod version;
pub mod visitor;
