//! Coarsens User-Agents, one per line: the tool that measures the coarsening.
//!
//! `cargo run --release -p relay-event --example coarsen < agents.txt > coarse.txt` writes one line for each line: the
//! coarse text, `BOT`, or an empty line for an unknown one. Run both files through a parser whose results match
//! Plausible's, and compare browser, system and device class line by line.

use relay_event::user_agent::{UserAgent, coarsen};
use std::io::{BufRead, Write};

fn main() -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        match coarsen(&line?) {
            UserAgent::Browser(text) => writeln!(out, "{text}")?,
            UserAgent::Bot => writeln!(out, "BOT")?,
            UserAgent::Unknown => writeln!(out)?,
        }
    }
    out.flush()
}
