//! Adds up the results of test runners and checks, and closes with the time of each part and one line of totals.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::step::{say, show, step};

/// The test runner whose output is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Runner {
    /// `cargo test`: one result line per test binary.
    Cargo,
    /// `node --test`: one line per kind of result at the end.
    Node,
}

/// Begins the line that a test prints if it cannot run on this machine. The runner counts it as passed.
const NOT_RUN: &str = "not run: ";

/// The results so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    totals: Totals,
    not_run: Vec<String>,
    problems: Vec<String>,
    /// Each part with its wall time, in the order of their ends.
    parts: Vec<(String, Duration)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Report {
    /// Runs `work`, counts an error as one failure, and continues in either case. A success is not counted.
    pub(crate) fn check(&mut self, what: &str, work: impl FnOnce() -> Result<()>) {
        self.part(what, work);
    }

    /// The value of a success. An error counts as one failure.
    pub(crate) fn take<T>(&mut self, what: &str, result: Result<T>) -> Option<T> {
        result
            .map_err(|error| self.fail(format!("{what}: {error:#}")))
            .ok()
    }

    /// Runs a suite of tests, shows its output, adds its results, and continues after a failure.
    pub(crate) fn suite(&mut self, what: &str, runner: Runner, command: &mut Command) {
        if let Some((said, success)) = self.part(what, || run_suite(runner, command)) {
            self.judge(what, said.totals(), success, &show(command));
            self.not_run.extend(said.not_run);
        }
    }

    /// [`take`](Self::take) with progress on stderr and the time for the closing report.
    pub(crate) fn part<T>(&mut self, what: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        let start = Instant::now();
        let result = step(what, work);
        self.parts.push((what.to_owned(), start.elapsed()));
        self.take(what, result)
    }

    /// Adds a suite's totals, and one more failure if they do not show why the suite failed.
    fn judge(&mut self, what: &str, totals: Totals, success: bool, command: &str) {
        self.totals.add(totals);
        let problem = if totals.failed > 0 {
            format!("{} failed", totals.failed)
        } else if !success {
            "failed without a failed test, see its output".to_owned()
        } else if totals.passed == 0 {
            "no test was run".to_owned()
        } else {
            return;
        };
        if totals.failed == 0 {
            self.totals.failed += 1;
        }
        self.problems
            .push(format!("{what}: {problem}; repeat with `{command}`"));
    }

    /// Runs `work`, which counts as one test.
    pub(crate) fn test(&mut self, what: &str, work: impl FnOnce() -> Result<()>) {
        if self.part(what, work).is_some() {
            self.pass();
        }
    }

    /// Counts a test that no runner counted.
    pub(crate) fn pass(&mut self) {
        self.totals.passed += 1;
    }

    /// Counts a test that could not run on this machine, and lists the reason at the end.
    pub(crate) fn not_run(&mut self, why: &str) {
        self.totals.skipped += 1;
        self.not_run.push(why.to_owned());
    }

    /// Counts a failure that no runner counted.
    pub(crate) fn fail(&mut self, problem: String) {
        self.totals.failed += 1;
        self.problems.push(problem);
    }

    /// Prints the time of each part, skipped tests and failures, and then the totals as the last line.
    pub(crate) fn close(self) -> ExitCode {
        eprintln!("\nTime by part:");
        for (what, time) in &self.parts {
            eprintln!("{:>8.1} s  {what}", time.as_secs_f64());
        }
        for (title, mark, lines) in [
            ("Not run on this machine", "–", &self.not_run),
            ("Failed", "✗", &self.problems),
        ] {
            if !lines.is_empty() {
                let separator = format!("\n{mark} ");
                eprintln!("\n{title}:\n{mark} {}", lines.join(&separator));
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

/// The results that a suite printed.
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

/// Runs a suite and prints its output by line. Also returns whether it succeeded.
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
        said.hear(runner, text);
        say(text);
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

    /// The results in one line of a runner's output; for most lines none.
    fn read(runner: Runner, line: &str) -> Self {
        let line = anstream::adapter::strip_str(line).to_string();
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
        let mut totals = Self::default();
        *match kind {
            "pass" => &mut totals.passed,
            // A cancelled test did not pass, and the runner does not count it as failed.
            "fail" | "cancelled" => &mut totals.failed,
            "skipped" | "todo" => &mut totals.skipped,
            _ => return None,
        } = count.parse().ok()?;
        Some(totals)
    }

    fn line(self) -> String {
        let mut line = format!("{} passed, {} failed", self.passed, self.failed);
        if self.skipped > 0 {
            line.push_str(&format!(", {} skipped", self.skipped));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

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
            report.judge(what, said, success, "cargo test");
            assert_eq!(report.totals, expected, "{what}");
            assert_eq!(report.problems.is_empty(), expected.failed == 0, "{what}");
            let repeats = |problem: &String| problem.ends_with("; repeat with `cargo test`");
            assert!(report.problems.iter().all(repeats), "{what}");
        }
    }

    #[test]
    fn checks_and_tests_count_once_each_and_the_rest_goes_on() {
        let mut report = Report::default();
        report.not_run("no namespaces here");
        report.test("fine", || Ok(()));
        report.check("only failures of a check count", || Ok(()));
        report.test("wrong", || bail!("broken"));
        assert_eq!(report.totals, totals(1, 1, 1));
        assert_eq!(report.not_run, ["no namespaces here"]);
        assert_eq!(report.problems, ["wrong: broken"]);
        let parts: Vec<&str> = report.parts.iter().map(|(what, _)| what.as_str()).collect();
        assert_eq!(parts, ["fine", "only failures of a check count", "wrong"]);
    }

    #[test]
    fn a_program_that_is_not_there_counts_as_one_failure() {
        let mut report = Report::default();
        report.suite("missing", Runner::Node, &mut Command::new("/nonexistent/program"));
        assert_eq!(report.totals, totals(0, 1, 0));
    }
}
