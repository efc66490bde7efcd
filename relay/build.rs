//! Tells the crate which commit it is built from.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // So that a release binary embeds what was bundled last.
    println!("cargo:rerun-if-changed=bundle");
    println!("cargo:rerun-if-changed=../.git/HEAD");
    println!("cargo:rerun-if-changed=../.git/logs/HEAD");
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
    };
    let unknown = || "unknown".to_owned();
    println!(
        "cargo:rustc-env=RELAY_COMMIT={}",
        git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(unknown)
    );
    println!(
        "cargo:rustc-env=RELAY_BRANCH={}",
        git(&["rev-parse", "--abbrev-ref", "HEAD"]).unwrap_or_else(unknown)
    );
}
