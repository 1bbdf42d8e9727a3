//! `gst-inspect-1.0`: which elements `GStreamer` has here.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::programs;

const TOOL: &str = "gst-inspect-1.0";

/// The program.
#[derive(Debug, Clone)]
pub struct GstInspect {
    program: PathBuf,
    /// `GStreamer`'s version, as `1.22.0`.
    pub version: Option<String>,
}

impl GstInspect {
    /// The program on `path` (the value of `PATH`); `None` without `GStreamer`'s tools.
    pub fn find(path: Option<&OsStr>) -> Option<Self> {
        let program = programs::find(TOOL, path, &[])?;
        // `gst-inspect-1.0 version 1.22.0`, then `GStreamer 1.22.0` and where it is from.
        let lines = programs::lines(&program, &["--version"])?;
        let version =
            lines.iter().find_map(|line| line.strip_prefix("GStreamer ")).map(|v| v.trim().to_owned());
        Some(Self { program, version })
    }

    /// Whether an element can be made, as `theoraenc`.
    pub fn has(&self, element: &str) -> bool {
        exists(&self.program, element)
    }
}

/// Whether an element is there; `false` too where `GStreamer` is not. `path` is the value of `PATH`.
pub fn has_element(element: &str, path: Option<&OsStr>) -> bool {
    programs::find(TOOL, path, &[]).is_some_and(|program| exists(&program, element))
}

/// The first call after an installation looks through every plug-in, so that it may take a while.
fn exists(program: &Path, element: &str) -> bool {
    programs::lines(program, &["--exists", element]).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_there_without_the_program() {
        assert!(!has_element("fakesink", None));
        let empty = tempfile::tempdir().unwrap();
        assert!(!has_element("fakesink", Some(empty.path().as_os_str())));
        assert!(GstInspect::find(Some(empty.path().as_os_str())).is_none());
    }
}
