//! `cargo xtask ci`: formatting, lints and documentation, what the relay is made of, then all tests, so that their closing line is the last.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    report::Report,
    step, supply, test, tools,
    workspace::{LOAD_PACKAGES, RELAY_PACKAGES, WASM_PACKAGES, WASM_TARGET, cargo, locked},
};

/// Runs everything, goes on after a failure, and prints the closing line.
pub(crate) fn run() -> Result<ExitCode> {
    tools::component("fmt", "rustfmt")?;
    tools::component("clippy", "clippy")?;
    let mut report = Report::default();

    report.check("checking the formatting", || {
        step::run(cargo().args(["fmt", "--all", "--check"]))
    });
    // The tests load what is bundled.
    let Some(tools) = report.take("setting up", test::prepare(true)) else {
        return Ok(report.close());
    };
    let groups: [(&str, &[&str], &[&str]); 4] = [
        ("the relay", RELAY_PACKAGES, &[]),
        ("the load generator", LOAD_PACKAGES, &[]),
        ("xtask", &["--package", "xtask"], &[]),
        (
            "what becomes WebAssembly",
            WASM_PACKAGES,
            &["--target", WASM_TARGET],
        ),
    ];
    for (name, packages, target) in groups {
        report.check(&format!("linting {name}"), || {
            let mut clippy = locked("clippy");
            clippy.args(packages).args(target);
            // Tests do not run as WebAssembly.
            if target.is_empty() {
                clippy.arg("--all-targets");
            }
            step::run(clippy.args(["--", "--deny", "warnings"]))
        });
        report.check(&format!("documenting {name}"), || {
            let mut doc = locked("doc");
            doc.arg("--no-deps").args(packages).args(target);
            step::run(doc.env("RUSTDOCFLAGS", "--deny warnings"))
        });
    }

    supply::all(tools.node(), &mut report);
    test::all(&tools, &mut report);
    Ok(report.close())
}
