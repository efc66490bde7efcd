//! The words of keys, and the role of each.

use crate::Kind;
use std::sync::LazyLock;

/// The role of a word in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Names the value at any position: `password`, as in `a_password_here`.
    Open(Kind),
    /// Names the value if alone, at the end, or before a qualifier: `email`, `user_email`, `email_2`.
    Thing(Kind),
    /// A customer's person or thing, which the value identifies: `workspace`, `workspace_id`.
    Holder(Kind),
    /// The same, but not when alone: `client` has no kind, `client_id` has.
    Party(Kind),
    /// `name`.
    Name,
    /// Qualifies a name: `first`, `family`.
    Given,
    /// `id`, `number` and similar.
    Ident,
    /// `key`.
    Key,
    /// `code`.
    Code,
    /// The thing that a secret key or code opens: `api`, `access`.
    Opener,
    /// An action before `by`: `created`.
    Done,
    /// `by`.
    By,
    /// Selects one of several, before or after: `current`, `old`.
    Modifier,
    /// The form of the value, after the thing: `hash`, `value`.
    Qualifier,
    /// At the start: the value is a boolean or a count.
    Flag,
    /// At the start or at the end: the value is a count.
    Count,
    /// At the end: the value is a count, a type or a duration.
    Measure,
    /// Anything else.
    Unknown,
}

/// The role of a lower-case word.
pub(super) fn part(word: &str) -> Option<Part> {
    beginnings(word)
        .find(|(known, _)| *known == word)
        .map(|(_, part)| part)
}

/// The known words that begin a word, the longest first.
pub(super) fn beginnings(word: &str) -> impl Iterator<Item = (&'static str, Part)> {
    let initial = word
        .bytes()
        .next()
        .map_or(0, |b| usize::from(b.wrapping_sub(b'a')));
    let bucket: &'static [(&str, Part)] = BUCKETS.get(initial).map_or(&[], Vec::as_slice);
    bucket
        .iter()
        .rev()
        .filter(|(known, _)| word.starts_with(known))
        .copied()
}

/// Every word with its role, by its first letter, sorted. Built when the first key is read.
static BUCKETS: LazyLock<[Vec<(&'static str, Part)>; 26]> = LazyLock::new(|| {
    let mut buckets = [const { Vec::new() }; 26];
    for (part, words) in PARTS {
        for word in words.split(' ') {
            let initial = word.bytes().next().map(|b| usize::from(b.wrapping_sub(b'a')));
            if let Some(bucket) = initial.and_then(|i| buckets.get_mut(i)) {
                bucket.push((word, *part));
            }
        }
    }
    for bucket in &mut buckets {
        bucket.sort_unstable_by_key(|(word, _)| *word);
    }
    buckets
});

