//! The detectors.

use super::rules::text_of;
use relay_event::detect::{self, REMOVED};
use relay_event::shape;

/// How often `redact` may look again before it gives a text up.
const ROUNDS_MAX: usize = 4;

/// Findings are whole characters, in order, apart from each other; what is redacted is the text with nothing but the
/// findings replaced, or given up as a whole; nothing is found in it, and redacting it again changes nothing.
///
/// # Panics
/// When one of that is not so.
pub fn text(data: &[u8]) {
    let text = text_of(data);
    let redacted = detect::redact(&text);
    assert!(detect::is_clean(&redacted), "something is found in {redacted:?}");
    assert_eq!(
        detect::redact(&redacted),
        redacted,
        "another text the second time"
    );
    assert_eq!(redacted, replaced(&text), "more than the findings was changed");
    assert_eq!(
        detect::is_clean(&text),
        text == redacted,
        "clean and changed, or neither"
    );

    let shaped = shape::text(&text);
    assert!(detect::is_clean(&shaped), "something is found in {shaped:?}");
    assert_eq!(shape::text(&shaped), shaped, "another shape the second time");
    let _ = detect::key::judge(&text);
}

/// What redaction is said to do, done by its findings.
fn replaced(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..ROUNDS_MAX {
        let findings = detect::findings(&text);
        if findings.is_empty() {
            return text;
        }
        let mut next = String::new();
        let mut at = 0;
        for finding in &findings {
            let range = finding.range.clone();
            assert!(
                range.start < range.end && range.start >= at,
                "findings overlap: {findings:?}"
            );
            // Slicing checks that it begins and ends between characters.
            next.push_str(&text[at..range.start]);
            next.push_str(REMOVED);
            assert!(!text[range.clone()].is_empty());
            at = range.end;
        }
        next.push_str(&text[at..]);
        text = next;
    }
    if detect::is_clean(&text) {
        text
    } else {
        REMOVED.to_owned()
    }
}
