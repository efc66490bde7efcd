//! The user's consent, as the browser states it with every request.

/// The scope of the user's consent. Without consent no event passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// The version of the tracking plan that the user saw when agreeing.
    pub plan: u32,
    /// The categories agreed to; `None` means all of that version.
    pub categories: Option<Vec<String>>,
    /// Whether the user answered our question in person. Only that overrides Global Privacy Control and Do Not Track; a
    /// `?consent=` written into a page does not.
    pub in_person: bool,
}

impl Consent {
    /// Whether the user agreed to a category.
    pub fn covers(&self, category: &str) -> bool {
        match &self.categories {
            None => true,
            Some(list) => list.iter().any(|c| c == category),
        }
    }
}
