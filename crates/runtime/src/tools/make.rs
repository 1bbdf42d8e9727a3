//! `make`: what has to be compiled on the machine that runs it.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::child::{self, Ending};
use crate::Error;

const NAME: &str = "make";
const PATIENCE: Duration = Duration::from_mins(10);

/// Runs the Makefile of a folder with these variables.
///
/// # Errors
/// [`Error::ToolMissing`]; [`Error::Tool`] with the compiler's words; [`Error::Cancelled`].
pub fn make(folder: &Path, variables: &[(&str, &Path)], cancelled: &AtomicBool) -> Result<(), Error> {
    let failed = |reason: String| Error::Tool { tool: NAME, reason };
    let mut command = Command::new(NAME);
    command.arg("-C").arg(folder);
    for (name, value) in variables {
        let mut word = std::ffi::OsString::from(format!("{name}="));
        word.push(value);
        command.arg(word);
    }
    let ended = child::run(&mut command, PATIENCE, Some(cancelled), &mut |_| ());
    let ended = ended.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::ToolMissing { tool: NAME, places: "on PATH".into() },
        _ => failed(error.to_string()),
    })?;
    if ended.ending == Ending::Cancelled {
        return Err(Error::Cancelled);
    }
    if ended.is_success() {
        return Ok(());
    }
    // The compiler's first error says more than the last line, which is that of `make`.
    let first = ended.lines.iter().find(|line| line.contains("error:")).map(|line| line.trim().to_owned());
    Err(failed(first.unwrap_or_else(|| ended.last_words())))
}
