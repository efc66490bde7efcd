//! UUIDs and other long tokens that machines make.

use super::Found;
use super::view::View;

pub(super) fn find(_view: &View<'_>, _found: &mut Found) {}
