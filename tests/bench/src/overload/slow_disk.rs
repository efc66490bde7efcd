//! A relay whose disk takes longer to flush: a small library that the system loads before the relay's own.

use super::rows::SLOW_MS;
use crate::middle::Programs;
use anyhow::{Context as _, Result};
use std::process::Command;
use tests_common::step;

const SOURCE: &str = include_str!("../../slow-disk/slow_disk.c");

/// Lets the relays that are started from now on wait longer for each fsync. Builds the library with the compiler that also
/// links Rust programs.
pub(super) fn slow_down(mut programs: Programs) -> Result<Programs> {
    let [source, library] = ["slow_disk.c", "slow_disk.so"].map(|name| programs.folder.join(name));
    std::fs::write(&source, SOURCE).context("cannot write the slow disk's source")?;
    let mut compile = Command::new("cc");
    compile.args(["-O2", "-shared", "-fPIC"]);
    compile.arg(format!("-DSLOW_MS={SLOW_MS}"));
    step::output(compile.arg("-o").arg(&library).arg(&source))?;
    // `env` runs the relay in place of itself, so the relay gets the signals.
    programs.relay_under = vec!["env".to_owned(), format!("LD_PRELOAD={}", library.display())];
    Ok(programs)
}
