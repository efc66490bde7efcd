//! The table in `docs/DELIVERY.md` names tests that exist.

use std::collections::BTreeSet;
use std::path::Path;

/// The cases that the table must hold: one row for each issue.
const CASES: usize = 17;

#[test]
fn every_test_that_the_delivery_page_names_exists_and_every_case_has_one() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e");
    let page = std::fs::read_to_string(tests.join("../../docs/DELIVERY.md")).unwrap();
    let mut known = BTreeSet::new();
    collect(&tests, "", &mut known);
    let mut cases = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let named: Vec<&str> = row
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|word| word.contains("::"))
            .collect();
        for name in &named {
            assert!(known.contains(*name), "there is no test {name}");
        }
        // Each case names its issue, as in getsentry/relay#708; other tables link to headings.
        let first = row.split('|').nth(1).unwrap_or_default();
        if first.contains('#') {
            assert!(!named.is_empty(), "no test is named in {row}");
            cases += 1;
        }
    }
    assert_eq!(cases, CASES);
}

/// The tests of a folder, as `module::name`.
fn collect(folder: &Path, prefix: &str, into: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let module = format!("{prefix}{}", path.file_stem().unwrap().to_str().unwrap());
        if path.is_dir() {
            collect(&path, &format!("{module}::"), into);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines = text.lines().map(str::trim);
        while lines.any(|line| line.starts_with("#[tokio::test") || line == "#[test]") {
            let name = lines.find_map(|line| {
                let line = line.strip_prefix("async ").unwrap_or(line);
                line.strip_prefix("fn ")?.split('(').next()
            });
            into.insert(format!("{module}::{}", name.unwrap()));
        }
    }
}
