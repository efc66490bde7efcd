//! The configuration as an operator meets it: the example, its mistakes, the environment.

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
fn every_key_of_the_example_is_explained_and_known_when_uncommented() {
    // `#key = value` lines are settings left at their default; uncommented they must still be valid.
    let uncommented: Vec<String> = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && rest.contains(" = ") => rest.to_owned(),
            _ => line.to_owned(),
        })
        .filter(|line| {
            !line.contains("_file = ") && !line.starts_with("plan = ") && !line.starts_with("file = ")
        })
        .collect();
    parse(&uncommented.join("\n"), &no_env).unwrap();
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
        &["relay.toml:4: `site.domain` is the domain of another site"],
    );
    check(
        &format!("{site}origins = [\"https://a.example/x\"]\n[upstream]\nurl = \"ftp://p.example\""),
        &["relay.toml:3: `site.origins`", "relay.toml:5: `upstream.url`"],
    );
    check(
        &format!("plan = \"nowhere.toml\"\n{site}[upstream]\nurl = \"https://p.example\""),
        &["relay.toml:1: `plan` names a file that cannot be read"],
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
}

#[test]
fn the_plan_shipped_is_valid_and_lists_what_it_promises() {
    let plan = default_plan().unwrap();
    for name in [
        "pageview",
        "engagement",
        "Activity Rated",
        "Survey Answered",
        "Feature Used",
        "404",
        "Outbound Link: Click",
        "File Download",
    ] {
        assert!(plan.event(name).is_some(), "{name}");
    }
    assert_eq!(
        plan.routes.page("/w/acme-prod/p/billing-7/tenants"),
        "/w/:workspace/p/:project/tenants"
    );
    assert_eq!(
        plan.routes.page("/w/m25-platform/access-management/api-keys"),
        "/w/:workspace/access-management/api-keys"
    );
}

#[test]
fn a_plan_explains_its_mistakes_by_line() {
    let head = "version = 1\nroutes = [\"/\"]\n[category.usage]\ndescription = \"d\"\n";
    let check = |body: &str, want: &str| {
        let error = plan_file::read("plan.toml", &format!("{head}{body}"))
            .unwrap_err()
            .to_string();
        assert!(error.contains(want), "{want} is not in:\n{error}");
    };
    let event = "[[event]]\nname = \"A\"\ncategory = \"usage\"\ndescription = \"d\"\n";
    check(
        "[[event]]\nname = \"A\"\ncategory = \"usgae\"\ndescription = \"d\"",
        "plan.toml:7: `event.category` must be one of the plan's categories: usage",
    );
    check(
        &format!("{event}{event}"),
        "plan.toml:10: `event.name` is the name of another event",
    );
    check(
        &format!("{event}[event.prop.n]\ntype = \"int\"\nmin = 5\nmax = 1\ndescription = \"d\""),
        "plan.toml:11: `event.prop.n.min` and `max` must be",
    );
    check(
        &format!("{event}[event.prop.n]\ntype = \"float\"\ndescription = \"d\""),
        "plan.toml:10: `event.prop.n.type` must be \"enum\"",
    );
    check(
        &format!("{event}[event.prop.n]\ntype = \"bool\""),
        "`event.prop.n.description` is missing",
    );
    check("", "`event` must be there");
    let error = plan_file::read("plan.toml", "version = 1\nroutes = [\"w/:x\"]\n")
        .unwrap_err()
        .to_string();
    assert!(error.contains("plan.toml:2: `routes` must be a list of routes such as \"/w/:workspace/tenants\": a route starts with a slash"), "{error}");
}
