//! Repository tasks: `cargo run --release -p xtask -- tidy`.
//!
//! `tidy` checks what the compiler and clippy cannot: which crate may use which, what may not stand in a pure crate, that
//! the documents still fit the folders.

mod tidy;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments != ["tidy"] {
        say("usage: cargo run --release -p xtask -- tidy");
        return ExitCode::from(2);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match tidy::problems(&root) {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            for problem in &problems {
                say(problem);
            }
            say(&format!("{} to tidy", problems.len()));
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&format!("cannot look: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a task talks to the developer")]
fn say(line: &str) {
    eprintln!("{line}");
}
