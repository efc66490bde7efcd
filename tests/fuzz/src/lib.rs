//! The code under the fuzz targets, included from the relay and its tests file by file.
//!
//! The crates that own these files depend on a web server, a database and a wasm compiler, which take half an hour to
//! build with instrumentation; these files take a minute. The tests run the same functions from their own crates.

extern crate self as feedback_relay;

pub use relay::{document, guard};
pub use tests::fuzz;

#[path = "../../../relay/src"]
mod relay {
    pub mod document;
    pub mod guard;
}

#[path = "../../../relay/src/config"]
#[allow(dead_code, reason = "only the reader of plans is used")]
pub mod config {
    mod plan_file;
    mod plans;

    pub use plans::{DEFAULT_PLAN, SitePlan};
}

#[path = "../../src"]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a target reports")]
mod tests {
    pub mod fuzz;
}
