//! Child processes: what they print, how long they take, why they fail.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Most lines of a failed child's talk that are told.
const TOLD: usize = 3;

/// What a child printed, and the time it took.
pub(crate) struct Done {
    pub(crate) output: String,
    pub(crate) time: Duration,
}

impl Done {
    /// The last line that is JSON.
    pub(crate) fn json(&self) -> Result<Value, String> {
        let objects = self.output.lines().rev().filter(|line| line.starts_with('{'));
        let parsed = objects.map(serde_json::from_str).find_map(Result::ok);
        parsed.ok_or_else(|| "prints no result".to_owned())
    }
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Result<Done, String> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().display().to_string();
    let started = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| format!("`{}` does not start: {cause}", command.get_program().display()))?;
    let time = started.elapsed();
    if output.status.success() {
        return Ok(Done { output: String::from_utf8_lossy(&output.stdout).into_owned(), time });
    }
    let talk = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = talk.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(TOLD)..].join(" / ");
    Err(format!("{name}: {}: {last}", output.status))
}
