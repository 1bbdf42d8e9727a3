//! `gst-launch-1.0`: video to frames and back.
//!
//! The library is not linked: its programs read and write raw frames through pipes, so that a broken file or plug-in ends
//! a child and not this program. Files are handed over opened, which leaves no path to be quoted.

mod cut;
mod decode;
mod draw;
mod encode;
mod facts;
mod process;

use std::ffi::OsStr;
use std::path::PathBuf;

pub use decode::{Decoder, Frames};
pub use draw::Drawing;
pub use encode::{Encoder, Encoding};
pub use facts::VideoFacts;
pub use process::Stop;

use super::{gst_inspect, programs};
use crate::Error;

const TOOL: &str = "gst-launch-1.0";

/// `GStreamer` on this machine.
#[derive(Debug, Clone)]
pub struct GStreamer {
    program: PathBuf,
    path: std::ffi::OsString,
}

impl GStreamer {
    /// The one on `path`, the value of `PATH`.
    ///
    /// # Errors
    /// [`Error::ToolMissing`].
    pub fn find(path: Option<&OsStr>) -> Result<Self, Error> {
        let missing = || Error::ToolMissing { tool: TOOL, places: "on PATH".into() };
        let program = programs::find(TOOL, path, &[]).ok_or_else(missing)?;
        Ok(Self { program, path: path.unwrap_or_default().to_owned() })
    }

    /// Whether an element is there.
    pub fn has(&self, element: &str) -> bool {
        gst_inspect::has_element(element, Some(&self.path))
    }

    /// A pipeline, of words as they are typed.
    fn command(&self, pipeline: &str) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        // Decoders that leave frames in the memory of the GPU cannot be read through a pipe.
        command.env("GST_PLUGIN_FEATURE_RANK", "nvv4l2decoder:NONE").env("GST_DEBUG_NO_COLOR", "1");
        command.args(pipeline.split_whitespace());
        command
    }
}

fn failed(reason: String) -> Error {
    Error::Tool { tool: TOOL, reason }
}
