//! Lists of words that detectors look up.

/// Lower-case words in ascending order. The compiler checks both: in a list out of order, the look-up would miss words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words(&'static [&'static str]);

impl Words {
    /// A list, for a constant.
    ///
    /// # Panics
    /// If a word is out of order, listed twice, or has a capital letter of ASCII.
    pub(super) const fn new(words: &'static [&'static str]) -> Self {
        let mut at = 0;
        while at < words.len() {
            assert!(is_lower_case(words[at].as_bytes()), "a word has a capital letter");
            assert!(
                at == 0 || is_less(words[at - 1].as_bytes(), words[at].as_bytes()),
                "the words are not in ascending order"
            );
            at += 1;
        }
        Self(words)
    }

    /// Whether a word in lower case is listed.
    pub(super) fn has(self, lower: &str) -> bool {
        self.0.binary_search(&lower).is_ok()
    }

    /// Whether a word in any case is listed. Capitals beyond ASCII do not match.
    pub(super) fn has_in_any_case(self, word: &str) -> bool {
        self.has(&word.to_ascii_lowercase())
    }

    /// The words.
    pub(super) fn iter(self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied()
    }
}

const fn is_lower_case(word: &[u8]) -> bool {
    let mut at = 0;
    while at < word.len() {
        if word[at].is_ascii_uppercase() {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether one word stands before another, byte by byte as in [`Ord`].
const fn is_less(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() {
        if one[at] != other[at] {
            return one[at] < other[at];
        }
        at += 1;
    }
    one.len() < other.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn each_word_is_found_and_lists_that_would_hide_one_are_refused() {
        const LIST: Words = Words::new(&["activate", "active", "bär", "bären"]);
        for word in LIST.iter() {
            assert!(LIST.has(word), "{word}");
        }
        assert!(LIST.has_in_any_case("Active"));
        assert!(!LIST.has("Active"));
        assert!(!LIST.has("acti"));
        let refused = |words: &'static [&'static str]| catch_unwind(|| Words::new(words)).is_err();
        assert!(refused(&["active", "activate"]));
        assert!(refused(&["bären", "bär"]));
        assert!(refused(&["a", "a"]));
        assert!(refused(&["A"]));
        assert!(!refused(&[]));
    }
}
