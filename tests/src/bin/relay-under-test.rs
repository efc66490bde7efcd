//! The relay's own command line, built as a binary that the tests can start, stop and kill.

use std::process::ExitCode;

fn main() -> ExitCode {
    feedback_relay::cli::main()
}
