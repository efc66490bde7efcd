//! The words around names. All tables are in lower case.

use crate::words::Words;

/// Particles between the words of a name.
#[rustfmt::skip]
pub(super) const PARTICLES: Words = Words::new(&[
    "al", "bin", "da", "dal", "de", "del", "della", "den", "der", "di", "do", "dos", "du", "el", "la", "le",
    "ten", "ter", "van", "von", "zu", "zum", "zur",
]);

/// Capitalised words at the position of a name that are not names.
#[rustfmt::skip]
pub(super) const NOT_NAMES: Words = Words::new(&[
    "a", "admin", "admins", "again", "all", "alle", "also", "am", "an", "analyst", "and", "any", "anyone",
    "api", "architect", "are", "as", "at", "aws", "azure", "beste", "block", "both", "building", "but", "can",
    "colleague", "colleagues", "community", "consultant", "could", "customer", "customers", "damen", "das",
    "day", "dear", "der", "developer", "developers", "die", "director", "do", "docs", "done", "dr", "ein",
    "eine", "engineer", "error", "everybody", "everyone", "excited", "feature", "firstname", "folks", "for",
    "frau", "friend", "friends", "from", "gcp", "glad", "great", "guys", "happy", "have", "he", "head",
    "hello", "help", "her", "here", "herr", "hi", "how", "i", "id", "if", "ihr", "in", "is", "issue", "it",
    "its", "kind", "kolleg", "kollege", "kollegen", "kunde", "kunden", "ladies", "landing", "lastname",
    "lead", "madam", "manager", "many", "me", "member", "meshstack", "miss", "mr", "mrs", "ms", "my", "name",
    "new", "next", "no", "not", "nothing", "null", "of", "ok", "on", "one", "operator", "or", "our", "owner",
    "partner", "platform", "please", "product", "prof", "reader", "ready", "regards", "release", "request",
    "required", "same", "she", "sie", "sir", "so", "some", "someone", "sorry", "still", "stuck", "student",
    "support", "sure", "tag", "team", "teams", "test", "tester", "thank", "thanks", "that", "the", "there",
    "they", "this", "ticket", "to", "today", "together", "too", "true", "undefined", "unknown", "user",
    "users", "version", "very", "was", "we", "weekend", "welcome", "what", "when", "why", "will", "wir",
    "with", "workspace", "world", "yes", "you", "your", "zone", "zusammen",
]);

/// Labels before a name that are greetings.
#[rustfmt::skip]
pub(super) const GREETINGS: Words = Words::new(&[
    "bonjour", "buongiorno", "cara", "caro", "cher", "chère", "ciao", "dear", "geehrte", "geehrter",
    "guten tag", "hallo", "hello", "hey", "hi", "hola", "liebe", "lieber", "moin", "olá", "querida",
    "querido", "sayın", "servus", "szanowna", "szanowny",
]);

/// Titles.
#[rustfmt::skip]
pub(super) const TITLES: Words = Words::new(&[
    "dott", "dr", "frau", "herr", "herrn", "madame", "mevrouw", "mme", "monsieur", "mr", "mrs", "ms", "mx",
    "pani", "prof", "señor", "señora", "signor", "signora", "signore", "sr", "sra",
]);

/// Beginnings of an introduction: a name follows certainly, or possibly.
#[rustfmt::skip]
pub(super) const INTRODUCTIONS: Words = Words::new(&[
    "adım", "ich heiße", "je m appelle", "me llamo", "mein name ist", "meu nome é", "mi chiamo",
    "mi nombre es", "mijn naam is", "mon nom est", "my name is", "my name s", "nazywam się",
]);

#[rustfmt::skip]
pub(super) const INTRODUCTIONS_PERHAPS: Words = Words::new(&[
    "i am", "i m", "ich bin", "it is", "it s", "this is",
]);

/// Farewells, followed by a name in the same line or below.
#[rustfmt::skip]
pub(super) const FAREWELLS: Words = Words::new(&[
    "affectionately", "all the best", "atentamente", "best", "best regards", "best wishes", "cheers",
    "cordialement", "danke", "groet", "groeten", "gruessen", "gruss", "gruß", "grüsse", "grüße", "grüßen",
    "have a", "kind regards", "lg", "love", "merci", "mfg", "obrigado", "pozdrawiam", "regards",
    "respectfully", "saludos", "saluti", "saygılarımla", "schönen tag", "sincerely", "take care",
    "teşekkürler", "thank you", "thanks", "thx", "vg", "warmly", "yours",
]);

/// Farewells that a name may follow without a comma.
#[rustfmt::skip]
pub(super) const THANKS: &[&str] = &["danke", "merci", "thank you", "thanks", "thx"];

/// Words before "name" that make it a person's.
#[rustfmt::skip]
pub(super) const OWNERS: Words = Words::new(&[
    "and", "contact", "customer", "full", "my", "person", "real", "und", "user", "your",
]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_in_lower_case() {
        let tables = [
            PARTICLES,
            NOT_NAMES,
            GREETINGS,
            TITLES,
            INTRODUCTIONS,
            INTRODUCTIONS_PERHAPS,
            FAREWELLS,
            OWNERS,
        ];
        for words in tables {
            assert!(words.iter().all(|word| word == word.to_lowercase()), "{words:?}");
        }
    }
}
