//! The fuzz targets' corpora as plain tests: inputs that reached new code, and inputs that once failed.

use feedback_tests::fuzz::TARGETS;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind)
}

/// The file names in a folder. A missing folder is empty.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Runs every target over all files of its folder before it reports, and fails if a target's assertion fails or a
/// folder holds fewer files than required.
fn run(kind: &str, least: usize) {
    let mut broken = Vec::new();
    for (target, body) in TARGETS {
        let folder = folder(kind).join(target);
        let names = names(&folder);
        assert!(names.len() >= least, "{} is empty", folder.display());
        for name in names {
            let data = fs::read(folder.join(&name)).unwrap();
            if std::panic::catch_unwind(|| body(&data)).is_err() {
                broken.push(format!("{target}/{name}"));
            }
        }
    }
    assert!(broken.is_empty(), "in fuzz/{kind}: {broken:#?}");
}

#[test]
fn every_corpus_keeps_its_promises() {
    run("corpus", 1);
}

#[test]
fn what_was_found_once_stays_found() {
    run("regressions", 0);
}

#[test]
fn every_target_has_its_file_and_no_folder_is_left_over() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files = names(&folder("fuzz_targets"));
    let files: BTreeSet<String> = files
        .iter()
        .map(|file| file.trim_end_matches(".rs").to_owned())
        .collect();
    assert_eq!(files, targets);
    assert_eq!(names(&folder("corpus")), targets);
    assert!(names(&folder("regressions")).is_subset(&targets));
}
