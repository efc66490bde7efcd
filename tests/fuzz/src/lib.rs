//! What the fuzz targets run, cut out of the relay and its tests by file.
//!
//! The crates these files belong to bring a web server, a database and a wasm compiler along. Instrumented, those take
//! half an hour to build; these files take a minute. The same functions are run by the tests, from their own crates.

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
