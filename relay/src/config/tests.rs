//! The configuration as an operator uses it: the example, mistakes, the environment.

mod plans;

use super::*;

const EXAMPLE: &str = include_str!("../../relay.example.toml");

fn parse(text: &str, env: Env<'_>) -> Result<Config, String> {
    Config::parse("relay.toml", text, Path::new("/etc/feedback-relay"), env).map_err(|m| m.to_string())
}

fn no_env(_: &str) -> Option<String> {
    None
}

#[test]
fn the_example_file_is_a_valid_configuration() {
    let config = parse(EXAMPLE, &no_env).unwrap();
    assert_eq!(config.sites[0].domain, "panel.example.com");
    assert_eq!(config.data_dir, Path::new("/etc/feedback-relay/data"));
}

#[test]
fn the_policys_time_grows_with_the_largest_body_unless_it_is_set() {
    let with = |public: &str, policy: &str| {
        let text = EXAMPLE.replacen("[public]", &format!("[public]\n{public}"), 1);
        let text = text.replacen("[policy]", &format!("[policy]\n{policy}"), 1);
        parse(&text, &no_env).unwrap().policy.request_cpu.as_millis()
    };
    assert_eq!(with("", ""), 250);
    assert_eq!(with("body_bytes_max = 1024", ""), 250);
    assert_eq!(with("body_bytes_max = 1048576", ""), 4000);
    assert_eq!(with("body_bytes_max = 1048576", "request_cpu_ms = 100"), 100);
}

#[test]
fn every_key_of_the_example_is_explained_and_known_when_uncommented() {
    // `#key = value` lines are settings left at their default; uncommented they must still be valid.
    let uncommented: Vec<String> = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with('[') => rest.to_owned(),
            Some(rest) if !rest.starts_with(' ') && rest.contains(" = ") => rest.to_owned(),
            _ => line.to_owned(),
        })
        .filter(|line| {
            // Files that do not exist. Those of `tls` are not read here.
            let of_secrets = [
                "password_file = ",
                "stats_key_file = ",
                "headers_file = ",
                "token_file = ",
            ];
            let of_upstream = ["ca_file = ", "client_cert_file = ", "client_key_file = "];
            let others = ["plan = ", "file = "];
            let mut unread = of_secrets.iter().chain(&of_upstream).chain(&others);
            !unread.any(|key| line.starts_with(key))
        })
        .collect();
    // The example's token is too short to be used by mistake.
    let env = |key: &str| (key == "FEEDBACK_RELAY_TOOL_SMOKE_TEST_TOKEN").then(|| "f".repeat(32));
    parse(&uncommented.join("\n"), &env).unwrap();
    let mut explained = false;
    for line in EXAMPLE.lines() {
        if line.starts_with("# ") {
            explained = true;
        } else if line.trim_start_matches('#').contains(" = ") {
            assert!(explained, "not explained: {line}");
        } else if line.is_empty() {
            explained = false;
        }
    }
}

