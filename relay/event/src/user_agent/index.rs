//! A list of words, indexed by one letter: for every event, some twenty words of a User-Agent are looked up in three
//! lists.

/// The letter by which a word is indexed.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum By {
    First,
    Last,
}

/// A list of words, with the places of those that share a letter.
pub(super) struct Index<const N: usize> {
    words: [&'static str; N],
    /// Places in `words`, grouped by letter.
    places: [usize; N],
    /// Start of each letter's group in `places`; the next group's start is its end.
    starts: [usize; 257],
    by: By,
}

impl<const N: usize> Index<N> {
    /// Built at compile time, where an empty word is an error.
    pub(super) const fn new(words: [&'static str; N], by: By) -> Self {
        let mut places = [0; N];
        let mut starts = [0; 257];
        let mut filled = 0;
        let mut letter = 0;
        while letter < 256 {
            starts[letter] = filled;
            let mut place = 0;
            while place < N {
                let word = words[place].as_bytes();
                let at = match by {
                    By::First => 0,
                    By::Last => word.len() - 1,
                };
                if word[at] as usize == letter {
                    places[filled] = place;
                    filled += 1;
                }
                place += 1;
            }
            letter += 1;
        }
        starts[256] = filled;
        Self {
            words,
            places,
            starts,
            by,
        }
    }

    /// The index of a word in the list.
    pub(super) fn place(&self, word: &[u8]) -> Option<usize> {
        self.find(word, |known| known == word)
    }

    /// Whether a word ends with one in the list.
    pub(super) fn has_ending_of(&self, word: &[u8]) -> bool {
        self.find(word, |known| word.ends_with(known)).is_some()
    }

    fn find(&self, word: &[u8], is_it: impl Fn(&[u8]) -> bool) -> Option<usize> {
        let letter = usize::from(match self.by {
            By::First => *word.first()?,
            By::Last => *word.last()?,
        });
        self.places[self.starts[letter]..self.starts[letter + 1]]
            .iter()
            .copied()
            .find(|place| is_it(self.words[*place].as_bytes()))
    }
}
