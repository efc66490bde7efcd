//! The plan as people write it: its content, and the explanation of each mistake.

use super::*;
use crate::config::DEFAULT_PLAN;
use proptest::prelude::*;
use relay_event::plan::PropKind;

const HEAD: &str = "version = 1\nroutes = [\"/\"]\n[category.usage]\ndescription = \"d\"\n";
const EVENT: &str = "[[event]]\nname = \"A\"\ncategory = \"usage\"\ndescription = \"d\"\n";

fn mistakes(text: &str) -> Vec<String> {
    let wrong = read("plan.toml", text).map_err(|mistakes| mistakes.to_string());
    wrong
        .err()
        .map(|text| text.lines().map(str::to_owned).collect())
        .unwrap_or_default()
}

/// Checks that exactly these mistakes are reported; each entry is the beginning of one.
#[track_caller]
fn check(text: &str, wants: &[&str]) {
    let found = mistakes(text);
    let same = found.len() == wants.len() && found.iter().zip(wants).all(|(f, w)| f.starts_with(w));
    assert!(same, "{text}\ngives {found:#?}\ninstead of {wants:#?}");
}

#[test]
fn a_plan_explains_every_mistake_by_line() {
    let event = |wrong: &str| format!("{HEAD}{wrong}");
    check(&event(EVENT), &[]);
    check(
        &event("[[event]]\nname = \"A\"\ncategory = \"usgae\"\ndescription = \"d\""),
        &["plan.toml:7: `event.category` must be one of the plan's categories: usage"],
    );
    check(
        &format!("version = 1\n{EVENT}"),
        &[
            "plan.toml:4: `event.category` must be one of the plan's categories, but the plan has none: add one, as in [category.usage]",
        ],
    );
    check(
        &event(&format!("{EVENT}{EVENT}")),
        &["plan.toml:10: `event.name` is already the name of another event"],
    );
    check(
        &event("[[event]]\ncategory = \"usage\"\ndescription = \"d\""),
        &["plan.toml:5: `event.name` is missing"],
    );
    check(
        &event("[[event]]\nname = \"\"\ncategory = \"usage\"\ndescription = \" \""),
        &[
            "plan.toml:6: `event.name` must be a name of 1 to 120",
            "plan.toml:8: `event.description` is missing",
        ],
    );
    check(
        &event("[[event]]\nname = \"a\\nb\"\ncategory = \"usage\"\ndescription = \"d\""),
        &["plan.toml:6: `event.name` must be a name"],
    );
    check(HEAD, &["plan.toml:1: `event` is missing: list what may be sent"]);
    check(
        &format!("{EVENT}[category.usage]\ndescription = \"d\""),
        &["plan.toml:1: `version` is missing: write a whole number"],
    );
    check(
        &format!(
            "version = 0\nunmatched = \"drop\"\ncampaigns = \"yes\"\n[category.usage]\ndescription = \"d\"\n{EVENT}"
        ),
        &[
            "plan.toml:1: `version` must be a whole number from 1",
            "plan.toml:2: `unmatched` must be \"other\"",
            "plan.toml:3: `campaigns` must be true or false",
        ],
    );
    check(
        &format!(
            "version = 1\n[category.\"how often?\"]\ndescription = \"d\"\n[category.usage]\ndescription = \"d\"\n{EVENT}"
        ),
        &["plan.toml:3: `category.how often?.description` belongs to a category whose name"],
    );
    check(
        &event("[event]\nname = \"A\""),
        &["plan.toml:5: `event` must be a list of tables, as in [[event]]"],
    );
    check(
        &event(&format!("{EVENT}[event.props.n]\ntype = \"bool\"\n")),
        &["plan.toml:9: `event.props` is not a setting; did you mean `prop`?"],
    );
    let many: String = (0..201)
        .map(|n| EVENT.replace("\"A\"", &format!("\"{n}\"")))
        .collect();
    check(&event(&many), &["plan.toml:5: `event` has more than 200 entries"]);
}

#[test]
fn a_route_explains_its_mistakes_on_its_own_line() {
    let plan = |routes: &str| {
        let head = HEAD.replace("[\"/\"]", &format!("[\n{routes}\n]"));
        format!("{head}{EVENT}")
    };
    check(
        &plan("\"/\",\n\"/w/:workspace\",\n\"/w/:workspace/:view{a|b}\""),
        &[],
    );
    check(
        &plan("\"/\",\n\"w/:x\",\n\"/t/:id{uid}\",\n7,\n\"/\""),
        &[
            "plan.toml:4: `routes` must be a list of routes such as \"/w/:workspace/tenants\": a route starts with a slash",
            "plan.toml:5: `routes` must be a list of routes such as \"/w/:workspace/tenants\": \"uid\" is not a form; write int, uuid or slug",
            "plan.toml:6: `routes` must be a list of routes such as \"/w/:workspace/tenants\": is not text",
            "plan.toml:7: `routes` must be a list of routes such as \"/w/:workspace/tenants\": / is listed twice",
        ],
    );
}

