//! `cargo xtask fuzz`: the fuzz targets, one after the other, each for a while; and the property tests of spool and
//! delivery, whose input is lists of events instead of bytes.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::{
    step::{output, run as run_command, show, step},
    tools,
    workspace::{self, RELAY_PACKAGES},
};

/// The fuzzing tool, pinned like all tools that are built here.
const CARGO_FUZZ: (&str, &str) = ("cargo-fuzz", "0.13.2");
/// The folder of the targets and their corpora.
const FOLDER: &str = "tests/fuzz";
/// Time limit for one input, in seconds. A slower one counts as a find.
const TIMEOUT_SECONDS: u32 = 10;

/// The target whose input is a list of events instead of bytes.
const PROPERTIES: &str = "properties";
/// Its tests, and the files they are in.
const PROPERTY_TESTS: [(&str, &str); 2] = [
    (
        "spool::model::whatever_happens_nothing_acknowledged_is_lost_and_all_comes_in_order",
        "relay/src/spool/model.rs",
    ),
    (
        "forward::simulation::whatever_happens_what_was_taken_is_delivered_or_counted",
        "relay/src/forward/simulation.rs",
    ),
];
/// How many lists each of them tries with one seed: about half a minute.
const PROPERTY_CASES: &str = "200";
/// Limit of the steps that shrink a failing list: enough for a short one, in a few minutes.
const PROPERTY_SHRINKS: &str = "4000";

#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// Run one target: a file of tests/fuzz/fuzz_targets, or `properties`, the property tests of spool and delivery;
    /// without it, each in turn
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Runs the targets and the property tests, continues after a find, and fails with the names of those that found any.
pub(crate) fn run(fuzz: &Fuzz) -> Result<()> {
    let all = targets()?;
    let chosen = match &fuzz.target {
        Some(one) => {
            let known = all.join(", ");
            ensure!(
                all.contains(one),
                "there is no target `{one}`; known targets: {known}"
            );
            vec![one.clone()]
        }
        None => all,
    };
    let (properties, chosen): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|target| target == PROPERTIES);
    let mut found = fuzz_bytes(&chosen, fuzz.seconds)?;
    let again = match properties.is_empty() {
        true => Ok(()),
        false => try_properties(fuzz.seconds),
    };
    if !found.is_empty() {
        found.extend(again.err().map(|error| format!("{PROPERTIES} ({error})")));
        bail!(
            "failures found by: {}. The input is in {FOLDER}/artifacts; repeat it with \
             `cargo +nightly fuzz run --fuzz-dir {FOLDER} --sanitizer none TARGET INPUT`; \
             once you understand it, add it to {FOLDER}/regressions.",
            found.join(", ")
        );
    }
    again
}

/// Runs fuzz targets, and returns those that found something.
fn fuzz_bytes(targets: &[String], seconds: u64) -> Result<Vec<String>> {
    let mut found = Vec::new();
    if targets.is_empty() {
        return Ok(found);
    }
    let cargo_fuzz = prepare()?;
    for target in targets {
        // Interesting inputs of a run stay below target; the corpora are extended by hand.
        let finds = workspace::target().join("fuzz-finds").join(target);
        fs::create_dir_all(&finds).with_context(|| format!("cannot create {}", finds.display()))?;
        let ran = step(&format!("fuzzing {target} for {seconds} s"), || {
            run_command(&mut fuzz_target(&cargo_fuzz, target, &finds, seconds))
        });
        if ran.is_err() {
            found.push(target.clone());
        }
    }
    Ok(found)
}

/// Runs the property tests with one new seed after the other until the time is over; a round that has begun is
/// finished. The list that fails, made short, is in what the test prints.
fn try_properties(seconds: u64) -> Result<()> {
    run_command(property_tests().arg("--no-run"))?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < end {
        rounds += 1;
        let seed = getrandom::u64()?.to_string();
        let mut tests = property_tests();
        tests
            .args(["--", "--exact"])
            .args(PROPERTY_TESTS.map(|(test, _)| test));
        let shown = show(&tests);
        tests.env("PROPTEST_MAX_SHRINK_ITERS", PROPERTY_SHRINKS);
        let ran = step(&format!("property tests, round {rounds}"), || {
            run_command(
                tests
                    .env("PROPTEST_RNG_SEED", &seed)
                    .env("PROPTEST_CASES", PROPERTY_CASES),
            )
        });
        ensure!(
            ran.is_ok(),
            "a property test failed; the list is above. Repeat it with\n  \
             PROPTEST_RNG_SEED={seed} PROPTEST_CASES={PROPERTY_CASES} {shown}\n\
             Once you understand it, add it to the rows beside the test."
        );
    }
    Ok(())
}

/// The command that builds them.
fn property_tests() -> Command {
    let mut tests = workspace::locked("test");
    tests.args(["--quiet", "--lib"]).args(RELAY_PACKAGES);
    tests
}

/// The targets, by name; the property tests are the last.
fn targets() -> Result<Vec<String>> {
    let folder = workspace::root().join(FOLDER).join("fuzz_targets");
    let mut names = Vec::new();
    for file in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let name = file?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    names.push(PROPERTIES.to_owned());
    Ok(names)
}

/// Makes sure of a nightly compiler and of cargo-fuzz, and returns the latter.
fn prepare() -> Result<PathBuf> {
    ensure!(
        tools::find("rustup").is_some() && output(nightly("cargo").arg("--version")).is_ok(),
        "fuzzing needs a nightly compiler, for its instrumentation: rustup toolchain install nightly"
    );
    tools::cargo_program(CARGO_FUZZ)
}

/// One run of a target: over its corpus, its regressions and the finds of earlier runs.
fn fuzz_target(cargo_fuzz: &Path, target: &str, finds: &Path, seconds: u64) -> Command {
    // AddressSanitizer has nothing to watch here, since unsafe code is forbidden, and would halve the speed.
    let mut fuzz = nightly(cargo_fuzz);
    fuzz.args(["fuzz", "run", "--fuzz-dir", FOLDER, "--sanitizer", "none"]);
    fuzz.arg("--target-dir").arg(workspace::target().join("fuzz"));
    fuzz.arg(target).arg(finds);
    let folder = workspace::root().join(FOLDER);
    for kind in ["corpus", "regressions"] {
        let inputs = folder.join(kind).join(target);
        if inputs.is_dir() {
            fuzz.arg(inputs);
        }
    }
    fuzz.arg("--");
    fuzz.arg(format!("-max_total_time={seconds}"));
    fuzz.arg(format!("-timeout={TIMEOUT_SECONDS}"));
    let words = folder.join("dictionaries").join(target);
    if words.is_file() {
        fuzz.arg(format!("-dict={}", words.display()));
    }
    fuzz
}

/// A program under the nightly toolchain, without the variables that the cargo running this xtask has set.
fn nightly(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly"]).arg(program);
    command.current_dir(workspace::root());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text == "CARGO" || text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that fits no test would run none, and find nothing.
    #[test]
    fn the_property_tests_are_where_they_are_looked_for() {
        for (test, file) in PROPERTY_TESTS {
            let source = fs::read_to_string(workspace::root().join(file)).unwrap_or_default();
            let name = test.rsplit("::").next().unwrap_or(test);
            assert!(source.contains(&format!("fn {name}(")), "{test}");
        }
        assert!(targets().is_ok_and(|targets| targets.len() > 1 && targets.contains(&PROPERTIES.to_owned())));
    }
}
