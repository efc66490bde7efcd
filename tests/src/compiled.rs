//! The built-in policy as native code, compiled once per test process.
//!
//! An unoptimised relay compiles it in one to two seconds of processor time, and many tests start a relay in a process of
//! its own. A relay keeps the code in its data folder, so these get a folder that has it already. The tests of compiling
//! bring policies of their own.

use feedback_relay::policy::sandbox::compiler::FOLDER;
use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The files of a folder of compiled policies: names and contents.
type Files = Vec<(OsString, Vec<u8>)>;

/// Puts the compiled policy into a data folder, unless that has a folder of policies. A data folder that cannot be
/// written stays as it is: its relay compiles, or reports what the test expects.
pub(crate) fn put_into(data_dir: &Path, exe: &str) {
    static COMPILED: OnceLock<Files> = OnceLock::new();
    let policies = data_dir.join(FOLDER);
    if policies.exists() || (!data_dir.exists() && create(data_dir).is_err()) || create(&policies).is_err() {
        return;
    }
    for (name, content) in COMPILED.get_or_init(|| compile(exe)) {
        // The relay trusts only files that other users cannot read.
        let mut open = OpenOptions::new();
        let mut file = open
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(policies.join(name))
            .unwrap();
        file.write_all(content).unwrap();
    }
}

/// Has a command of the relay compile the policy and keep it, and reads what it kept.
fn compile(exe: &str) -> Files {
    let folder = tempfile::Builder::new()
        .prefix("relay-policy-")
        .tempdir()
        .unwrap();
    let data = folder.path().join("data");
    create(&data).unwrap();
    let config = folder.path().join("relay.toml");
    let text = "data_dir = \"data\"\n[[site]]\ndomain = \"panel.example.com\"\n[upstream]\nurl = \"http://127.0.0.1:9\"\n";
    std::fs::write(&config, text).unwrap();
    let mut scrub = Command::new(exe);
    scrub.args(["scrub", "--config"]).arg(config).stdin(Stdio::null());
    let done = scrub.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let kept = std::fs::read_dir(data.join(FOLDER)).unwrap().map(Result::unwrap);
    kept.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

fn create(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)
}
