//! `[privacy]`: what the page for users says besides the plan.

use crate::document::Section;
use crate::plan::page::About;

/// Longest of these texts, in characters. A longer one is a mistake.
const CHARS_MAX: usize = 200;

pub(super) fn read(section: &Section<'_>) -> About {
    let name = |key: &str| {
        section.parsed(key, &format!("text of 1 to {CHARS_MAX} characters"), |text| {
            let fits = !text.trim().is_empty() && text.chars().count() <= CHARS_MAX;
            fits.then(|| text.trim().to_owned())
        })
    };
    About {
        product_name: name("product_name"),
        recipient: name("recipient"),
        contact: name("contact"),
    }
}
