//! The end-to-end tests: a whole relay between a simulated browser and a simulated Plausible.
//!
//! One module per promise. Each test ends with `relay.stop()`, which checks that events are conserved.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod admin;
mod arrivals;
mod broken_answers;
mod budgets;
mod canaries;
mod chaos;
mod chaos_rounds;
mod cli;
mod clock;
mod compile;
mod corpora;
mod dashboard;
mod delivery;
mod doctor;
mod documents;
mod door;
mod exposure;
mod file_system;
mod guest;
mod harness;
mod hostile;
mod hosts;
mod http2;
mod idempotence;
mod ingest;
mod kill;
mod limits;
mod logins;
mod lost;
mod monitoring;
mod network;
mod plans;
mod policy;
mod privacy;
mod profiles;
mod recovery;
mod refusals;
mod restart;
mod rollup;
mod scrub;
mod senders;
mod sessions;
mod slow_peers;
mod slow_policy;
mod spool;
mod stop;
mod switch;
mod tls;
mod truth;
mod upstream;
mod values;
mod visitors;
mod waiting;

/// Bound for several restarts or an outage, on a machine that is busy with other tests.
const LONG: std::time::Duration = std::time::Duration::from_secs(120);

/// The relay's binary.
const EXE: &str = env!("CARGO_BIN_EXE_relay-under-test");
