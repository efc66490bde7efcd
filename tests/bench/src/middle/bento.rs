//! Bento, as a relay that one would build oneself: it scrubs events by a mapping, keeps them in SQLite and posts them.

use super::Place;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests_common::programs::{find, is_program};
use tests_common::step::{run, step};

/// The status that it answers to a GET of the version.
pub(super) const READY: u16 = 404;
/// Its version, which `go.mod` requires.
const VERSION: &str = "1.10.0";
const MODULE: &str = include_str!("../../bento/go.mod");
const PROGRAM: &str = include_str!("../../bento/main.go");
const CONFIG: &str = include_str!("../../bento/bento.yaml");

/// Finds the program in this folder, or compiles it there from the Go module proxy.
pub(super) fn program(folder: &Path) -> Result<PathBuf> {
    // One folder per version: a different version is compiled instead of reusing this one.
    let folder = folder.join(format!("bento-{VERSION}"));
    let path = folder.join("bento");
    if is_program(&path) {
        return Ok(path);
    }
    let go = find("go").context(
        "Bento is compiled from source, and Go is missing. Install Go 1.23 or newer (https://go.dev/dl), or leave Bento \
         out with --only.",
    )?;
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("go.mod"), MODULE)?;
    fs::write(folder.join("main.go"), PROGRAM)?;
    step(
        &format!("compiling Bento {VERSION}, once, for some minutes"),
        || {
            run(Command::new(go).current_dir(&folder).args([
                "build",
                "-mod=mod",
                "-ldflags=-s -w",
                "-o",
                "bento",
                ".",
            ]))
        },
    )?;
    Ok(path)
}

pub(super) fn command(place: &Place<'_>) -> Result<Command> {
    let buffer = place.folder.join("buffer.db").display().to_string();
    let text = CONFIG
        .replace("BUFFER", &buffer)
        .replace("ADDRESS", &place.address.to_string())
        .replace("SINK", &place.sink.to_string());
    let config = place.write("bento.yaml", &text)?;
    let mut command = Command::new(place.program);
    command.args(["-c", &config]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::{MODULE, VERSION};

    #[test]
    fn the_folder_is_named_after_the_version_that_is_compiled() {
        assert!(MODULE.contains(&format!("warpstreamlabs/bento v{VERSION}\n")));
    }
}