#[test]
fn all_mistakes_are_reported_together_with_key_and_line() {
    let check = |text: &str, want: &[&str]| {
        let error = parse(text, &no_env).unwrap_err();
        for want in want {
            assert!(error.contains(want), "{want} is not in:\n{error}");
        }
        assert_eq!(error.lines().count(), want.len(), "{error}");
    };
    check(
        "operator_lokc = true\n[public]\nlisten = \"here\"\ntrusted_proxies = [\"10.0.0.0/8\", \"home\"]\n[spool]\nbytes_max = \"much\"\n",
        &[
            "relay.toml:1: `operator_lokc` is not a setting; did you mean `operator_lock`?",
            "relay.toml:3: `public.listen` must be an address and port",
            "relay.toml:4: `public.trusted_proxies` must be a list of networks",
            "relay.toml:6: `spool.bytes_max` must be a whole number",
            "`site` is missing",
            "`upstream.url` is missing",
        ],
    );
    let site = "[[site]]\ndomain = \"a.example\"\n";
    check(
        &format!("{site}{site}[upstream]\nurl = \"https://p.example\""),
        &["relay.toml:4: `site.domain` is already the domain of another site"],
    );
    check(
        &format!("{site}origins = [\"https://a.example/x\"]\n[upstream]\nurl = \"ftp://p.example\""),
        &["relay.toml:3: `site.origins`", "relay.toml:5: `upstream.url`"],
    );
    check(
        &format!(
            "{site}[upstream]\nurl = \"https://p.example\"\nca_file = \"nowhere.pem\"\nhealth_path = \"health\"\ndelivery = \"maybe\"\nlate_after_s = 0\n"
        ),
        &[
            "relay.toml:5: `upstream.ca_file`",
            "relay.toml:6: `upstream.health_path`",
            "relay.toml:7: `upstream.delivery`",
            "relay.toml:8: `upstream.late_after_s`",
        ],
    );
    check(
        &format!(
            "{site}[upstream]\nurl = \"https://p.example\"\nprofile = \"plausible\"\nstats_key = \"two words\\n\"\nstats_interval_s = 0\ntest_site = \"www.a.example\"\n"
        ),
        &[
            "relay.toml:5: `upstream.profile` must be \"plausible-ce\", \"plausible-cloud\" or \"vince\"",
            "relay.toml:6: `upstream.stats_key` must be one line",
            "relay.toml:7: `upstream.stats_interval_s`",
            "relay.toml:8: `upstream.test_site`",
        ],
    );
    let upstream = format!("{site}[upstream]\nurl = \"https://p.example\"\n");
    check(
        &format!(
            "{upstream}headers_file = \"nowhere\"\nproxy = \"socks5://user:secret@p:1\"\nclient_cert_file = \"a\"\nreload_interval_s = 0"
        ),
        &[
            "relay.toml:5: `upstream.headers_file` /etc/feedback-relay/nowhere cannot be read",
            "relay.toml:6: `upstream.proxy` must be the address of an http or https proxy",
            "relay.toml:7: `upstream.client_cert_file` needs `client_key_file`",
            "relay.toml:8: `upstream.reload_interval_s`",
        ],
    );
    check(
        &format!("{upstream}client_key_file = \"a\""),
        &["relay.toml:5: `upstream.client_key_file` needs `client_cert_file`"],
    );
    check(
        &format!("{site}[upstream]\nurl = \"https://p.example:70000\""),
        &["relay.toml:4: `upstream.url` must be an http or https address"],
    );
    check(
        &format!("plan = \"nowhere.toml\"\n{site}[upstream]\nurl = \"https://p.example\""),
        &["relay.toml:1: `plan` names a file that cannot be read"],
    );
}

#[test]
fn an_upstream_that_can_only_fail_is_refused() {
    let check = |url: &str, line: &str, is_fine: bool| {
        let text = format!("[[site]]\ndomain = \"a.example\"\n[upstream]\nurl = \"{url}\"\n{line}");
        assert_eq!(parse(&text, &no_env).is_ok(), is_fine, "{url} {line}");
    };
    check("https://p.example", "", true);
    check("https://p.example/below/", "", true);
    check("https://p.example/#x", "", false);
    check("https://p.example/api/event", "", false);
    check("https://p.example/api/event/", "", false);
    check("https://p.example/js/script.js", "", false);
    for (header, is_fine) in [
        ("x-vince-ip", true),
        ("X-Forwarded-For", true),
        ("transfer-encoding", false),
        ("Content-Type", false),
        ("content-length", false),
        ("host", false),
        ("user-agent", false),
        ("authorization", false),
        ("cookie", false),
    ] {
        let line = format!("address_header = \"{header}\"");
        check("https://p.example", &line, is_fine);
    }
}

