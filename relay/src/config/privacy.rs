//! `[privacy]`: texts of the privacy page that do not come from the plan.

use crate::config::toml::Table;
use crate::notice::page::About;

/// Longest of these texts, in characters. A longer one is a mistake.
const CHARS_MAX: usize = 200;

pub(super) fn read(section: &Table<'_>) -> About {
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
