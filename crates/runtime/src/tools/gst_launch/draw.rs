//! A stream through NVIDIA's elements into a Theora video, for machines whose GPU has no encoder.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::process::error_of;
use super::{GStreamer, failed};
use crate::Error;
use crate::tools::child::{self, Ending, Heard};

/// What is drawn. Paths are relative to the folder that the pipeline runs in, and hold no space.
#[derive(Debug, Clone, Copy)]
pub struct Drawing<'a> {
    /// `file:///…`, with everything else than letters, digits and `/-_.~` in percent.
    pub uri: &'a str,
    /// nvinfer's configuration.
    pub infer: &'a str,
    /// The engine.
    pub engine: &'a str,
    /// Width of the frames in pixels.
    pub width: u32,
    /// Height of the frames in pixels.
    pub height: u32,
}

impl Drawing<'_> {
    fn pipeline(&self) -> String {
        let Self { uri, infer, engine, width, height } = self;
        format!(
            "-q uridecodebin uri={uri} ! m.sink_0 nvstreammux name=m batch-size=1 width={width} height={height} ! \
             nvinfer config-file-path={infer} model-engine-file={engine} batch-size=1 ! nvvideoconvert ! nvdsosd ! \
             nvvideoconvert ! video/x-raw,format=I420 ! theoraenc quality=56 ! oggmux ! filesink"
        )
    }
}

impl GStreamer {
    /// Draws a stream from the folder `place` into the file `video`.
    ///
    /// # Errors
    /// [`Error::Tool`], [`Error::Cancelled`].
    pub fn draw_stream(
        &self,
        drawing: &Drawing<'_>,
        place: &Path,
        video: &Path,
        limit: Duration,
        cancelled: &AtomicBool,
    ) -> Result<(), Error> {
        let mut command = std::process::Command::new(&self.program);
        command.args(drawing.pipeline().split_whitespace());
        // One word, so that spaces in it are the file's own.
        let mut location = std::ffi::OsString::from("location=");
        location.push(video);
        command.arg(location).current_dir(place);
        let mut error = None;
        let ended = child::run(&mut command, limit, Some(cancelled), &mut |heard| {
            if let Heard::Line(line) = heard {
                error = error.take().or_else(|| error_of(line));
            }
        });
        let ended = ended.map_err(|error| failed(error.to_string()))?;
        if ended.ending == Ending::Cancelled || cancelled.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        match error {
            None if ended.is_success() => Ok(()),
            error => Err(failed(error.unwrap_or_else(|| ended.last_words()))),
        }
    }
}
