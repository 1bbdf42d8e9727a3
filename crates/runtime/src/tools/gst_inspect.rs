//! `gst-inspect-1.0`: which elements of `GStreamer` this machine has.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::child;

const TOOL: &str = "gst-inspect-1.0";
/// The first call after an installation looks through every plug-in.
const PATIENCE: Duration = Duration::from_mins(1);

/// Whether an element is there; `false` too where `GStreamer` is not. `path` is the value of `PATH`.
pub fn has_element(element: &str, path: Option<&OsStr>) -> bool {
    let Some(program) = find(TOOL, path) else { return false };
    let mut command = Command::new(program);
    command.args(["--exists", element]);
    child::run(&mut command, PATIENCE, None, &mut |_| ()).is_ok_and(|ended| ended.is_success())
}

/// A program of `GStreamer` on `path`.
pub(super) fn find(tool: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(path?).map(|folder| folder.join(tool)).find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_there_without_the_program() {
        assert!(!has_element("fakesink", None));
        let empty = tempfile::tempdir().unwrap();
        assert!(!has_element("fakesink", Some(empty.path().as_os_str())));
    }
}
