//! Payment cards and bank accounts.

mod account;
mod card;
pub(super) mod digits;
mod iban;

use super::Found;
use super::view::View;

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    account::find_code(view, found);
    if view.has().digits < 3 {
        return;
    }
    let groups = digits::groups(view);
    card::find(view, &groups, found);
    iban::find(view, found);
    account::find(view, &groups, found);
}