/// Words by their role. No word is in two lists.
const PARTS: &[(Part, &str)] = &[
    (
        Part::Open(Kind::Secret),
        "accesstoken apikey pw bearer credential credentials jwt kennwoerter kennwort oauthtoken otp \
        passcode passphrase passwd passwoerter password passwords passwort pwd secret token totp \
        zugangsdaten",
    ),
    (
        Part::Thing(Kind::Secret),
        "auth authorization cookie cookies csrf cvc cvv geheimnis jsessionid mfa pass pin pkce sas \
        session sessionid sid sig signature tan webhook xsrf",
    ),
    (
        Part::Thing(Kind::Email),
        "email emailadresse emails mail mailadresse mailto upn",
    ),
    (
        Part::Thing(Kind::Phone),
        "cellphone durchwahl fax faxnummer festnetz handy handynummer mobil mobile mobilfunk msisdn \
        phone phones rufnummer tel telefon telefonnummer telephone",
    ),
    (
        Part::Thing(Kind::Ip),
        "fqdn host hostname ip ipaddr ipaddress ips ipv rechnername",
    ),
    (
        Part::Thing(Kind::Person),
        "addr address addresses adr adresse anschrift ansprechpartner approver assignee bearbeiter \
        cardholder creator empfaenger absender besitzer empfaengerin holder invitee inviter lieferadresse rechnungsadresse supervisor teilnehmer vorgesetzter familienname firstname forename fullname inhaber kontakt \
        kontaktperson lastname nachname owner person recipient requester reviewer sender surname \
        vorname",
    ),
    (
        Part::Thing(Kind::Place),
        "coordinates coords city geburtsort geo geolocation gps hausnummer koordinaten lat latitude latlng \
        lng lon longitude plz postal postcode postleitzahl str strasse street wohnort zip zipcode",
    ),
    (
        Part::Thing(Kind::User),
        "benutzer euid facebook github anmeldename nutzer nutzername usr handle instagram kennung linkedin login nickname principal \
        screenname skype telegram twitter uid userid username whatsapp",
    ),
    (Part::Thing(Kind::Iban), "bankverbindung bic iban swift"),
    (
        Part::Thing(Kind::Card),
        "card creditcard kreditkarte kreditkarten pan",
    ),
    (
        Part::Thing(Kind::NationalId),
        "aadhaar ausweis bsn fuehrerschein nhs nino passport personalausweis personnummer pesel \
        reisepass sozialversicherungsnummer ssn steuerid steuernummer svnr",
    ),
    (
        Part::Thing(Kind::CompanyId),
        "company employer firma handelsregister org organisation organization unternehmen vat",
    ),
    (
        Part::Thing(Kind::Device),
        "aaid deviceid fingerprint gaid idfa idfv imei imsi mac seriennummer udid",
    ),
    (Part::Thing(Kind::Plate), "kennzeichen plate vin"),
    (Part::Thing(Kind::Wallet), "wallet"),
    (Part::Thing(Kind::Token), "guid uuid"),
    (
        Part::Open(Kind::Birth),
        "birth birthdate birthday born dob geburts geburtsdatum geburtstag",
    ),
    (
        Part::Holder(Kind::User),
        "account customer kunde kunden mandant mandanten mitarbeiter kundin mitarbeiterin project projekt tenant user \
        workspace",
    ),
    (
        Part::Party(Kind::User),
        "admin anonymous author client contract distinct employee group guest instance invoice konto \
        lead manager member mitglieds order partner patient personal platform profile student \
        subscriber subscription team vertrags visitor",
    ),
    (
        Part::Party(Kind::CompanyId),
        "business firmen handels umsatzsteuer ust",
    ),
    (
        Part::Party(Kind::NationalId),
        "driver health identity insurance licence license national sozialversicherungs steuer tax \
        versicherungs",
    ),
    (
        Part::Party(Kind::Device),
        "advertising device geraete hardware installation machine serial serien",
    ),
    (Part::Party(Kind::Iban), "bank routing"),
    (Part::Name, "name namen names"),
    (
        Part::Given,
        "display family first full given last legal maiden middle nach nick real sur vor",
    ),
    (
        Part::Ident,
        "id identifier identifikator ids kennziffer no nr num number nummer ref reference slug title",
    ),
    (Part::Key, "key keys schluessel"),
    (Part::Code, "code"),
    (
        Part::Opener,
        "access activation api encryption function master private recovery security shared signing ssh \
        storage verification zugangs",
    ),
    (
        Part::Done,
        "approved assigned created signed deleted erstellt geaendert invited modified owned reported requested \
        submitted updated",
    ),
    (Part::By, "by durch von"),
    (
        Part::Modifier,
        "active aktueller current from her his home main mesh my new old original parent previous \
        primary secondary selected source target to work",
    ),
    (
        Part::Qualifier,
        "confirm confirmation encoded encrypted hash hashed input line md plain raw sha string text \
        value",
    ),
    (
        Part::Flag,
        "allow can disable enable has hat hide is ist needs requires should show skip use with without",
    ),
    (Part::Count, "anzahl avg count counts max min sum total"),
    (
        Part::Measure,
        "action age budget button category changed clicked column component days dialog \
        disabled duration enabled error event expired expires expiry field file filter flow format \
        hours index kind lang language len length level limit list locale menu method minutes missing \
        mode ms opened page percent plan policy position present provider quota rate rating ratio \
        reason region required reset role roles rolle score screen seconds section sent set size sort \
        state status step strength supported tab theme tier timeout ttl typ type types usage used \
        valid verified version view visible",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_has_two_parts() {
        for pair in BUCKETS.iter().flat_map(|bucket| bucket.windows(2)) {
            assert!(pair[0].0 != pair[1].0, "{} twice", pair[0].0);
        }
        for word in PARTS.iter().flat_map(|(_, words)| words.split(' ')) {
            assert!(
                word.len() > 1 && word.bytes().all(|b| b.is_ascii_lowercase()),
                "{word}"
            );
        }
    }
}
