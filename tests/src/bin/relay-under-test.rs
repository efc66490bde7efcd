//! The relay's own command line, built where the tests can start it, stop it and kill it.

use std::process::ExitCode;

fn main() -> ExitCode {
    feedback_relay::cli::main()
}
