//! Video to frames.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::{ChildStdout, Stdio};

use super::process::{Process, Stop};
use super::{GStreamer, VideoFacts, failed};
use crate::Error;

/// A running decoder.
pub struct Decoder(Process);

/// The frames of a decoder, one after the other.
pub struct Frames {
    output: ChildStdout,
    width: usize,
    height: usize,
    /// A frame as it comes: every row is filled up to a multiple of four bytes.
    raw: Vec<u8>,
}

impl GStreamer {
    /// Starts to decode a video, into frames of the size in `facts`. The calling thread has to outlive the decoder.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Tool`].
    pub fn decode(&self, video: &Path, facts: VideoFacts) -> Result<(Decoder, Frames), Error> {
        let VideoFacts { width, height, .. } = facts;
        // A stream that changes its size is scaled to the first one.
        let pipeline = format!(
            "-q filesrc location=/dev/stdin ! decodebin ! videoconvert ! videoscale ! \
             video/x-raw,format=RGB,width={width},height={height} ! fdsink fd=1 sync=false"
        );
        let process = Process::start(&mut self.command(&pipeline), open(video)?.into(), Stdio::piped())?;
        let output = process.output().ok_or_else(|| failed("its output cannot be read".into()))?;
        let (width, height) = (width as usize, height as usize);
        let raw = vec![0; stride(width) * height];
        Ok((Decoder(process), Frames { output, width, height, raw }))
    }
}

impl Decoder {
    /// Ends it early.
    pub fn stop(&self) -> Stop {
        self.0.stop()
    }

    /// Waits for its end, after the last frame.
    ///
    /// # Errors
    /// [`Error::Tool`] where the video cannot be decoded up to its end.
    pub fn finish(self) -> Result<(), Error> {
        self.0.finish()
    }
}

impl Frames {
    /// The pixels of the next frame, `width * height * 3` bytes; `None` after the last one.
    ///
    /// # Errors
    /// [`Error::Tool`] when the decoder stops in the middle of a frame.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match fill(&mut self.output, &mut self.raw) {
            Ok(0) => return Ok(None),
            Ok(read) if read == self.raw.len() => (),
            Ok(_) => return Err(failed("the video ends in the middle of a frame".into())),
            Err(error) => return Err(failed(error.to_string())),
        }
        let mut pixels = Vec::with_capacity(self.width * self.height * 3);
        for row in self.raw.chunks_exact(stride(self.width)) {
            pixels.extend_from_slice(&row[..self.width * 3]);
        }
        Ok(Some(pixels))
    }
}

/// Opens a video.
pub(super) fn open(video: &Path) -> Result<File, Error> {
    let at = |source| Error::Read { path: video.to_owned(), source };
    let file = File::open(video).map_err(at)?;
    // A folder opens as well.
    if file.metadata().map_err(at)?.is_dir() {
        return Err(at(ErrorKind::IsADirectory.into()));
    }
    Ok(file)
}

/// Bytes of a row.
pub(super) fn stride(width: usize) -> usize {
    (width * 3).next_multiple_of(4)
}

/// Reads until `bytes` is full or there is no more.
fn fill(input: &mut impl Read, bytes: &mut [u8]) -> std::io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match input.read(&mut bytes[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
