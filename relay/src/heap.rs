//! Settings of the C library's heap.
//!
//! What the policy's compiler needed once is to be given back, and threads are to share what they free. glibc
//! as it is set by itself keeps both: a relay under load then has a quarter more memory. It reads its
//! settings when a process begins, so the process begins once more with them.

use crate::config::process_env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Free memory at the heap's end that is given back, in bytes; also lets large pieces go as soon as they are
/// free, whatever was allocated before.
const TRIM: (&str, &str) = ("MALLOC_TRIM_THRESHOLD_", "1000000");
/// How many heaps there are for all threads: one for those that serve, one for the writer.
const HEAPS: (&str, &str) = ("MALLOC_ARENA_MAX", "2");

/// Begins this process anew with these settings, under the same process id, unless the environment has
/// settings of its own. Where that cannot be done it goes on as it is, with more memory.
pub fn begin_again() {
    let is_set = [TRIM, HEAPS].iter().any(|(name, _)| process_env(name).is_some());
    if is_set || !cfg!(target_env = "gnu") {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        // Gives back only an error.
        let _ = Command::new(program)
            .args(std::env::args_os().skip(1))
            .envs([TRIM, HEAPS])
            .exec();
    }
}
