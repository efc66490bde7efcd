//! How requests arrive: the proxies that the configuration trusts, and the requests that the running relay has seen.

use crate::cli::manage::ask_running;
use crate::config::{Config, Public};
use crate::exposure;
use crate::finding::{Finding, Grade};
use axum::http::Method;
use serde_json::json;

/// The findings of the relay that runs on this data folder.
pub(super) async fn seen(config: &Config) -> Vec<Finding> {
    let seen = ask_running(config, Method::GET, "/arrivals", &json!({})).await;
    seen.unwrap_or_else(|_| {
        let says = "not checked: no relay answers on this data folder, and only a running relay can report how \
            requests arrive";
        vec![Finding::note("front door", says)]
    })
}

/// The proxies that the configuration trusts to name clients.
pub(super) fn trusted(public: &Public) -> Finding {
    const WHAT: &str = "public.trusted_proxies";
    if let Some(finding) = exposure::all_trusted("public", &public.trusted_proxies, Grade::Wrong) {
        finding
    } else if public.trusted_proxies.is_empty() && public.listen.ip().is_loopback() {
        Finding::warning(
            WHAT,
            "the relay listens on loopback and trusts no proxy, so all visitors count as one",
        )
        .advise("list the proxy in front of the relay, such as \"127.0.0.1\"")
    } else if public.trusted_proxies.is_empty() {
        Finding::note(
            WHAT,
            "no proxy is trusted: correct if browsers connect to the relay directly",
        )
        .advise("behind a proxy that is not listed, all visitors count as one")
    } else {
        Finding::ok(WHAT, "only the listed proxies are trusted")
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
