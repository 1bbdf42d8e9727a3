//! `gst-inspect-1.0`: which elements `GStreamer` has here.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::programs;

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
        let program = programs::find("gst-inspect-1.0", path, &[])?;
        // `gst-inspect-1.0 version 1.22.0`, then `GStreamer 1.22.0` and where it is from.
        let lines = programs::lines(&program, &["--version"])?;
        let version =
            lines.iter().find_map(|line| line.strip_prefix("GStreamer ")).map(|v| v.trim().to_owned());
        Some(Self { program, version })
    }

    /// Whether an element can be made, as `theoraenc`.
    pub fn has(&self, element: &str) -> bool {
        programs::lines(&self.program, &["--exists", element]).is_some()
    }
}
