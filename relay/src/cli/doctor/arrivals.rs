//! How requests arrive at the running relay, which alone knows.

use crate::cli::manage::ask_running;
use crate::config::Config;
use crate::forward::self_test::{Finding, Grade};
use axum::http::Method;
use serde_json::json;

/// What the relay on this data folder has seen.
pub(super) async fn seen(config: &Config) -> Vec<Finding> {
    let asked = ask_running(config, Method::GET, "/arrivals", &json!({})).await;
    let seen = asked.and_then(|seen| Ok(serde_json::from_value(seen)?));
    seen.unwrap_or_else(|_| {
        let says = "not checked: no relay answers on this data folder, and only a running one knows how requests arrive";
        vec![Finding::new("front door", Grade::Note, says)]
    })
}
