use super::*;

/// Keys by the kind they reveal. Each line also has look-alikes, which reveal none.
const SAID: &[(Kind, &str)] = &[
    (
        Kind::Email,
        "email e-mail E_MAIL eMail userEmail user_email useremail email2 emailAddress emailadresse email_hash mail contact.mail \
         customer[email] work_email oldEmail email_confirm ｅｍａｉｌ",
    ),
    (
        Kind::Phone,
        "phone phoneNumber phone_number tel telefon Telefonnummer mobil fax faxNummer mobilePhone cell-phone work_phone",
    ),
    (
        Kind::Person,
        "name firstName first_name firstname lastname LASTNAME fullName full-name familyName vorname nachname Nachname displayName \
         address anschrift Adresse billing_address shippingAddress kontakt Ansprechpartner createdBy created_by erstellt_von owner \
         my_name assignee recipient",
    ),
    (
        Kind::User,
        "user username user_name userName userId user_id uid UID login benutzer Benutzername customer customerId customer_name kunde \
         kundennummer Kunden-Nr tenant tenantId tenant_identifier workspace workspaceIdentifier workspace_id project projectId \
         awsAccountId account account_number subscription_id gcp_project_id currentUser selected_workspace meshProject \
         meshworkspaceidentifier client_id author_name memberId euid handle github",
    ),
    (
        Kind::Secret,
        "password passwd pwd Passwort kennwort secret the_secret client_secret clientSecret token access_token accessToken \
         token_foobar a_password_here api_key apiKey APIKey apikey x-api-key private_key secretKey accountKey auth authorization \
         Authorization bearer credential credentials session sessionId session_id sid cookie csrf csrfToken otp pin jwt refreshToken \
         cvv zugangsdaten api_schlüssel verification_code set-cookie",
    ),
    (
        Kind::Ip,
        "ip ipAddr ip_address ipAddress clientIp remote_ip hostname",
    ),
    (
        Kind::Place,
        "lat lng latitude Longitude geo coords zip zipCode zip_code postcode PLZ postleitzahl street straße Strasse",
    ),
    (
        Kind::Birth,
        "dob birthday birth_date dateOfBirth date_of_birth geburtsdatum Geburtstag birthYear",
    ),
    (Kind::Iban, "iban IBAN userIban bic"),
    (
        Kind::Card,
        "card cardNumber credit_card creditCardNumber kreditkarte",
    ),
    (
        Kind::NationalId,
        "ssn taxId tax_number steuernummer steuer_id passportNumber national_id driver_license_number",
    ),
    (
        Kind::CompanyId,
        "company company_name organizationId org_id vat_id firma firmenname",
    ),
    (
        Kind::Device,
        "deviceId device_id imei mac serial_number seriennummer advertisingId",
    ),
    (Kind::Token, "uuid guid"),
];

/// Keys that reveal no kind.
const SILENT: &str = "id key code count plan title tab page status state type theme version language author authors authority \
    authentication tokenizer tokens maxTokens compass passed passing pinned pinboard rename nameless surnames_total mailing \
    mailbox mailbox_count file_name fileName feature_name page_name event_name route_name browser_name product_name \
    user_count userCount users usersTotal tenant_count num_projects has_email hasPhone email_enabled is_admin isUser \
    user_role user_type account_type session_count session_duration project_type token_count token_type password_reset \
    password_strength show_password email_verified ip_version address_type card_type workspace_tab workspaces projects \
    count_users total_accounts sort_by group_by order_by sort_key error_code country_code description duration rating note \
    comment search query filter platform client team hosting hosted shipping tip ship valid android projection userland \
    customers_visible tenantsPage locale region category browser os screen device activity";

#[test]
fn a_key_says_what_its_value_is() {
    let rows = SAID
        .iter()
        .flat_map(|(kind, keys)| keys.split_whitespace().map(|key| (key, Some(*kind))));
    let wrong: Vec<_> = rows
        .map(|(key, want)| (key, want, kind_of_key(key)))
        .filter(|(_, want, got)| want != got)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_key_that_only_looks_like_one_says_nothing() {
    let wrong: Vec<_> = SILENT
        .split_whitespace()
        .filter(|key| kind_of_key(key).is_some())
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn any_key_is_read() {
    for key in [
        "",
        "_",
        "--",
        "42",
        "ß",
        "🙂",
        "\u{0}",
        &"a".repeat(100_000),
        &"userId_".repeat(10_000),
        &"ü".repeat(999),
    ] {
        let _ = kind_of_key(key);
    }
    // Of a very long key the end counts.
    assert_eq!(
        kind_of_key(&format!("{}.password", "x".repeat(500))),
        Some(Kind::Secret)
    );
}

/// Checks a text after only the values of keys are removed.
fn check(text: &str, want: &str) {
    let mut found = super::super::Found::default();
    find(&View::new(text), &mut found);
    let found = super::super::settle(text, found.0);
    assert_eq!(super::super::replace(text, &found), want, "{text}");
}

#[test]
fn values_go_as_far_as_their_delimiters() {
    for (text, want) in [
        ("a=1&password=hunter2&b=2", "a=1&password=[removed]&b=2"),
        ("?user=jane;tab=members", "?user=[removed];tab=members"),
        ("api_key = k-1 next", "api_key = [removed] next"),
        (
            r#"{"token":"a b","plan":"pro"}"#,
            r#"{"token":"[removed]","plan":"pro"}"#,
        ),
        (
            r#"{\"token\":\"a b\",\"n\":1}"#,
            r#"{\"token\":\"[removed]\",\"n\":1}"#,
        ),
        (
            r#"{"user_id": 1234, "count": 3}"#,
            r#"{"user_id": [removed], "count": 3}"#,
        ),
        (
            r#"{"emails":["a","b"],"count":3}"#,
            r#"{"emails":[removed],"count":3}"#,
        ),
        (r#"{"name":"J\"D","x":1}"#, r#"{"name":"[removed]","x":1}"#),
        ("{user: 'jane', tab: 'x'}", "{user: '[removed]', tab: 'x'}"),
        ("'password' => 'p w'", "'password' => '[removed]'"),
        (
            "User Id=sa;Password=p$w;Timeout=5",
            "User Id=[removed];Password=[removed];Timeout=5",
        ),
        ("user[email]=foo", "user[email]=[removed]"),
        ("username: foobar, ok", "username: [removed], ok"),
        ("customer: ACME Cloud is new", "customer: [removed] is new"),
        ("Cookie: a=b; c=d\nHost: x", "Cookie: [removed]\nHost: x"),
        (
            r#"password="never closed and"#,
            r#"password="[removed] closed and"#,
        ),
    ] {
        check(text, want);
    }
}

#[test]
fn what_is_no_pair_stays() {
    for text in [
        "user == name",
        "token != null",
        "token=null&password=***",
        "Password: required",
        "Passwort: zurücksetzen",
        "Token lifetime: 30 days",
        "Landing Zone name: default",
        "std::token::name",
        "https://user.example/x",
        "sort=name&tab=users",
        "user_count=5&has_email=true",
        "plan: enterprise",
        "belongs to the session: only the first sets it",
        "name: see below",
        "password=",
        "=:=:=:",
    ] {
        check(text, text);
    }
}
