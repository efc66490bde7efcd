//! Payment cards and bank accounts.

mod account;
mod card;
mod iban;

use super::Found;
use super::digits;
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
