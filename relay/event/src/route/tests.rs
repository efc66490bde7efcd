//! Tests templates and the pages they produce.

use super::*;
use proptest::prelude::*;

fn routes(list: &[&str]) -> Routes {
    list.iter()
        .map(|t| Template::parse(t).unwrap())
        .collect::<Vec<_>>()
        .into()
}

#[test]
fn the_most_specific_template_names_the_page() {
    let routes = routes(&[
        "/",
        "/w/:workspace",
        "/w/:workspace/p/:project",
        "/w/:workspace/p/new",
        "/version",
    ]);
    let check = |path: &str, page: &str| assert_eq!(routes.page(path), page, "{path}");
    check("/", "/");
    check("", "/");
    check("/;a=b", "/");
    check("/version", "/version");
    check("/version/", "/version");
    check("/version?tab=1", "/version");
    check("/Version", OTHER);
    check("/w/acme-prod", "/w/:workspace");
    check("/w/acme-prod/p/billing-7", "/w/:workspace/p/:project");
    check("/w/acme-prod/p/new", "/w/:workspace/p/new");
    check("/w/acme-prod/p/billing-7/secret", OTHER);
    check("/w", OTHER);
    check("/w//p/x", OTHER);
    check("//w/acme", OTHER);
    check("/jane@example.com", OTHER);
    check(OTHER, OTHER);
}

#[test]
fn a_parameter_stands_for_texts_of_its_form_only() {
    let routes = routes(&[
        "/t/:tenant{int}",
        "/u/:id{uuid}",
        "/s/:name{slug}",
        "/w/:workspace/:view{overview|costs|settings}",
    ]);
    let check = |path: &str, page: &str| assert_eq!(routes.page(path), page, "{path}");
    check("/t/4711", "/t/:tenant");
    check("/t/%34711", "/t/:tenant");
    check("/t/4711a", OTHER);
    check("/t/-1", OTHER);
    check("/t/", OTHER);
    check("/t/;a=1", OTHER);
    check("/u/550e8400-e29b-41d4-a716-446655440000", "/u/:id");
    check("/u/550E8400-E29B-41D4-A716-446655440000", "/u/:id");
    check("/u/550e8400-e29b-41d4-a716-44665544000", OTHER);
    check("/u/550e8400-e29b-41d4-a716-4466554400000", OTHER);
    check("/u/550e8400e29b-41d4-a716-446655440000-", OTHER);
    check("/u/g50e8400-e29b-41d4-a716-446655440000", OTHER);
    check("/s/acme-prod-7", "/s/:name");
    check("/s/-acme", OTHER);
    check("/s/Acme", OTHER);
    check("/s/jane.doe", OTHER);
    check("/s/m%C3%BCller", OTHER);
    check("/w/acme/costs", "/w/:workspace/costs");
    check("/w/acme/overview", "/w/:workspace/overview");
    check("/w/acme/Costs", OTHER);
    check("/w/acme/secrets", OTHER);
    check("/w/acme/costs%7Coverview", OTHER);
}

#[test]
fn escapes_count_as_what_they_stand_for_and_matrix_parameters_do_not_count() {
    let routes = routes(&["/w/:workspace", "/w/:workspace/tenants", "/a.b~c/:x"]);
    let check = |path: &str, page: &str| assert_eq!(routes.page(path), page, "{path}");
    check("/w/acme;tab=1", "/w/:workspace");
    check("/w/acme;tab=1;user=jane/tenants;page=2", "/w/:workspace/tenants");
    check("/w;x=1/acme/tenants", "/w/:workspace/tenants");
    check("/w/;tab=1", OTHER);
    check("/%77/acme/ten%61nts", "/w/:workspace/tenants");
    check("/%257/acme", OTHER);
    check("/%2577/acme", OTHER);
    check("/w%2Facme", OTHER);
    check("/w/acme%2Ftenants", "/w/:workspace");
    check("/w/%", "/w/:workspace");
    check("/w/%zz/tenants", "/w/:workspace/tenants");
    check("/a%2eb%7Ec/1", "/a.b~c/:x");
}

#[test]
fn a_literal_comes_before_words_before_a_form_before_anything() {
    // Listed in reverse, so that the order does not come from the list.
    let routes = routes(&[
        "/x/:any",
        "/x/:slug{slug}",
        "/x/:int{int}",
        "/x/:word{one|two}",
        "/x/one",
    ]);
    let order: Vec<&str> = routes.iter().map(Template::as_str).collect();
    let want = [
        "/x/one",
        "/x/:word{one|two}",
        "/x/:int{int}",
        "/x/:slug{slug}",
        "/x/:any",
    ];
    assert_eq!(order, want);
    let check = |path: &str, page: &str| assert_eq!(routes.page(path), page, "{path}");
    check("/x/one", "/x/one");
    check("/x/two", "/x/two");
    check("/x/3", "/x/:int");
    check("/x/three", "/x/:slug");
    check("/x/Three", "/x/:any");
}

#[test]
fn a_page_is_what_a_template_can_show_and_nothing_else() {
    let routes = routes(&["/", "/w/:workspace/:view{a|b}", "/t/:id{int}"]);
    let check = |page: &str, listed: bool| assert_eq!(routes.lists(page), listed, "{page}");
    check("/", true);
    check("/w/:workspace/a", true);
    check("/w/:workspace/b", true);
    check("/t/:id", true);
    check("", false);
    check("//", false);
    check("w/:workspace/a", false);
    check("/w/:workspace/c", false);
    check("/w/:workspace/:view", false);
    check("/w/acme/a", false);
    check("/w/:workspace/a/", false);
    check("/t/4711", false);
    check("/t/:other", false);
    check("/w/:workspace/a;b", false);
    check(OTHER, false);
}

