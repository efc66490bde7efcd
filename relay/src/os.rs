//! Resources of the operating system: files, memory, open connections.

pub mod malloc;
pub mod private_folder;
pub mod rlimit;
