//! Numbers that states, insurers and registers give to persons and companies.

use super::Found;
use super::view::View;

pub(super) fn find(_view: &View<'_>, _found: &mut Found) {}
