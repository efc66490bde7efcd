//! The files that `cargo xtask bundle` builds and the binary embeds: the browser module, the pages, the policy.

use rust_embed::RustEmbed;
use std::borrow::Cow;

/// The files by their paths below `relay/bundle`. A debug build reads the folder on first use, a release build embeds
/// it. The folder may be missing, so that `cargo check` needs only Rust.
#[derive(RustEmbed)]
#[folder = "bundle/"]
#[allow_missing = true]
pub(crate) struct Bundle;

/// The default policy component, if the bundle was built.
pub fn default_policy() -> Option<Cow<'static, [u8]>> {
    Bundle::get("policy.wasm").map(|file| file.data)
}
