//! The front door: whom the configuration trusts, and how requests arrive at the running relay, which alone knows.

use crate::cli::manage::ask_running;
use crate::config::{Config, Public};
use crate::exposure;
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

/// Whom the configuration trusts to name clients.
pub(super) fn trusted(public: &Public) -> Finding {
    const WHAT: &str = "public.trusted_proxies";
    if let Some(finding) = exposure::all_trusted("public", &public.trusted_proxies, Grade::Wrong) {
        finding
    } else if public.trusted_proxies.is_empty() && public.listen.ip().is_loopback() {
        Finding::new(
            WHAT,
            Grade::Warning,
            "the relay listens on loopback and trusts no proxy, so all visitors count as one",
        )
        .advise("list the proxy in front of the relay, such as \"127.0.0.1\"")
    } else if public.trusted_proxies.is_empty() {
        Finding::new(
            WHAT,
            Grade::Note,
            "no proxy is trusted: right when browsers connect to the relay itself",
        )
        .advise("behind a proxy all visitors count as one until it is listed")
    } else {
        Finding::new(WHAT, Grade::Ok, "only what is listed is trusted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn whom_the_front_door_trusts_is_judged() {
        let check = |listen: &str, proxies: &str, want: Grade| {
            let text = format!(
                "[public]\nlisten = \"{listen}\"\ntrusted_proxies = {proxies}\n[upstream]\nurl = \"http://127.0.0.1:9\"\n[[site]]\ndomain = \"a.example\"\n"
            );
            let config = Config::parse("relay.toml", &text, Path::new(""), &|_| None).unwrap();
            assert_eq!(trusted(&config.public).grade, want, "{listen} {proxies}");
        };
        check("127.0.0.1:1", "[]", Grade::Warning);
        check("0.0.0.0:1", "[]", Grade::Note);
        check("0.0.0.0:1", "[\"10.0.0.0/8\"]", Grade::Ok);
        check("127.0.0.1:1", "[\"127.0.0.1\"]", Grade::Ok);
        check("127.0.0.1:1", "[\"0.0.0.0/0\"]", Grade::Wrong);
        check("127.0.0.1:1", "[\"10.0.0.1\", \"::/0\"]", Grade::Wrong);
    }
}