#[test]
fn a_profile_sets_header_and_health_path_and_what_is_set_outranks_it() {
    let check = |lines: &str, header: &str, health: Option<&str>| {
        let text =
            format!("[[site]]\ndomain = \"a.example\"\n[upstream]\nurl = \"https://p.example\"\n{lines}");
        let upstream = parse(&text, &no_env).unwrap().upstream;
        assert_eq!(upstream.address_header, header, "{lines}");
        assert_eq!(upstream.health_path.as_deref(), health, "{lines}");
    };
    check("", "x-plausible-ip", Some("/api/health"));
    check(
        "profile = \"plausible-ce\"",
        "x-plausible-ip",
        Some("/api/health"),
    );
    check(
        "profile = \"plausible-cloud\"",
        "x-forwarded-for",
        Some("/api/health"),
    );
    check("profile = \"vince\"", "x-vince-ip", Some("/"));
    check(
        "profile = \"vince\"\naddress_header = \"X-Real-IP\"\nhealth_path = \"\"",
        "x-real-ip",
        None,
    );
    check(
        "address_header = \"x-vince-ip\"",
        "x-vince-ip",
        Some("/api/health"),
    );
}

#[test]
fn the_environment_outranks_the_file_for_secrets_and_nothing_prints_them() {
    let env = |key: &str| (key == "FEEDBACK_RELAY_METRICS_PASSWORD").then(|| "from-env".to_owned());
    let text = EXAMPLE.replace("#password = ", "password = ");
    let config = parse(&text, &env).unwrap();
    let password = config.metrics.password.clone().unwrap();
    assert!(password.is("from-env") && !password.is("from-en"));
    assert!(!format!("{config:?}").contains("from-env"));

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("stats-key"), "from-file\n").unwrap();
    let check = |setting: &str, variable: Option<&str>, want: Option<&str>| {
        let text =
            format!("[[site]]\ndomain = \"a.example\"\n[upstream]\nurl = \"https://p.example\"\n{setting}\n");
        let env = |key: &str| {
            variable
                .filter(|_| key == "FEEDBACK_RELAY_STATS_KEY")
                .map(str::to_owned)
        };
        let parsed = Config::parse("relay.toml", &text, folder.path(), &env);
        let key = parsed
            .ok()
            .map(|config| config.upstream.stats.map(|stats| stats.key));
        let is_right = match (want, &key) {
            (Some("none"), Some(None)) | (None, None) => true,
            (Some(want), Some(Some(key))) => key.is(want),
            _ => false,
        };
        assert!(is_right, "{setting} {variable:?}");
        assert!(!format!("{key:?}").contains("from-"), "{setting} {variable:?}");
    };
    check("", None, Some("none"));
    check("", Some("from-env"), Some("from-env"));
    check("stats_key = \"from-text\"", None, Some("from-text"));
    check("stats_key_file = \"stats-key\"", None, Some("from-file"));
    check(
        "stats_key_file = \"stats-key\"",
        Some("from-env"),
        Some("from-env"),
    );
    check("stats_key_file = \"missing\"", None, None);
    check("stats_key = \"\"", None, None);
    check("stats_key = \"two\\nlines\"", None, None);
}

#[test]
fn the_public_listener_reads_its_limits_and_its_certificates() {
    let base = "[[site]]\ndomain = \"a\"\n[upstream]\nurl = \"http://127.0.0.1:9\"\n";
    let config = parse(base, &no_env).unwrap();
    assert_eq!((&config.public.tls, &config.admin.tls), (&None, &None));
    let rate = Rate::per_second;
    assert_eq!(config.public.rate_per_client, rate(500, 5000));
    assert_eq!(config.public.rate_per_site, rate(5000, 50_000));
    let doors = "[public]\nrate_per_client = 0\nrate_per_site_burst = 7\n\
        [admin.tls]\ncert_file = \"a.crt\"\nkey_file = \"/keys/a.key\"\n";
    let config = parse(&format!("{base}{doors}"), &no_env).unwrap();
    assert_eq!(config.public.rate_per_client, rate(0, 5000));
    assert_eq!(config.public.rate_per_site, rate(5000, 7));
    let tls = config.admin.tls.unwrap();
    assert_eq!(tls.cert_file, Path::new("/etc/feedback-relay/a.crt"));
    assert_eq!(tls.key_file, Path::new("/keys/a.key"));

    let check = |doors: &str, want: &str| {
        let error = parse(&format!("{doors}\n{base}"), &no_env).unwrap_err();
        assert_eq!(error, want, "{doors}");
    };
    let missing = "is missing: TLS needs `cert_file` and `key_file`, both PEM";
    check(
        "[public.tls]\ncert_file = \"a\"",
        &format!("relay.toml:1: `public.tls.key_file` {missing}"),
    );
    check(
        "[public.tls]",
        &format!(
            "relay.toml:1: `public.tls.cert_file` {missing}\nrelay.toml:1: `public.tls.key_file` {missing}"
        ),
    );
    check(
        "[public]\nrate_per_site = -1",
        "relay.toml:2: `public.rate_per_site` must be a whole number from 0 to 100000000",
    );
    check(
        "[public]\nrate_per_site_burst = 0",
        "relay.toml:2: `public.rate_per_site_burst` must be a whole number from 1 to 100000000",
    );
}

