//! Findings: results of a check, as `doctor`, health and the log report them.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The subject of the check.
    pub what: String,
    /// The result.
    pub grade: Grade,
    /// The observation.
    pub says: String,
    /// The recommended action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<Cow<'static, str>>,
}

/// The result of a check, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As expected.
    Ok,
    /// Worth knowing; nothing to fix.
    Note,
    /// It works, but something needs attention.
    Warning,
    /// It does not work.
    Wrong,
}

impl Finding {
    /// A finding without advice.
    pub fn new(what: impl Into<String>, grade: Grade, says: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            grade,
            says: says.into(),
            advice: None,
        }
    }

    /// All is as expected.
    pub fn ok(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(what, Grade::Ok, says)
    }

    /// Worth knowing; nothing to fix.
    pub fn note(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(what, Grade::Note, says)
    }

    /// Something needs attention.
    pub fn warning(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(what, Grade::Warning, says)
    }

    /// Something does not work.
    pub fn wrong(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(what, Grade::Wrong, says)
    }

    /// Adds the recommended action.
    #[must_use]
    pub fn advise(self, advice: impl Into<Cow<'static, str>>) -> Self {
        Self {
            advice: Some(advice.into()),
            ..self
        }
    }
}
