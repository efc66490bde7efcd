//! Adds up what test runners and checks say, and closes with one plain line.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result};

use crate::step::{say, show, step};

/// Whose output is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Runner {
    /// `cargo test`: one result line per test binary.
    Cargo,
    /// `node --test`: one line per kind of result at the end.
    Node,
}

/// How a test says that this machine does not let it run: a line of its own. The runner counts it as passed.
const NOT_RUN: &str = "not run: ";

/// What came out so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    totals: Totals,
    not_run: Vec<String>,
    problems: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Report {
    /// Does something that either works or counts as one failure, and goes on in either case.
    pub(crate) fn check(&mut self, what: &str, work: impl FnOnce() -> Result<()>) {
        self.take(what, step(what, work));
    }

    /// The value of a success. An error counts as one failure.
    pub(crate) fn take<T>(&mut self, what: &str, result: Result<T>) -> Option<T> {
        result
            .map_err(|error| self.fail(format!("{what}: {error:#}")))
            .ok()
    }

    /// Runs a suite of tests, shows its output, adds its results, and goes on in any case.
    pub(crate) fn suite(&mut self, what: &str, runner: Runner, command: &mut Command) {
        let ran = step(what, || run_suite(runner, command));
        if let Some((said, success)) = self.take(what, ran) {
            self.judge(what, said.totals(), success);
            self.not_run.extend(said.not_run);
        }
    }

    /// Adds a suite's totals, and a failure more if it is not clear from them why it was no success.
    fn judge(&mut self, what: &str, totals: Totals, success: bool) {
        self.totals.add(totals);
        if totals.failed > 0 {
            self.problems.push(format!("{what}: {} failed", totals.failed));
        } else if !success {
            self.fail(format!("{what}: failed without a failed test, see its output"));
        } else if totals.passed == 0 {
            self.fail(format!("{what}: no test was run"));
        }
    }

    /// Does something that counts as one test.
    pub(crate) fn test(&mut self, what: &str, work: impl FnOnce() -> Result<()>) {
        if self.take(what, step(what, work)).is_some() {
            self.pass();
        }
    }

    /// Counts a test that no runner counted.
    pub(crate) fn pass(&mut self) {
        self.totals.passed += 1;
    }

    /// Counts a test that this machine did not let run, and says why in the end.
    pub(crate) fn not_run(&mut self, why: &str) {
        self.totals.skipped += 1;
        self.not_run.push(why.to_owned());
    }

    /// Counts a failure that no runner counted.
    pub(crate) fn fail(&mut self, problem: String) {
        self.totals.failed += 1;
        self.problems.push(problem);
    }

    /// Prints what could not be run and what failed, and then the totals as the last line.
    pub(crate) fn close(self) -> ExitCode {
        if !self.not_run.is_empty() {
            eprintln!("\nWhat this machine did not let run:");
            for test in &self.not_run {
                eprintln!("– {test}");
            }
        }
        if !self.problems.is_empty() {
            eprintln!("\nWhat failed:");
            for problem in &self.problems {
                eprintln!("✗ {problem}");
            }
        }
        say(&self.totals.line());
        if self.totals.failed == 0 && self.totals.passed > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// What a suite said.
#[derive(Debug, Default)]
struct Said {
    counted: Totals,
    not_run: Vec<String>,
}

impl Said {
    fn hear(&mut self, runner: Runner, line: &str) {
        match line.strip_prefix(NOT_RUN) {
            Some(test) => self.not_run.push(test.to_owned()),
            None => self.counted.add(Totals::read(runner, line)),
        }
    }

    /// The totals, in which a test that was not run has not passed.
    fn totals(&self) -> Totals {
        let not_run = self.not_run.len() as u64;
        Totals {
            passed: self.counted.passed.saturating_sub(not_run),
            skipped: self.counted.skipped + not_run,
            ..self.counted
        }
    }
}

fn run_suite(runner: Runner, command: &mut Command) -> Result<(Said, bool)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", show(command)))?;
    let mut said = Said::default();
    let mut stdout = BufReader::new(child.stdout.take().context("the child has no stdout")?);
    // Lines of bytes, not of text: a test may print anything.
    let mut line = Vec::new();
    while stdout.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        say(text);
        said.hear(runner, text);
        line.clear();
    }
    Ok((said, child.wait()?.success()))
}

impl Totals {
    fn add(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }

    /// What one line of a runner's output adds; for most lines nothing.
    fn read(runner: Runner, line: &str) -> Self {
        let line = without_colour(line);
        match runner {
            Runner::Cargo => Self::read_cargo(&line),
            Runner::Node => Self::read_node(&line),
        }
        .unwrap_or_default()
    }

    /// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`
    fn read_cargo(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |name| {
            counts
                .split(';')
                .find_map(|part| part.trim().strip_suffix(name)?.trim().parse().ok())
                .unwrap_or_default()
        };
        Some(Self {
            passed: count("passed"),
            failed: count("failed"),
            skipped: count("ignored"),
        })
    }