#[test]
fn what_is_compared_with_browsers_and_proxies_is_normalised_or_refused_with_what_to_write() {
    let text = |public: &str, site: &str, more: &str| {
        format!("[public]\n{public}\n[[site]]\n{site}\n[upstream]\nurl = \"http://127.0.0.1:9\"\n{more}\n")
    };
    let config = parse(
        &text(
            "base_path = \"feedback/\"\ntrusted_proxies = [\"::ffff:10.0.0.1\"]",
            "domain = \"Panel.Example.com/\"\norigins = [\"https://MÜLLER.example:443/\", \"https://xn--mller-kva.example\"]",
            "",
        ),
        &no_env,
    )
    .unwrap();
    assert_eq!(config.public.base_path, "/feedback");
    assert_eq!(config.public.trusted_proxies, ["10.0.0.1/32".parse().unwrap()]);
    assert_eq!(config.sites[0].domain, "panel.example.com");
    assert_eq!(config.sites[0].origins, ["https://xn--mller-kva.example"]);
    let folder = parse(&text("", "domain = \"example.com/blog\"", ""), &no_env).unwrap();
    assert_eq!(folder.sites[0].origins, ["https://example.com"]);

    let site = "domain = \"a.example\"";
    let check = |public: &str, site: &str, more: &str, want: &[&str]| {
        let error = parse(&text(public, site, more), &no_env).unwrap_err();
        for want in want {
            assert!(error.contains(want), "{want} is not in:\n{error}");
        }
        assert_eq!(error.lines().count(), want.len(), "{error}");
    };
    check(
        "base_path = \"/a/../b\"",
        site,
        "",
        &["relay.toml:2: `public.base_path` has an empty or dot segment"],
    );
    check(
        "trusted_proxies = [\"10.0.0.1/8\", \"proxy\"]",
        site,
        "",
        &[
            "write \"10.0.0.0/8\" for the network",
            "\"proxy\" is neither a network nor an address",
        ],
    );
    check(
        "",
        "domain = \"https://www.a.example\"",
        "",
        &[
            "relay.toml:4: `site.domain` is wrong: \"https://www.a.example\" is not the name that events give the site; write \"a.example\"",
        ],
    );
    let origins = |list: &str| format!("{site}\norigins = {list}");
    check(
        "",
        &origins("[]"),
        "",
        &["relay.toml:5: `site.origins` lists no origin"],
    );
    check(
        "",
        &origins("[\"https://*.a.example\", \"null\", \"a.example\"]"),
        "",
        &[
            "list each origin separately",
            "serve the page from an address",
            "write \"https://a.example\"",
        ],
    );
    check(
        "",
        "domain = \"a.example\"\n[[site]]\ndomain = \"A.example\"",
        "",
        &["relay.toml:6: `site.domain` is already the domain of another site"],
    );
    check(
        "",
        site,
        "[metrics]\nusername = \"a:b\"",
        &["`metrics.username` must be a name without a colon"],
    );
}
