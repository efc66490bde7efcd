//! Invariants for arbitrary input: the bodies of the fuzz targets.
//!
//! Each function takes bytes from a fuzzer and panics if an invariant is violated. `tests/fuzz` wraps them for
//! libFuzzer (`cargo xtask fuzz`); `tests/e2e/corpora.rs` runs them over the corpora with the other tests, so that a
//! past failure cannot return unnoticed.

mod event_json;
mod plan;
mod policy_output;
mod rules;
mod text;
mod url;
mod user_agent;

pub use event_json::event_json;
pub use plan::plan;
pub use policy_output::policy_output;
pub use text::text;
pub use url::url;
pub use user_agent::user_agent;

/// A target's body.
pub type Body = fn(&[u8]);

/// Every target, under the name of its file, its corpus and its regressions.
pub const TARGETS: [(&str, Body); 6] = [
    ("event_json", event_json),
    ("plan", plan),
    ("policy_output", policy_output),
    ("text", text),
    ("url", url),
    ("user_agent", user_agent),
];
