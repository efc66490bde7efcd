//! Reads JSON lines `{"id", "text"}` and writes `{"id", "output"}`: the text as the detectors leave it. With
//! `--explain`, says on standard error what was found. To measure the detectors on test strings alone.

#![expect(clippy::print_stdout, reason = "a tool that answers on standard output")]

use relay_event::detect;
use serde_json::{Value, json};
use std::io::BufRead;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let explain = std::env::args().any(|arg| arg == "--explain");
    for line in std::io::stdin().lock().lines() {
        let row: Value = serde_json::from_str(&line?)?;
        let text = row["text"].as_str().unwrap_or_default();
        if explain {
            let kinds: Vec<_> = detect::findings(text).iter().map(|f| f.kind.label()).collect();
            eprintln!("{} {kinds:?}", row["id"]);
        }
        println!("{}", json!({"id": row["id"], "output": detect::redact(text)}));
    }
    Ok(())
}