    /// `ℹ pass 3` of the reporter `spec`, `# pass 3` of `tap`.
    fn read_node(line: &str) -> Option<Self> {
        let (kind, count) = line
            .strip_prefix("ℹ ")
            .or_else(|| line.strip_prefix("# "))?
            .split_once(' ')?;
        let count = count.parse().ok()?;
        let none = Self::default();
        match kind {
            "pass" => Some(Self {
                passed: count,
                ..none
            }),
            // A cancelled test did not pass, and the runner does not count it as failed.
            "fail" | "cancelled" => Some(Self {
                failed: count,
                ..none
            }),
            "skipped" | "todo" => Some(Self {
                skipped: count,
                ..none
            }),
            _ => None,
        }
    }

    fn line(self) -> String {
        let mut line = format!("{} passed, {} failed", self.passed, self.failed);
        if self.skipped > 0 {
            line.push_str(&format!(", {} skipped", self.skipped));
        }
        line
    }
}

/// The line without escape sequences of the form `ESC [ … m`.
fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut pieces = line.split("\u{1b}[");
    plain.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        plain.push_str(piece.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn totals(passed: u64, failed: u64, skipped: u64) -> Totals {
        Totals {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn result_lines_are_read_and_others_add_nothing() {
        use Runner::{Cargo, Node};
        let rows = [
            (
                Cargo,
                "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s",
                totals(3, 0, 1),
            ),
            (
                Cargo,
                "test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
                totals(12, 2, 0),
            ),
            (
                Cargo,
                "test result: \u{1b}[32mok\u{1b}[m. 3 passed; 0 failed; 0 ignored; 0 measured",
                totals(3, 0, 0),
            ),
            (Cargo, "test gate::tests::off_is_off ... ok", totals(0, 0, 0)),
            (Cargo, "running 3 tests", totals(0, 0, 0)),
            (Cargo, "# pass 3", totals(0, 0, 0)),
            (Cargo, "", totals(0, 0, 0)),
            (Node, "ℹ pass 4", totals(4, 0, 0)),
            (Node, "\u{1b}[34mℹ pass 4\u{1b}[39m", totals(4, 0, 0)),
            (Node, "# pass 4", totals(4, 0, 0)),
            (Node, "# fail 2", totals(0, 2, 0)),
            (Node, "ℹ cancelled 1", totals(0, 1, 0)),
            (Node, "ℹ skipped 1", totals(0, 0, 1)),
            (Node, "ℹ tests 9", totals(0, 0, 0)),
            (Node, "ℹ duration_ms 812.5", totals(0, 0, 0)),
            (Node, "# Subtest: pass 3", totals(0, 0, 0)),
            (Node, "✔ opting in (3.1ms)", totals(0, 0, 0)),
        ];
        for (runner, line, expected) in rows {
            assert_eq!(Totals::read(runner, line), expected, "{runner:?}: {line}");
        }
    }

    #[test]
    fn a_test_that_was_not_run_is_listed_and_has_not_passed() {
        let mut said = Said::default();
        for line in [
            "not run: disk::full: no namespaces here",
            "test disk::full ... ok",
            "this is not run: not at the beginning",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured",
        ] {
            said.hear(Runner::Cargo, line);
        }
        assert_eq!(said.not_run, ["disk::full: no namespaces here"]);
        assert_eq!(said.totals(), totals(2, 0, 2));
    }

    #[test]
    fn the_closing_line_is_plain() {
        let rows = [
            (totals(12, 0, 0), "12 passed, 0 failed"),
            (totals(1, 2, 3), "1 passed, 2 failed, 3 skipped"),
        ];
        for (totals, expected) in rows {
            assert_eq!(totals.line(), expected);
        }
    }

    #[test]
    fn a_suite_that_fails_silently_or_runs_nothing_counts_as_one_failure() {
        let rows = [
            ("all pass", totals(2, 0, 0), true, totals(2, 0, 0)),
            ("one fails", totals(1, 1, 0), false, totals(1, 1, 0)),
            ("does not compile", totals(0, 0, 0), false, totals(0, 1, 0)),
            ("dies after good results", totals(2, 0, 0), false, totals(2, 1, 0)),
            ("runs nothing", totals(0, 0, 0), true, totals(0, 1, 0)),
            ("skips all", totals(0, 0, 3), true, totals(0, 1, 3)),
        ];
        for (what, said, success, expected) in rows {
            let mut report = Report::default();
            report.judge(what, said, success);
            assert_eq!(report.totals, expected, "{what}");
            assert_eq!(report.problems.is_empty(), expected.failed == 0, "{what}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_counts_as_one_failure() {
        let mut report = Report::default();
        report.suite("missing", Runner::Node, &mut Command::new("/nonexistent/program"));
        assert_eq!(report.totals, totals(0, 1, 0));
    }
}
