//! Shared by xtask, the benchmark and the end-to-end tests. It compiles in seconds and depends on no part of the
//! product.

pub mod process;
pub mod programs;
pub mod step;
pub mod workspace;
