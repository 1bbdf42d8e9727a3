//! Repository tasks: `cargo run --release -p xtask -- TASK`.
//!
//! `tidy` checks what the compiler and clippy cannot: which crate may use which, what may not stand in a pure crate, that
//! the documents still fit the folders. `parity` compares exported detectors with their originals in Python, `simplify` the passes
//! with onnxsim and onnxslim, `gpu` the whole way from files to boxes with Python's.

mod gpu;
mod parity;
mod simplify;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (task, rest) = arguments.split_first().map_or(("", &[][..]), |(task, rest)| (task.as_str(), rest));
    match task {
        "tidy" if rest.is_empty() => tidy(),
        "parity" => match parity::compare(rest, say) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                say(&error);
                ExitCode::from(2)
            }
        },
        "simplify" => done(simplify::compare(rest, say)),
        "gpu" => done(gpu::compare(rest, say)),
        _ => {
            say("usage: cargo run --release -p xtask -- tidy | parity … | simplify … | gpu …");
            ExitCode::from(2)
        }
    }
}

fn done(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error);
            ExitCode::from(2)
        }
    }
}

fn tidy() -> ExitCode {
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
