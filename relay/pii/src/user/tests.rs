use super::*;

/// Checks a text after only this module's findings are removed.
fn check(text: &str, want: &str) {
    let mut found = Found::default();
    find(&View::new(text), &mut found);
    let found = super::super::settle(text, found.0);
    assert_eq!(super::super::replace(text, &found), want, "{text}");
}

#[test]
fn users_go_from_paths() {
    for (text, want) in [
        ("/Users/jane/Desktop", "/Users/[removed]/Desktop"),
        ("in /home/jane.doe/x.log:12", "in /home/[removed]/x.log:12"),
        ("/home/jane", "/home/[removed]"),
        ("/var/home/jane/x", "/var/home/[removed]/x"),
        (r"C:\Users\jane\x", r"C:\Users\[removed]\x"),
        (r"C:\\Users\\jane\\x", r"C:\\Users\\[removed]\\x"),
        (r"C:\Users\Jane M. Doe\x", r"C:\Users\[removed]\x"),
        ("C:/Users/jane/x", "C:/Users/[removed]/x"),
        (r"\\files\users\jane\x", r"\\files\users\[removed]\x"),
        ("file:///home/jane/x", "file:///home/[removed]/x"),
        ("~jane/x", "~[removed]/x"),
    ] {
        check(text, want);
    }
}

#[test]
fn members_go_from_collections() {
    for (text, want) in [
        ("/api/users/12345", "/api/users/[removed]"),
        ("/api/users/jane/edit", "/api/users/[removed]/edit"),
        ("/w/acme/p/shop-7/tenants", "/w/[removed]/p/[removed]/tenants"),
        (
            "/customers/ACME/contracts/7",
            "/customers/[removed]/contracts/[removed]",
        ),
        ("/workspaces/acme-prod?tab=1", "/workspaces/[removed]?tab=1"),
        (
            "https://a.example/#/w/acme/overview",
            "https://a.example/#/w/[removed]/overview",
        ),
    ] {
        check(text, want);
    }
}

#[test]
fn paths_without_users_stay() {
    for text in [
        "/Users/Shared/x",
        r"C:\Users\Public\x",
        "/users/me",
        "/users/active",
        "/teams/active",
        "/users/new",
        "/settings/users/search",
        "/projects/tenants",
        "/w/:workspace/p/:project",
        "/users/{id}",
        "/usr/local/bin",
        "users/groups and/or roles",
        "~/x",
        "a ~5/6",
        "24/7",
        "////",
        r"\\\\",
    ] {
        check(text, text);
    }
}

#[test]
fn users_go_from_addresses() {
    for (text, want) in [
        ("https://jane:pw@a.example/x", "https://[removed]@a.example/x"),
        ("redis://:pw@a:6379/0", "redis://[removed]@a:6379/0"),
        (
            "pg://jane@a/1 pg://joe:x@b/2",
            "pg://[removed]@a/1 pg://[removed]@b/2",
        ),
        ("https://jane:p@w@a.example", "https://[removed]@a.example"),
    ] {
        check(text, want);
    }
    check("https://a.example/@x", "https://a.example/@x");
    check("// see @media", "// see @media");
}

#[test]
fn handles_go_where_they_are_meant() {
    for (text, want) in [
        ("@jane_doe", "[removed]"),
        ("@janedoe", "[removed]"),
        ("ask @jane_doe.", "ask [removed]."),
        ("follow @janedoe!", "follow [removed]!"),
        ("(@jane99)", "([removed])"),
        ("on Skype (jane.doe)", "on Skype ([removed])"),
        ("I am jane.doe on skype", "I am [removed] on skype"),
        ("Telegram is jane_d", "Telegram is [removed]"),
        ("signed in as jane", "signed in as [removed]"),
        ("angemeldet als jdoe", "angemeldet als [removed]"),
        ("user jane.doe failed", "user [removed] failed"),
        ("Workspace m25-platform deleted", "Workspace [removed] deleted"),
        ("tenant 'acme-prod' failed", "tenant '[removed]' failed"),
    ] {
        check(text, want);
    }
}

#[test]
fn signs_and_words_that_are_no_handle_stay() {
    for text in [
        "use @media here",
        "the @angular/core package",
        "@2x",
        "a @v2 tag",
        "set @Component on it",
        "@font-face",
        "see the skype.com page",
        "read README.md on Discord",
        "signed in as admin",
        "the workspace step-2 of the project v2-preview",
        "the 'Settings' tab of the project 'Overview' page",
        "users can log in",
    ] {
        check(text, text);
    }
}
