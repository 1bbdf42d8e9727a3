//! Where `trtexec` is, and which version.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Version;
use super::log::version_in;
use crate::Error;
use crate::tools::child::{self, Heard};
use crate::tools::programs;

/// The program's file name.
const NAME: &str = "trtexec";
/// Where NVIDIA's packages put it; not on `PATH`.
const INSTALLED: &str = "/usr/src/tensorrt/bin";
/// Loading its libraries from a cold disk takes a while.
const PATIENCE: Duration = Duration::from_mins(2);

/// A `trtexec` that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trtexec {
    /// The program.
    pub program: PathBuf,
    /// The TensorRT that it belongs to.
    pub version: Version,
}

impl Trtexec {
    /// The program that the user names, else the first on `path` (the value of `PATH`), else NVIDIA's own place. Its help
    /// is asked for the version, which needs no GPU.
    ///
    /// # Errors
    /// [`Error::ToolMissing`] with the places when it is nowhere; [`Error::ToolUnusable`] when it does not start, is no
    /// `trtexec`, or is older than [`Version::OLDEST`].
    pub fn find(named: Option<&Path>, path: Option<&OsStr>) -> Result<Self, Error> {
        let program = match named {
            Some(named) if named.is_dir() => named.join(NAME),
            Some(named) => named.to_owned(),
            None => on_this_machine(path)?,
        };
        // Runs happen in other folders.
        let program = std::path::absolute(&program).unwrap_or(program);
        let version = ask(&program)?;
        if version < Version::OLDEST {
            let oldest = Version::OLDEST;
            let reason = format!(
                "it is of TensorRT {version}; {}.{} is the oldest that is supported",
                oldest.major, oldest.minor
            );
            return Err(unusable(&program, reason));
        }
        Ok(Self { program, version })
    }
}

fn on_this_machine(path: Option<&OsStr>) -> Result<PathBuf, Error> {
    programs::find(NAME, path, &[Path::new(INSTALLED)])
        .ok_or_else(|| Error::ToolMissing { tool: NAME, places: format!("on `PATH` and in `{INSTALLED}`") })
}

/// The version in the first line of its help: `&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec --help`.
fn ask(program: &Path) -> Result<Version, Error> {
    let mut version = None;
    let mut command = Command::new(program);
    command.arg("--help");
    let ended = child::run(&mut command, PATIENCE, None, &mut |heard| {
        if let Heard::Line(line) = heard {
            version = version.or_else(|| version_in(line));
        }
    });
    match (ended, version) {
        (_, Some(version)) => Ok(version),
        (Err(error), None) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::ToolMissing { tool: NAME, places: format!("at `{}`", program.display()) })
        }
        (Err(error), None) => Err(unusable(program, error.to_string())),
        // What a missing library says stands here.
        (Ok(ended), None) => Err(unusable(
            program,
            format!("it does not say which TensorRT it belongs to: {}", ended.last_words()),
        )),
    }
}

fn unusable(program: &Path, reason: String) -> Error {
    Error::ToolUnusable { tool: NAME, program: program.to_owned(), reason }
}
