//! The version and the commit of this binary.

/// The package's version.
pub const PACKAGE: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from, or `unknown` outside a repository.
pub const COMMIT: &str = env!("RELAY_COMMIT");
/// The branch it was built from, or `unknown`.
pub const BRANCH: &str = env!("RELAY_BRANCH");
