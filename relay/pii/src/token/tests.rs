use super::*;

/// Checks a text after only this module's findings are removed.
fn check(text: &str, want: &str) {
    let mut found = Found::default();
    find(&View::new(text), &mut found);
    let found = super::super::settle(text, found.0);
    assert_eq!(super::super::replace(text, &found), want, "{text}");
}

#[test]
fn tokens_go_as_a_whole() {
    for token in [
        "0b1f6471-1bf0-4dda-aec3-919293949596",
        "0B1F6471-1BF0-4DDA-AEC3-919293949596",
        "0b1f64711bf04ddaaec3919293949596",
        "01HV3Z8J6YQ2K4M6N8P0R2T4W6",
        "65f0c0ffee5eed5badc0de42",
        "9c1185a5c5e9fc54",
        "cus_Nf9rFeUf2V2Hib",
        "acct_1032D82eZvKYlo2C",
        "usr_8f3k2j1h",
        "CUST-00012345",
        "KD-123456",
        "Xk29fLqP0aZm3TnB",
        "A1B2C-D3E4F-G5H6I-J7K8L",
        "q83vEjR9WeJq-zN3u_8a7Bc",
    ] {
        for frame in ["_", "id _ failed", "{_}", "urn:uuid:_", "/x/_/y", "a=_&b"] {
            check(&frame.replace('_', token), &frame.replace('_', "[removed]"));
        }
    }
}

#[test]
fn resources_of_clouds_go_from_their_owner_on() {
    for (text, want) in [
        ("arn:aws:s3:::acme-logs/x", "arn:aws:s3::[removed]"),
        (
            "at arn:aws:iam::111122223333:user/jane ok",
            "at arn:aws:iam::[removed] ok",
        ),
        (
            "/subscriptions/acme/resourceGroups/rg-1?x",
            "/subscriptions/[removed]?x",
        ),
        ("AWS account 111122223333", "AWS account [removed]"),
    ] {
        check(text, want);
    }
}

#[test]
fn words_and_numbers_stay() {
    for text in [
        "azure-kubernetes-service-2",
        "hosted-eu-20260812-09",
        "ResourceUsageReports",
        "meshCustomerUserGroups",
        "getUserNameById2",
        "OAuth2TokenProvider",
        "kubernetes-v1.29.3-alpine3.18",
        "backup_2024-01-15_final_v2.tar.gz",
        "IMG_20240112_123456",
        "building-block-definition-input-source",
        "internationalization",
        "111122223333",
        "12345678901234567890",
        "1700000000000",
        "#ff00aabb",
        "commit 1a2b3c4d",
        "ISO-27001",
        "CVE-2024-12345",
        "RFC-5322",
        "sha256-checksum",
        "deadbeef",
        "2024-01-15T10:11:12",
    ] {
        check(text, text);
    }
}
