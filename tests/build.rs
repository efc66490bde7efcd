//! Compiles the shim that stands between a relay under test and its disk and clock (`shim/shim.c`).

use std::path::Path;
use std::process::Command;

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=shim/shim.c");
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-o"])
        .arg(Path::new(&out).join("shim.so"))
        .args(["shim/shim.c", "-ldl"])
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cc shim/shim.c: {status}")),
        Err(error) => Err(format!("cc, a C compiler, cannot be run: {error}")),
    }
}
