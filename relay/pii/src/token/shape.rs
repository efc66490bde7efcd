//! The forms that distinguish a token from a word.

/// Shortest hexadecimal token. Shorter ones are colours, counters and abbreviated commits.
const HEX_MIN: usize = 16;
/// Shortest token of mixed letters and digits.
const MIXED_MIN: usize = 16;

/// A UUID: 36 characters with dashes in fixed positions.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// Hexadecimal digits, too many for a word or a colour. Letters must be among them: other scanners cover long numbers.
pub(super) fn is_hex(text: &str) -> bool {
    let (mut digits, mut letters) = (0_usize, 0_usize);
    for b in text.bytes() {
        match b {
            b'0'..=b'9' => digits += 1,
            b'a'..=b'f' | b'A'..=b'F' => letters += 1,
            _ => return false,
        }
    }
    text.len() >= HEX_MIN && letters > 0 && digits > 0
        || (text.len() == 32 || text.len() == 24) && letters > 0
}

/// A ULID: 26 characters of Crockford's alphabet, beginning with a time before the year 10889.
pub(super) fn is_ulid(text: &str) -> bool {
    let letters =
        |b: u8| b.is_ascii_alphanumeric() && !matches!(b.to_ascii_uppercase(), b'I' | b'L' | b'O' | b'U');
    text.len() == 26
        && matches!(text.as_bytes().first(), Some(b'0'..=b'7'))
        && text.bytes().all(letters)
        && text.bytes().any(|b| b.is_ascii_alphabetic())
}

/// How the characters of a token change from one class to another.
#[derive(Default)]
struct Changes {
    letters: usize,
    digits: usize,
    /// Groups of digits.
    numbers: usize,
    /// Changes from lower case to capitals.
    humps: usize,
    /// Whether it has both lower case and capitals.
    cases: bool,
}

fn changes(text: &str) -> Changes {
    let mut seen = Changes::default();
    let (mut upper, mut lower) = (false, false);
    let mut last = b'_';
    for b in text.bytes() {
        match b {
            b'0'..=b'9' => {
                seen.digits += 1;
                seen.numbers += usize::from(!last.is_ascii_digit());
            }
            b'A'..=b'Z' => {
                upper = true;
                seen.letters += 1;
                seen.humps += usize::from(last.is_ascii_lowercase());
            }
            _ => {
                lower = true;
                seen.letters += usize::from(b.is_ascii_alphabetic());
            }
        }
        last = b;
    }
    seen.cases = upper && lower;
    seen
}

/// Whether letters and digits mix unlike in any word. Used after a prefix or a label.
pub(super) fn is_mixed(text: &str) -> bool {
    let seen = changes(text);
    let small = seen.letters > 0 && seen.digits > 0 && (seen.numbers >= 2 || seen.cases);
    small && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Whether a long run of letters and digits is machine-generated: it has digits in three places, or in fewer if its
/// case changes often, or capitals in positions that no word has.
pub(crate) fn is_random(text: &str) -> bool {
    if text.len() < MIXED_MIN || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return false;
    }
    let seen = changes(text);
    let scattered = seen.digits >= 2
        && seen.letters >= 2
        && (seen.numbers >= 3 || (seen.numbers == 2 && seen.cases && seen.humps >= 2));
    let once = seen.numbers == 1 && seen.letters >= 4 && seen.digits >= 2 && seen.humps * 4 >= seen.letters;
    // "getUserNameById" has a capital every fourth letter, a random token every second.
    let jumping = text.len() >= 20 && seen.digits == 0 && seen.humps * 5 >= text.len();
    scattered || once || jumping
}

/// Whether a run of pieces is machine-generated: `A1B2C-D3E4F-G5H6I`, or base64 for URLs, in which dashes and
/// underscores occur anywhere. Pieces such as `v2`, `20260812` and `k8s` are words.
pub(super) fn is_pieced(text: &str) -> bool {
    if text.len() < MIXED_MIN {
        return false;
    }
    let (mut mixed, mut bytes) = (0, 0);
    for piece in text.split(['-', '_']).filter(|piece| piece.len() >= 4) {
        let seen = changes(piece);
        // "getUserById2" and "meshStack2024" are words: few capitals, and digits only at the end.
        let dense = seen.cases && seen.humps * 4 >= seen.letters;
        let inside = !piece.ends_with(|c: char| c.is_ascii_digit());
        let machine =
            seen.digits > 0 && seen.letters > 1 && (seen.numbers >= 2 || (inside && (dense || leads(piece))));
        if machine {
            mixed += 1;
            bytes += piece.len();
        }
    }
    mixed >= 3 || (mixed >= 1 && bytes >= 12) || (mixed == 2 && bytes * 2 > text.len())
}

/// Whether a piece starts with a digit.
fn leads(piece: &str) -> bool {
    piece.starts_with(|c: char| c.is_ascii_digit())
}
