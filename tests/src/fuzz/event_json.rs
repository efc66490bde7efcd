//! The two wire formats, and all processing of their content.

use super::rules::{check_event, plans};
use relay_event::event::{
    ADDRESS_BYTES_MAX, BATCH_EVENTS_MAX, ENGAGEMENT, ENGAGEMENT_MS_MAX, KEY_BYTES_MAX, NAME_CHARS_MAX,
    PROPS_MAX, SCROLL_DEPTH_UNKNOWN, VALUE_BYTES_MAX, Value,
};
use relay_event::{Event, Malformed, wire};

/// The source that contains the sentences of refusals.
const SENTENCES: &str = include_str!("../../../relay/event/src/wire.rs");

/// Parsing a body is total, accepts nothing beyond the limits and quotes nothing when it refuses; an accepted event,
/// scrubbed by any plan, meets the documented limits, does not change when scrubbed again, and passes the guard.
///
/// # Panics
/// If one of these is violated.
pub fn event_json(body: &[u8]) {
    match wire::parse_plausible(body) {
        Ok(event) => check(&event),
        Err(refusal) => check_refusal(&refusal, body),
    }
    match wire::parse_batch(body) {
        Ok(batch) => {
            assert!((1..=BATCH_EVENTS_MAX).contains(&batch.events.len()));
            for event in &batch.events {
                match event {
                    Ok(event) => {
                        assert!(event.id.is_some() && event.site == batch.site);
                        check(event);
                    }
                    Err(refusal) => check_refusal(refusal, body),
                }
            }
        }
        Err(refusal) => check_refusal(&refusal, body),
    }
}

fn check(event: &Event) {
    assert!(!event.name.trim().is_empty() && event.name.chars().count() <= NAME_CHARS_MAX);
    let (bytes, sites) = (event.site.len(), wire::sites(&event.site).len());
    let fits = match event.site.contains(',') {
        true => bytes <= wire::SITES_BYTES_MAX && sites <= wire::SITES_MAX,
        false => (1..=253).contains(&bytes),
    };
    assert!(fits, "{sites} sites in {bytes} bytes");
    assert!(event.url.len() <= ADDRESS_BYTES_MAX);
    let from = event.referrer.as_deref();
    assert!(from.is_none_or(|from| (1..=ADDRESS_BYTES_MAX).contains(&from.len())));
    assert_eq!(event.engagement.is_some(), event.name == ENGAGEMENT);
    if let Some(engagement) = event.engagement {
        let depth = engagement.scroll_depth;
        assert!(engagement.ms <= ENGAGEMENT_MS_MAX && (depth <= 100 || depth == SCROLL_DEPTH_UNKNOWN));
    }
    assert!(event.props.len() <= PROPS_MAX);
    for (i, prop) in event.props.iter().enumerate() {
        assert!(!prop.key.trim().is_empty() && prop.key.len() <= KEY_BYTES_MAX);
        assert!(
            event.props[..i].iter().all(|other| other.key != prop.key),
            "twice: {}",
            prop.key
        );
        match &prop.value {
            Value::Text(text) => assert!(!text.trim().is_empty() && text.len() <= VALUE_BYTES_MAX),
            Value::Decimal(n) => assert!(n.is_finite()),
            Value::Boolean(_) | Value::Integer(_) => {}
        }
    }
    for plan in plans() {
        check_event(event, plan);
    }
}

/// A refusal names the position, or one of our own sentences; it contains nothing from the body.
fn check_refusal(refusal: &Malformed, body: &[u8]) {
    let text = refusal.to_string();
    match refusal {
        Malformed::Json { line, column } => {
            let lines = body.iter().filter(|b| **b == b'\n').count() + 1;
            assert!(*line <= lines && *column <= body.len() + 1, "{text}");
            let want =
                format!("the body is not the JSON that this route accepts, see line {line}, column {column}");
            assert_eq!(text, want);
        }
        Malformed::Field { field, rule } => {
            let ours = |literal: &str| SENTENCES.contains(&format!("\"{literal}\""));
            assert!(ours(field) && ours(rule), "a refusal quotes the body: {text}");
            assert_eq!(text, format!("`{field}` {rule}"));
        }
        Malformed::BatchSize => assert_eq!(text, "a batch must hold 1 to 100 events"),
    }
}
