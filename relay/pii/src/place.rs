//! Places: coordinates, postcodes, streets, and licence plates.

mod coordinate;
mod plate;
mod postcode;
mod street;

use super::Found;
use super::view::View;

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    if view.has().digits == 0 {
        return;
    }
    coordinate::find(view, found);
    plate::find(view, found);
    postcode::find(view, found);
    street::find(view, found);
}
