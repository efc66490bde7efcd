//! Coarsens User-Agents, one a line: the tool that the coarsening is measured with.
//!
//! `cargo run --release -p relay-event --example coarsen < agents.txt > coarse.txt` writes a line for
//! each line: the coarse text, `BOT`, or nothing for an unknown one. Run both files through a parser
//! that Plausible's agrees with, and compare browser, system and device class line by line.

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
