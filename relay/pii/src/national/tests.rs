use super::*;
use proptest::prelude::*;

/// The texts of this scanner's findings.
fn found(text: &str) -> Vec<String> {
    let view = View::new(text);
    let mut found = Found::default();
    find(&view, &mut found);
    let piece = |finding: crate::Finding| view.text()[finding.range].to_owned();
    found.0.into_iter().map(piece).collect()
}

/// Checks which pieces of a text are found, separated by `|`.
fn check(text: &str, want_redacted: &str) {
    assert_eq!(found(text).join("|"), want_redacted, "{text:?}");
}

/// A label, a number with valid check digits, the same with a wrong one.
const CHECKED: &[(&str, &str, &str)] = &[
    ("Steuer-ID", "19454407321", "19454407320"),
    ("Steuer-IdNr.", "19 454 407 321", "19 454 407 320"),
    ("RVNR", "15070649C103", "15070649C100"),
    ("KVNR", "A000500015", "A000500010"),
    ("SVNR", "9548131090", "9548131091"),
    ("SV-Nummer", "9548 131090", "9548 131091"),
    ("AHV", "7564393423530", "7564393423531"),
    ("AHV", "756.4393.4235.30", "756.4393.4235.31"),
    ("UID-Nr.", "CHE-890.094.752", "CHE-890.094.750"),
    ("BSN", "788 548 001", "788 548 002"),
    ("rijksregisternummer", "43100623078", "43100623071"),
    ("rijksregisternummer", "43.10.06-230.78", "43.10.06-230.70"),
    ("sécurité sociale", "145032302699553", "145032302699550"),
    (
        "sécurité sociale",
        "1 45 03 23 026 995 53",
        "1 45 03 23 026 995 50",
    ),
    ("SIREN", "482 578 358", "482 578 350"),
    ("SIRET", "37594120063820", "37594120063821"),
    ("SIRET", "375 941 200 63820", "375 941 200 63821"),
    ("DNI", "92425753T", "92425753A"),
    ("DNI", "92.425.753-T", "92.425.753-A"),
    ("PESEL", "13482922542", "13482922540"),
    ("NIP", "321-506-66-26", "321-506-66-20"),
    ("personnummer", "7006055052", "7006055051"),
    ("personnummer", "19700605-5052", "19700605-5050"),
    ("orgnummer", "556703-7485", "556703-7480"),
    ("hetu", "060907A1005", "060907A1000"),
    ("Y-tunnus", "7823570-7", "7823570-0"),
    ("fødselsnummer", "160105 62906", "160105 62900"),
    ("contribuinte", "691 814 945", "691 814 940"),
    ("cartão de cidadão", "88152939 1 SZ9", "88152939 1 SZ0"),
    ("CNP", "7841121301571", "7841121301570"),
    ("ЕГН", "9212189234", "9212189230"),
    ("TC Kimlik No", "76763460122", "76763460120"),
    ("NHS number", "943 476 5919", "943 476 5910"),
    ("NHS number", "401 023 2137", "401 023 2130"),
    ("PPS number", "0918991M", "0918991B"),
    ("AMKA", "03118992399", "03118992390"),
    ("OIB", "83862677427", "83862677420"),
    ("isikukood", "65307142828", "65307142820"),
    ("personas kods", "070560-64655", "070560-64650"),
    ("TFN", "399 774 290", "399 774 292"),
    ("ABN", "28 074 631 989", "28 074 631 980"),
    ("ACN", "640 133 928", "640 133 920"),
    ("Aadhaar", "283164418923", "283164418920"),
    ("Aadhaar", "2831 6441 8923", "2831 6441 8921"),
    ("UEN", "22644351E", "22644351A"),
    ("เลขที่ national id", "1-0721-65527-37-4", "1-0721-65527-37-0"),
    ("身份证", "110101201401105646", "110101201401105640"),
    ("CPF", "526.308.686-56", "526.308.686-50"),
    ("CNPJ", "18.716.931/0001-56", "18.716.931/0001-50"),
    ("CUIT", "20-72053176-4", "20-72053176-0"),
    ("RUT", "87.166.543-5", "87.166.543-0"),
    ("HKID", "A123456(3)", "A123456(0)"),
    ("ИНН", "690008323310", "690008323311"),
    ("СНИЛС", "112-233-445 95", "112-233-445 90"),
    ("JMBG", "0505971504158", "0505971504150"),
    ("Personalausweis", "L01X00T44", "L01X00T45"),
    ("partita IVA", "00743110157", "00743110158"),
    ("rodné číslo", "710319/2745", "710319/2746"),
    ("hetu", "131052-308T", "131052-308U"),
    ("NPI", "1234567893", "1234567890"),
    ("Medicare", "2123 45670 1", "2123 45671 1"),
    ("Thai ID number", "5972165527379", "5972165527370"),
];

#[test]
fn a_check_digit_distinguishes_a_number_from_any_other() {
    for (label, right, wrong) in CHECKED {
        check(right, right);
        check(&format!("the number is {right}, ok?"), right);
        check(wrong, "");
        check(&format!("the number is {wrong}, ok?"), "");
        check(&format!("{label}: {wrong}."), wrong);
    }
}

