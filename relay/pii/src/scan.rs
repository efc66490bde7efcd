//! Reads bytes around an offset. Beyond the ends of a text there is nothing, so no offset is an
//! error.

use std::ops::Range;

/// The bytes from an offset on.
pub(super) fn after(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at..).unwrap_or_default()
}

/// The byte before an offset.
pub(super) fn before(bytes: &[u8], at: usize) -> Option<u8> {
    at.checked_sub(1).and_then(|at| bytes.get(at)).copied()
}

/// How many bytes from an offset on satisfy a test.
pub(super) fn run(bytes: &[u8], at: usize, is: impl Fn(&u8) -> bool) -> usize {
    run_up_to(usize::MAX, bytes, at, is)
}

/// The same for at most so many bytes, so that a search which begins at many offsets stays linear.
pub(super) fn run_up_to(most: usize, bytes: &[u8], at: usize, is: impl Fn(&u8) -> bool) -> usize {
    after(bytes, at).iter().take(most).take_while(|b| is(b)).count()
}

/// How many bytes before an offset, at most so many, satisfy a test.
pub(super) fn run_back(most: usize, bytes: &[u8], at: usize, is: impl Fn(&u8) -> bool) -> usize {
    let head = bytes.get(..at).unwrap_or_default();
    head.iter().rev().take(most).take_while(|b| is(b)).count()
}

/// The longest runs of bytes that satisfy a test, from left to right.
pub(super) fn runs(bytes: &[u8], is: impl Fn(&u8) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += after(bytes, at).iter().position(&is)?;
        // Its first byte and the one behind it are judged already.
        let range = at..at + 1 + run(bytes, at + 1, &is);
        at = range.end + 1;
        Some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_the_longest_and_stay_within_the_text() {
        let check = |text: &str, want: &[&str]| {
            let runs = runs(text.as_bytes(), u8::is_ascii_digit);
            let got: Vec<_> = runs.map(|run| &text[run]).collect();
            assert_eq!(got, want, "{text}");
        };
        check("", &[]);
        check("ab", &[]);
        check("12", &["12"]);
        check("a12b3", &["12", "3"]);
        assert_eq!(run(b"a12b", 1, u8::is_ascii_digit), 2);
        assert_eq!(run_up_to(1, b"a12b", 1, u8::is_ascii_digit), 1);
        assert_eq!(run_back(9, b"a12b", 3, u8::is_ascii_digit), 2);
        assert_eq!(run(b"12", 7, u8::is_ascii_digit), 0);
        assert_eq!(before(b"12", 0), None);
        assert_eq!(before(b"12", 3), None);
    }
}
