//! Redacts standard input, line by line:
//!
//! `cargo run --release -p relay-pii --example redact -- --explain < notes.txt > redacted.txt`
//!
//! With `--explain` it reports each finding on standard error: line, bytes within the line, and kind, but never the
//! content. Each line is redacted separately: a label on the line before does not count.

use relay_pii::{findings, redact};
use std::io::{self, BufRead, BufWriter, Write};

fn main() -> io::Result<()> {
    let explain = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--explain") => true,
        Some(_) => return Err(io::Error::other("usage: redact [--explain] < input > output")),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut notes = BufWriter::new(io::stderr().lock());
    for (number, line) in io::stdin().lock().lines().enumerate() {
        let line = line?;
        if explain {
            for finding in findings(&line) {
                let (start, end) = (finding.range.start, finding.range.end);
                writeln!(
                    notes,
                    "line {}, bytes {start}..{end}: {}",
                    number + 1,
                    finding.kind
                )?;
            }
        }
        writeln!(out, "{}", redact(&line))?;
    }
    notes.flush()?;
    out.flush()
}
