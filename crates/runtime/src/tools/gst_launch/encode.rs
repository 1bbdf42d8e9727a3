//! Frames to video. The encoders are the hardware's and Theora; the software encoders of H.264 are never used, for their
//! licences.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::process::{Process, Stop};
use super::{GStreamer, VideoFacts, failed};
use crate::Error;
use crate::tools::child;

/// How video is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// H.264 by the hardware, as MP4.
    Nvenc,
    /// Theora, as Ogg.
    Theora,
}

impl Encoding {
    /// Elements from raw frames in main memory to a file's bytes.
    fn elements(self) -> &'static [&'static str] {
        match self {
            Self::Nvenc => &["nvvideoconvert", "nvv4l2h264enc", "h264parse", "mp4mux"],
            Self::Theora => &["theoraenc", "oggmux"],
        }
    }

    fn pipeline(self) -> &'static str {
        match self {
            Self::Nvenc => {
                "nvvideoconvert ! video/x-raw(memory:NVMM),format=NV12 ! nvv4l2h264enc bitrate=8000000 ! h264parse ! mp4mux"
            }
            Self::Theora => "theoraenc quality=56 ! oggmux",
        }
    }

    /// The ending of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Nvenc => "mp4",
            Self::Theora => "ogv",
        }
    }
}

/// A running encoder.
pub struct Encoder {
    process: Process,
    input: ChildStdin,
    stride: usize,
    padding: usize,
}

impl GStreamer {
    /// How this machine can write video; `None` where it has no encoder. Hardware is tried, not only looked for: the
    /// element is there on machines without an encoder too.
    pub fn encoding(&self, cancelled: &AtomicBool) -> Option<Encoding> {
        let works = |encoding: &Encoding| {
            let first = "-q videotestsrc num-buffers=3 ! video/x-raw,width=320,height=240 ! videoconvert !";
            let mut command = self.command(&format!("{first} {} ! fakesink", encoding.pipeline()));
            encoding.elements().iter().all(|element| self.has(element))
                && child::run(&mut command, Duration::from_secs(30), Some(cancelled), &mut |_| ())
                    .is_ok_and(|ended| ended.is_success())
        };
        [Encoding::Nvenc, Encoding::Theora].into_iter().find(works)
    }

    /// Starts to encode into a new file `folder/name`. `name` is plain: letters, digits, `-`, `_` and `.`. The calling thread
    /// has to outlive the encoder.
    ///
    /// # Errors
    /// [`Error::Tool`].
    pub fn encode(
        &self,
        encoding: Encoding,
        facts: VideoFacts,
        folder: &Path,
        name: &str,
    ) -> Result<Encoder, Error> {
        let VideoFacts { width, height, rate } = facts;
        let (over, under) = rate.unwrap_or((30, 1));
        let row = width as usize * 3;
        let stride = super::decode::stride(width as usize);
        let pipeline = format!(
            "-q fdsrc fd=0 blocksize={} ! rawvideoparse format=rgb width={width} height={height} framerate={over}/{under} ! \
             videoconvert ! {} ! filesink location={name}",
            stride * height as usize,
            encoding.pipeline()
        );
        let mut command = self.command(&pipeline);
        command.current_dir(folder);
        let process = Process::start(&mut command, Stdio::piped(), Stdio::null())?;
        let input = process.input().ok_or_else(|| failed("it takes no frames".into()))?;
        Ok(Encoder { process, input, stride: row, padding: stride - row })
    }
}

impl Encoder {
    /// Ends it early.
    pub fn stop(&self) -> Stop {
        self.process.stop()
    }

    /// Adds a frame of `width * height * 3` bytes. Gives `false` when the encoder takes no more: [`Encoder::finish`] tells why.
    pub fn add(&mut self, pixels: &[u8]) -> bool {
        let padding = [0; 3];
        if self.padding == 0 {
            return self.input.write_all(pixels).is_ok();
        }
        let mut frame = Vec::with_capacity(pixels.len() / self.stride * (self.stride + self.padding));
        for row in pixels.chunks_exact(self.stride) {
            frame.extend_from_slice(row);
            frame.extend_from_slice(&padding[..self.padding]);
        }
        self.input.write_all(&frame).is_ok()
    }

    /// Writes the rest and ends the file.
    ///
    /// # Errors
    /// [`Error::Tool`] with what it complained about.
    pub fn finish(self) -> Result<(), Error> {
        drop(self.input);
        self.process.finish()
    }
}
