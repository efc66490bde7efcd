//! The value of a custom property.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest property value, in bytes: Plausible rejects the whole event over it (contract a.4).
pub const VALUE_BYTES_MAX: usize = 2000;

/// A property's value. Lists, objects and nulls are discarded on input, as in Plausible.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any other finite number.
    Decimal(f64),
    /// Text of at most [`VALUE_BYTES_MAX`] bytes, not blank.
    Text(String),
}

// Content stays out of logs and panic messages.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_names_the_type_and_hides_the_content() {
        let secret = Value::Text("jane@example.com".into());
        assert_eq!(format!("{secret:?}"), "Value(hidden)");
    }
}
