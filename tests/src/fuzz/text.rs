//! The detectors.

use super::rules::text_of;
use relay_event::shape;
use relay_pii::REMOVED;

/// How often `redact` may search again before it gives up on a text.
const ROUNDS_MAX: usize = 4;

/// Findings consist of whole characters, in order, without overlap. A redacted text is the original with only the
/// findings replaced, or is redacted as a whole. It contains no findings, and redacting it again changes nothing.
///
/// # Panics
/// If one of these is violated.
pub fn text(data: &[u8]) {
    let text = text_of(data);
    let redacted = relay_pii::redact(&text);
    assert!(
        relay_pii::is_clean(&redacted),
        "something is found in {redacted:?}"
    );
    assert_eq!(
        relay_pii::redact(&redacted),
        redacted,
        "another text the second time"
    );
    assert_eq!(redacted, replaced(&text), "more than the findings was changed");
    assert_eq!(
        relay_pii::is_clean(&text),
        text == redacted,
        "clean and changed, or neither"
    );

    let shaped = shape::text(&text);
    assert!(relay_pii::is_clean(&shaped), "something is found in {shaped:?}");
    assert_eq!(shape::text(&shaped), shaped, "another shape the second time");
    let _ = relay_pii::kind_of_key(&text);
}

/// The documented redaction, computed from the findings.
fn replaced(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..ROUNDS_MAX {
        let findings = relay_pii::findings(&text);
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
    if relay_pii::is_clean(&text) {
        text
    } else {
        REMOVED.to_owned()
    }
}
