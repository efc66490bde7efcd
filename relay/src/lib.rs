//! The feedback relay: opt-in browser events in, scrubbed Plausible events out.
//!
//! The path of an event, one room per door (see `docs/ARCHITECTURE.md`):
//!
//! 1. [`http`] reads the body within limits; `relay_event::wire` makes an `Event` of it.
//! 2. [`gate`] asks site, origin, switch and consent: [`gate::Admitted`].
//! 3. [`sandbox`] lets the policy component scrub it.
//! 4. [`guard`] proves the policy's output: [`guard::Scrubbed`], the only type the next room takes.
//! 5. [`spool`] puts it on disk; only then is the browser answered 202.
//! 6. [`forward`] takes it to Plausible and settles it.
//!
//! [`corridor`] strings 2 to 5 together, [`metrics`] counts every ending, [`switch`] can close the
//! corridor, and [`app`] builds and runs the whole.

pub mod accounts;
pub mod app;
pub mod budget;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod corridor;
pub mod data_folder;
pub mod demo_panel;
pub mod document;
pub mod exposure;
pub mod forward;
pub mod gate;
pub mod guard;
pub mod heap;
pub mod host;
pub mod http;
pub mod metrics;

pub mod open_files;
pub mod plan;
pub mod policy;
pub mod policy_check;
pub mod private_folder;
pub mod receiver;
pub mod reload;
pub mod running;
pub mod sandbox;
pub mod spool;
pub mod store;
pub mod suspicion;
pub mod switch;
pub mod version;
pub mod visitor;