/// Numbers with an unambiguous shape, whatever their check digits.
const SHAPES: &[&str] = &[
    "DE123456789",
    "DE 136-695.976",
    "ATU12345678",
    "NL123456789B01",
    "FRXX123456789",
    "PL 123 456 78 90",
    "HRB 1",
    "hrb 12345",
    "HRA123456",
    "T22000129",
    "AB 12 34 56 C",
    "AB123456C",
    "ab123456c",
    "11 A 12345",
    "MORGA657054SM9IJ",
    "MORGA 753 116 SM91J 01",
    "RSSMRA85T10A562S",
    "rssmra85t10a562s",
    "078-05-1123",
    "078.05.1123",
    "078 05 1123",
    "078051123",
    "078-051123",
    "07805-1123",
    "1EG4-TE5-MK73",
    "ABCPD1234Z",
    "27ABCPD1234F1Z5",
    "ABC1234567",
    "960121-1234567",
    "9601211234567",
    "S1234567A",
    "T16RF0037C",
    "M123A4567",
    "HEGG560427MVZRRL04",
    "000-123-456-000",
    "104-86-56650",
    "3171542704925826",
    "900101-14-5678",
    "42101-1234567-9",
    "12/345/67890",
    "123/456/78901",
];

#[test]
fn a_shape_that_nothing_else_has_is_enough() {
    for number in SHAPES {
        check(number, number);
        check(&format!("This {number} is one."), number);
        check(&format!("/w/{number}/edit"), number);
    }
}

#[test]
fn a_label_needs_no_check_digit() {
    for (text, number) in [
        ("my passport number is T3569075", "T3569075"),
        ("AAA123456 es mi número de pasaporte", "AAA123456"),
        ("Passports: AB1234567 and XY9876543", "AB1234567|XY9876543"),
        ("대한민국 여권 S87654321", "S87654321"),
        ("여권번호는 M789B1234입니다", "M789B1234"),
        ("Führerschein B072RRE2I55", "B072RRE2I55"),
        ("Driver\u{2019}s licence: D123-4567-8901", "D123-4567-8901"),
        ("SSN123456789", "123456789"),
        ("{\"taxId\": 123456789}", "123456789"),
        ("EIN number 12-3456789", "12-3456789"),
        ("ID: 1234567", "1234567"),
        ("id is 1234567", "1234567"),
        ("license U1K711J11M here", "U1K711J11M"),
        ("BSNR 711234567 der Praxis.", "711234567"),
        ("ssn 1700000000", "1700000000"),
        ("code is030594W903B", "030594W903B"),
    ] {
        check(text, number);
    }
}

/// Look-alikes.
const OTHERS: &[&str] = &[
    "Ratio 1:2:3:4",
    "Version 1.2.3",
    "Version 10.15.7 (19H2)",
    "D3",
    "H1",
    "logo@2x.png",
    "hosted-eu-20260812-09",
    "2024-01-15 12",
    "INTRODUCTORY",
    "Ausweis 2.0 Funktion",
    "Building Block 12345",
    "workspace id: 12345",
    "1234567",
    "12345678",
    "1700000000",
    "1700000000000",
    "0.123456789",
    "1,234,567,893",
    "1 234 567",
    "12.345.678",
    "10.0.19045.4170",
    "2026-08-12T10:30:45.123456789Z",
    "20260812T103045Z",
    "20260812103045",
    "PROJ-123456",
    "KB5034441",
    "CVE-2024-12345",
    "SM-G998B",
    "RFC 7231",
    "1 2 3 4 5 6 7 8 9 10 11 12",
    "1-2-3-4-5-6-7-8-9",
    "MIT license 2024",
    "license 12345 seats",
    "passport-saml 3.2.1",
    "VAT 20% of 1200.50",
    "Umsatzsteuer 19 % auf 1200",
    "1920 1080 768",
    "NO 12345",
    "HRB",
    "SI20260812",
    "666-12-3456",
    "000-12-3456",
    "123-00-4567",
    "123-45-0000",
    "11111111",
    "sie haben nie 12345 Nutzer",
    "Reisepass gültig bis 01.01.2030",
    "authorised 12345678 times",
    "pan and zoom 123456",
    "abnormal 12345678",
];

#[test]
fn what_only_looks_like_a_number_stays() {
    for text in OTHERS {
        check(text, "");
    }
}

#[test]
fn most_integers_stay() {
    for len in 5..20u32 {
        let from = 10u64.pow(len - 1);
        let taken = (0..1000u64)
            .map(|step| from + 9 * (from / 1000) * step + step * 7919 % (from / 1000))
            .filter(|n| !found(&n.to_string()).is_empty())
            .count();
        // Below nine digits a check digit alone never counts; from nine, about a quarter of random numbers pass.
        assert!(
            taken <= if len < 9 { 0 } else { 290 },
            "{taken} of 1000 with {len} digits"
        );
    }
}

proptest! {
    #[test]
    fn any_text_is_read(text in any::<String>()) {
        found(&text);
    }

    #[test]
    fn any_mix_of_groups_is_read(text in "([0-9A-Za-zé]{0,7}[ ./:_+(-]{0,2}|SSN:? |HRB ?|DE ?){0,12}") {
        found(&text);
    }
}
