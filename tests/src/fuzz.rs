//! What has to hold for any input whatever: the bodies of the fuzz targets.
//!
//! Each function takes bytes as a fuzzer makes them and panics when a promise is broken. `tests/fuzz` wraps them for
//! libFuzzer (`cargo xtask fuzz`); `tests/e2e/corpora.rs` runs them over the corpora with the other tests, so that
//! whatever was found once stays found.

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

/// Every target, by the name that its file, its corpus and its regressions have.
pub const TARGETS: [(&str, Body); 6] = [
    ("event_json", event_json),
    ("plan", plan),
    ("policy_output", policy_output),
    ("text", text),
    ("url", url),
    ("user_agent", user_agent),
];
