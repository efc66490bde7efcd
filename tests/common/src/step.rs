//! Runs commands, with progress and times on stderr and results on stdout.

use std::{
    io::{self, Write as _},
    path::Path,
    process::{Command, ExitCode, Output, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::workspace::root;

/// Variables that are printed as part of a command, because repeating it needs them.
const SHOWN: [&str; 4] = [
    "CHROMIUM",
    "FEEDBACK_RELAY_BIN",
    "PROPTEST_RNG_SEED",
    "RUSTDOCFLAGS",
];

/// Runs `work` between two lines on stderr that name it; the second one carries the elapsed time.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("▸ {what} …");
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    match result {
        Ok(_) => eprintln!("▸ {what} … {seconds:.1} s"),
        Err(_) => eprintln!("✗ {what} … failed after {seconds:.1} s"),
    }
    result
}

/// Runs a command to its end. Its output goes to stderr, so that stdout carries results only.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs a command in place of this one, and returns its exit code: a failure if a signal ended it.
pub fn pass(command: &mut Command) -> Result<ExitCode> {
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start `{}`", show(command)))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Runs a quick command and returns its output.
pub fn output(command: &mut Command) -> Result<String> {
    let output = finish(command)?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}",
            show(command),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a command and returns its output, whether or not it succeeded.
pub fn output_in_any_case(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8(finish(command)?.stdout)?)
}

fn finish(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output();
    output.with_context(|| format!("cannot start `{}`", show(command)))
}

/// The command as one would type it in the workspace's root: with its folder, if it runs in another one, and with the
/// variables that affect its result.
pub fn show(command: &Command) -> String {
    let mut words = Vec::new();
    if let Some(folder) = command
        .get_current_dir()
        .and_then(|folder| folder.strip_prefix(root()).ok())
        && !folder.as_os_str().is_empty()
    {
        words.push(format!("cd {} &&", folder.display()));
    }
    for (name, value) in command.get_envs() {
        let name = name.to_string_lossy();
        if let Some(value) = value.filter(|_| SHOWN.contains(&name.as_ref())) {
            words.push(format!("{name}={}", word(&value.to_string_lossy())));
        }
    }
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    words.push(program.to_string_lossy().into_owned());
    words.extend(
        command
            .get_args()
            .map(|argument| word(&argument.to_string_lossy())),
    );
    words.join(" ")
}

/// Quotes a word for a shell.
fn word(text: &str) -> String {
    if text.contains(char::is_whitespace) {
        format!("'{text}'")
    } else {
        text.to_owned()
    }
}

/// Prints a result on stdout. If the reader has gone away, the line is lost and the work continues.
pub fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed_in_the_root() {
        let command = |program: &str, folder: &str, variable: &str| {
            let mut command = Command::new(program);
            command.current_dir(root().join(folder)).arg("run");
            command.env(variable, "x y");
            show(&command)
        };
        let rows = [
            (command("/usr/bin/cargo", "", "PATH"), "cargo run"),
            (command("npm", "web", "PATH"), "cd web && npm run"),
            (
                command("node", "tests/browser", "CHROMIUM"),
                "cd tests/browser && CHROMIUM='x y' node run",
            ),
        ];
        for (shown, expected) in rows {
            assert_eq!(shown, expected);
        }
    }
}
