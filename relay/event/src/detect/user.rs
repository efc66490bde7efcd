//! User names: in paths, in addresses, behind their label.

use super::Found;
use super::view::View;

pub(super) fn find(_view: &View<'_>, _found: &mut Found) {}