#[test]
fn what_is_no_template_is_refused_with_what_to_write_instead() {
    let check = |text: &str, want: &str| {
        let got = Template::parse(text)
            .err()
            .map_or("fine".to_owned(), |e| e.to_string());
        assert!(got.contains(want), "{text}: {got}");
    };
    check("/w/:workspace/p/:project", "fine");
    check("/w/:id{uuid}/:view{a|b-c|d_e}", "fine");
    check("/", "fine");
    check("w/:workspace", "starts with a slash");
    check("", "starts with a slash");
    check("/w/", "remove the trailing slash");
    check("/w/:", "segment \":\"");
    check("/w//p", "segment \"\"");
    check("/w/a b", "segment \"a b\"");
    check("/w/?q", "segment \"?q\"");
    check("/w/*rest", "segment \"*rest\"");
    check("/w/:{int}", "segment \":{int}\"");
    check("/w/x{int}", "segment \"x{int}\"");
    check("/w/:id{int", "must end with the '}' that closes");
    check("/w/:id{int}x", "must end with the '}' that closes");
    check("/w/:id{uid}", "\"uid\" is not a form; write int, uuid or slug");
    check("/w/:id{}", "the word \"\"");
    check("/w/:view{a|}", "the word \"\"");
    check("/w/:view{a|b c}", "the word \"b c\"");
    check("/w/:view{a|b|a}", "the word \"a\" is listed twice");
    check(&"/a".repeat(300), "at most 500 characters");
}

#[test]
fn a_template_that_never_names_a_page_is_found() {
    let check = |list: &[&str], want: &[(&str, &str)]| {
        let routes = routes(list);
        let found: Vec<_> = routes
            .shadowed()
            .map(|(template, by)| (template.as_str(), by.as_str()))
            .collect();
        assert_eq!(found, want, "{list:?}");
    };
    check(&["/w/:a", "/w/:b", "/w/new"], &[("/w/:b", "/w/:a")]);
    check(&["/w/:a", "/w/:a"], &[("/w/:a", "/w/:a")]);
    check(&["/:a/x", "/:b/:c", "/:d/:e{int}"], &[]);
    check(&["/:v{a|b|c}", "/:v{a|b}"], &[("/:v{a|b}", "/:v{a|b|c}")]);
    check(&["/:v{a|b}", "/:v{b|c}"], &[]);
    check(&["/:a{int}", "/:b{uuid}", "/:c{slug}", "/:d"], &[]);
    check(&["/:a{slug}", "/:b{slug}"], &[("/:b{slug}", "/:a{slug}")]);
}

#[test]
fn templates_travel_as_the_texts_they_were_read_from() {
    let routes = routes(&["/w/:workspace/:view{a|b}", "/t/:id{int}", "/"]);
    let json = serde_json::to_string(&routes).unwrap();
    assert_eq!(json, r#"["/","/t/:id{int}","/w/:workspace/:view{a|b}"]"#);
    assert_eq!(serde_json::from_str::<Routes>(&json).unwrap(), routes);
    assert!(serde_json::from_str::<Routes>(r#"["/t/:id{float}"]"#).is_err());
}

/// A segment of a template, drawn from few texts so that templates overlap.
fn segment() -> impl Strategy<Value = String> {
    const TEXTS: &[&str] = &[
        "a", "b", ":x", ":y", ":a", ":x{int}", ":a{int}", ":x{slug}", ":b{uuid}", ":v{a|b}", ":w{b|7}",
    ];
    prop::sample::select(TEXTS).prop_map(str::to_owned)
}

fn any_routes() -> impl Strategy<Value = Routes> {
    let template = prop::collection::vec(segment(), 0..4)
        .prop_map(|segments| Template::parse(&format!("/{}", segments.join("/"))).unwrap());
    prop::collection::vec(template, 0..6).prop_map(Routes::from)
}

fn any_path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(
        &[
            "/", "/", "/", "a", "b", "7", "-", ":x", ":a", "%61", "%", "%zz", ";a=1", "?q", "ü", "{", "#",
            "/other",
        ][..],
    );
    prop_oneof![
        prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat()),
        "\\PC{0,40}",
    ]
}

proptest! {
    #[test]
    fn every_text_has_a_page_that_is_listed_and_is_its_own_page(routes in any_routes(), path in any_path()) {
        let page = routes.page(&path).into_owned();
        prop_assert!(page == OTHER || routes.lists(&page), "{} of {}", page, path);
        prop_assert_eq!(routes.page(&page), page.as_str(), "the page of {}", path);
        // A page shows only texts that the plan lists.
        let templates: String = routes.iter().map(Template::as_str).collect();
        for shown in page.split('/').filter(|_| page != OTHER) {
            prop_assert!(templates.contains(shown));
        }
    }

    #[test]
    fn reading_a_template_never_panics_and_what_was_read_is_read_again(text in "/?(:?[a-c]{0,2}[{]?[a-z|]{0,5}[}]?/?){0,4}|\\PC{0,30}") {
        if let Ok(template) = Template::parse(&text) {
            prop_assert_eq!(template.as_str(), text.as_str());
            let json = serde_json::to_string(&template).unwrap();
            prop_assert_eq!(serde_json::from_str::<Template>(&json).unwrap(), template);
        }
    }

    #[test]
    fn a_shadowed_template_names_no_page(routes in any_routes(), path in any_path()) {
        let path = segment::of_path(&path);
        for (template, by) in routes.shadowed() {
            prop_assert!(!template.fits(&path) || by.fits(&path));
        }
    }
}
