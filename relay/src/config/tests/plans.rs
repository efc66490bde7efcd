//! Which plan a site has, and what a plan must not list.

use super::*;

#[test]
fn a_plan_that_lists_what_the_server_refuses_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: String, profile: &str, is_fine: bool| {
        let plan = format!(
            "version = 1\n[category.usage]\ndescription = \"d\"\n[[event]]\nname = \"{name}\"\ncategory = \"usage\"\ndescription = \"d\"\n"
        );
        std::fs::write(folder.path().join("plan.toml"), plan).unwrap();
        let text = format!(
            "plan = \"plan.toml\"\n[[site]]\ndomain = \"a.example\"\n[upstream]\nurl = \"https://p.example\"\nprofile = \"{profile}\"\n"
        );
        let parsed = Config::parse("relay.toml", &text, folder.path(), &no_env);
        let told = parsed.map(drop).map_err(|mistakes| mistakes.to_string());
        assert_eq!(told.is_ok(), is_fine, "{profile} {} bytes: {told:?}", name.len());
    };
    check("é".repeat(60), "vince", true);
    check("é".repeat(61), "vince", false);
    check("é".repeat(61), "plausible-ce", true);
}

#[test]
fn a_site_has_its_own_plan_or_the_one_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let plan = |version: u32| {
        format!(
            "version = {version}\n[category.usage]\ndescription = \"d\"\n\
             [[event]]\nname = \"A\"\ncategory = \"usage\"\ndescription = \"d\"\n"
        )
    };
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("two.toml", &plan(2));
    write("three.toml", &plan(3));
    write("wrong.toml", "version = 0\nroutes = 1\n");
    write("worse.toml", "\n\n\nversion = 0\n");
    let upstream = "[upstream]\nurl = \"https://p.example\"\n";
    let site = |name: &str, plan: &str| format!("[[site]]\ndomain = \"{name}.example\"\n{plan}\n");
    let parse = |text: String| Config::parse("relay.toml", &text, folder.path(), &no_env);
    let check = |general: &str, plans: &[&str], versions: &[u32], in_use: usize| {
        let sites: String = (0..)
            .zip(plans)
            .map(|(i, plan)| site(&format!("s{i}"), plan))
            .collect();
        let config = parse(format!("{general}\n{sites}{upstream}")).unwrap();
        let found: Vec<u32> = config.sites.iter().map(|site| site.plan.version).collect();
        assert_eq!(
            (found.as_slice(), config.plans.iter().count()),
            (versions, in_use)
        );
    };
    let (two, three) = ("plan = \"two.toml\"", "plan = \"three.toml\"");
    let shipped = SitePlan::built_in().unwrap().version;
    check("", &["", three], &[shipped, 3], 2);
    check(two, &["", three, ""], &[2, 3, 2], 2);
    check(two, &[three, three], &[3, 3], 1);
    check(two, &[two, ""], &[2, 2], 1);

    let (wrong, worse) = ("plan = \"wrong.toml\"", "plan = \"worse.toml\"");
    let all = format!(
        "{wrong}\n{}{}{}{upstream}",
        site("a", worse),
        site("b", wrong),
        site("c", "plan = 1")
    );
    let error = parse(all).unwrap_err().to_string();
    for (file, line, what) in [
        ("relay.toml", 10, "`site.plan` must be text"),
        ("wrong.toml", 1, "`version` must be a whole number"),
        ("wrong.toml", 2, "`routes` must be a list"),
        ("worse.toml", 4, "`version` must be a whole number"),
    ] {
        let want = format!("{file}:{line}: {what}");
        assert_eq!(error.matches(&want).count(), 1, "{want} is not once in:\n{error}");
    }
    let missing = parse(format!("{two}\n{}{upstream}", site("a", "plan = \"no.toml\""))).unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with("relay.toml:4: `site.plan` names a file that cannot be read"),
        "{missing}"
    );
}

#[test]
fn the_plan_shipped_is_valid_and_lists_what_it_promises() {
    let plan = SitePlan::built_in().unwrap();
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
