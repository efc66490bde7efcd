//! The engine around the scanners: folding, decoding, replacing.

use super::*;
