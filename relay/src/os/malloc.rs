//! Settings of the C library's heap, and its function to return free memory.
//!
//! The process should return memory that the policy's compiler needed only once, and threads should share freed
//! memory. With its defaults, glibc does neither: a relay under load then uses a quarter more memory. glibc reads its
//! settings only when a process starts, so the process re-executes itself with them.

pub use process_heap::trim;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Free memory at the heap's end above which it is returned, in bytes; setting it also disables the adaptive
/// threshold, so that large allocations are returned as soon as they are freed.
pub const TRIM: (&str, &str) = ("MALLOC_TRIM_THRESHOLD_", "1000000");
/// Number of heaps for all threads: one for the serving threads, one for the writer.
const HEAPS: (&str, &str) = ("MALLOC_ARENA_MAX", "2");

/// Re-executes this process with these settings, under the same process id, unless the environment already has
/// settings of its own. If that fails, the process continues, with more memory.
pub fn begin_again(env: impl Fn(&str) -> Option<String>) {
    let is_set = [TRIM, HEAPS].iter().any(|(name, _)| env(name).is_some());
    if is_set || !cfg!(target_env = "gnu") {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        // `exec` returns only on error.
        let _ = Command::new(program)
            .args(std::env::args_os().skip(1))
            .envs([TRIM, HEAPS])
            .exec();
    }
}