#[test]
fn a_property_explains_its_mistakes_by_line() {
    let prop = |lines: &str, wants: &[&str]| {
        let text = format!("{HEAD}{EVENT}[event.prop.n]\ndescription = \"d\"\n{lines}");
        let wants: Vec<String> = wants.iter().map(|w| format!("plan.toml:{w}")).collect();
        let wants: Vec<&str> = wants.iter().map(String::as_str).collect();
        check(&text, &wants);
    };
    prop("type = \"bool\"\nrequired = true", &[]);
    prop(
        "required = 1",
        &[
            "9: `event.prop.n.type` is missing",
            "11: `event.prop.n.required` must be true or false",
        ],
    );
    prop(
        "type = \"float\"\nmax = 3",
        &["11: `event.prop.n.type` must be \"enum\", \"int\""],
    );
    prop("type = 7", &["11: `event.prop.n.type` must be \"enum\""]);
    prop(
        "type = \"bool\"\nmax = 3",
        &["12: `event.prop.n.max` is not a setting"],
    );

    prop("type = \"int\"\nmin = 1\nmax = 1", &[]);
    prop(
        "type = \"int\"\nmin = 5\nmax = 1",
        &["12: `event.prop.n.min` must not be larger than `max`, which is 1"],
    );
    prop(
        "type = \"int\"\nmin = 5",
        &["9: `event.prop.n.max` is missing: an \"int\" has"],
    );
    prop(
        "type = \"int\"\nmin = \"a\"\nmax = 1",
        &["12: `event.prop.n.min` must be a whole number"],
    );

    prop("type = \"enum\"\nvalues = [\"a\", \"b c\"]", &[]);
    prop(
        "type = \"enum\"",
        &["9: `event.prop.n.values` is missing: list the texts"],
    );
    prop(
        "type = \"enum\"\nvalues = []",
        &["12: `event.prop.n.values` must list at least one"],
    );
    prop(
        "type = \"enum\"\nvalues = \"a\"",
        &["12: `event.prop.n.values` must be a list of texts"],
    );
    prop(
        "type = \"enum\"\nvalues = [\n\" \",\n\"a\",\n\"a\"]",
        &[
            "13: `event.prop.n.values` must be a list of texts: one of them is blank",
            "15: `event.prop.n.values` must be a list of texts: \"a\" is listed twice",
        ],
    );
    prop(
        "type = \"enum\"\nvalues = [\"\"]",
        &["12: `event.prop.n.values` must be a list of texts: one"],
    );

    prop("type = \"duration\"\nbuckets = [\"1s\", \"5s\"]", &[]);
    prop(
        "type = \"duration\"",
        &["9: `event.prop.n.buckets` is missing: list the bounds between the buckets"],
    );
    prop(
        "type = \"duration\"\nbuckets = []",
        &[
            "12: `event.prop.n.buckets` must be durations as in [\"1s\", \"5s\", \"30s\", \"2m\"]: list 1 to 20",
        ],
    );
    prop(
        "type = \"duration\"\nbuckets = [\"5s\", \"1s\"]",
        &[
            "12: `event.prop.n.buckets` must be durations as in [\"1s\", \"5s\", \"30s\", \"2m\"]: \"1s\" is not longer than \"5s\"",
        ],
    );
    prop(
        "type = \"duration\"\nbuckets = [\"1 day\"]",
        &[
            "12: `event.prop.n.buckets` must be durations as in [\"1s\", \"5s\", \"30s\", \"2m\"]: \"1 day\" is not a duration",
        ],
    );

    prop(
        "type = \"text\"\nmax = 2001",
        &["12: `event.prop.n.max` must be a whole number from 1 to 2000"],
    );
}

#[test]
fn a_plan_that_scrubs_needs_to_list_nothing() {
    let plan = |text: &str| read("plan.toml", text).unwrap();
    let bare = plan("version = 4\nunmatched = \"scrub\"");
    assert!(
        bare == Plan {
            version: 4,
            events: Vec::new(),
            ..Plan::unplanned()
        }
    );
    let named = plan("version = 1\nunmatched = \"scrub\"\n[category.all]\ndescription = \"d\"\n");
    assert_eq!(named.category_of("Anything"), Some("all"));
    let check = |text: &str, campaigns: bool| assert_eq!(plan(text).campaigns, campaigns, "{text}");
    check("version = 1\nunmatched = \"scrub\"", true);
    check("version = 1\nunmatched = \"scrub\"\ncampaigns = false", false);
    check(&format!("{HEAD}{EVENT}"), false);
    check(&format!("campaigns = true\n{HEAD}{EVENT}"), true);
}

#[test]
fn categories_and_properties_keep_the_order_of_the_file() {
    let text = "version = 1\n[category.usage]\ndescription = \"d\"\n[category.a]\ndescription = \"d\"\n\
         [[event]]\nname = \"A\"\ncategory = \"a\"\ndescription = \"d\"\n\
         [event.prop.z]\ntype = \"bool\"\ndescription = \"d\"\n\
         [event.prop.b]\ntype = \"duration\"\nbuckets = [\"1s\"]\ndescription = \"d\"\n";
    let plan = read("plan.toml", text).unwrap();
    let categories: Vec<_> = plan.categories.iter().map(|c| c.name.as_str()).collect();
    let props: Vec<_> = plan.events[0].props.iter().map(|p| p.key.as_str()).collect();
    assert_eq!((categories, props), (vec!["usage", "a"], vec!["z", "b"]));
    assert!(matches!(plan.events[0].props[1].kind, PropKind::Duration { .. }));
    // The guest reads the plan as JSON.
    let json = serde_json::to_string(&plan).unwrap();
    assert!(serde_json::from_str::<Plan>(&json).unwrap() == plan);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = read("plan.toml", &text);
    }

    #[test]
    fn no_change_of_a_plan_makes_the_reader_panic(at in 0..10_000_usize, cut in 0..40_usize, new in "[\\PC\\n]{0,12}") {
        let mut chars: Vec<char> = DEFAULT_PLAN.chars().collect();
        let at = at % chars.len();
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, new.chars());
        let text: String = chars.into_iter().collect();
        if let Err(mistakes) = read("plan.toml", &text) {
            prop_assert!(!mistakes.to_string().is_empty());
        }
    }
}
