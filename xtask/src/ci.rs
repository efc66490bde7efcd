//! `cargo xtask ci`: formatting, lints, documentation and dependencies, then all tests, whose closing line is the last.

use std::process::ExitCode;

use anyhow::Result;

use crate::{check, report::Report, step, supply, test, workspace::locked};

/// Runs everything, continues after a failure, and prints the closing line.
pub(crate) fn run() -> Result<ExitCode> {
    let mut report = Report::default();
    check::formatting(&mut report)?;
    // The relay embeds the pages and loads the policy.
    let Some(tools) = report.take("setting up", test::prepare(true)) else {
        return Ok(report.close());
    };
    check::lints(&mut report)?;
    for (name, packages, target) in check::GROUPS {
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
