//! One heap for all threads.
//!
//! glibc gives each thread a heap of its own and hardly ever gives back what is in it: what the policy's
//! compiler needed once stays beside what every other thread needs, and a relay under load takes half as much
//! memory again. The setting is read when a process begins, so the process begins once more with it.

use crate::config::process_env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// glibc's setting: how many heaps there may be.
const SETTING: &str = "MALLOC_ARENA_MAX";

/// Begins this process anew with one heap, under the same process id, unless the environment says how many
/// there may be. Where that cannot be done it goes on as it is, with more memory.
pub fn begin_again() {
    if !cfg!(target_env = "gnu") || process_env(SETTING).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        // Gives back only an error.
        let _ = Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(SETTING, "1")
            .exec();
    }
}
