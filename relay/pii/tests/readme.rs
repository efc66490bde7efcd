//! Tests the tables of the README: every example is found, or not found, as the README says.

use relay_pii::{Kind, findings, redact};

const README: &str = include_str!("../README.md");

/// The cells of each row of the README's table with this heading. Examples lose their backticks.
fn rows(heading: &str) -> Vec<Vec<&str>> {
    let mut rows = Vec::new();
    let mut inside = false;
    for line in README.lines() {
        if line.starts_with(heading) {
            inside = true;
        } else if !line.starts_with('|') {
            inside = false;
        } else if inside && !line.starts_with("|---") {
            let cells = line.trim_matches('|').split('|');
            rows.push(cells.map(|cell| cell.trim().trim_matches('`')).collect());
        }
    }
    rows
}

#[test]
fn examples_have_the_kind_and_the_result_that_the_readme_gives() {
    let rows = rows("| kind | example | becomes |");
    for row in &rows {
        let [kind, example, becomes] = row[..] else {
            panic!("not three cells: {row:?}");
        };
        let kinds: Vec<&str> = findings(example).iter().map(|f| f.kind.as_str()).collect();
        assert_eq!(kinds, [kind], "{example}");
        assert_eq!(redact(example), becomes, "{example}");
    }
    for kind in Kind::ALL {
        let listed = rows.iter().any(|row| row[0] == kind.as_str());
        assert!(listed, "no example of: {kind}");
    }
}

#[test]
fn texts_that_stay_stay() {
    let rows = rows("| text that stays |");
    assert!(rows.len() > 10, "only {} rows", rows.len());
    for row in rows {
        assert_eq!(redact(row[0]), row[0]);
    }
}
