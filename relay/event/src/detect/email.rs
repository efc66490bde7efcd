//! E-mail addresses, in every spelling people use.

use super::Found;
use super::view::View;

pub(super) fn find(_view: &View<'_>, _found: &mut Found) {}
