//! Decoding, detection and encoding side by side. Between two of them wait at most a few frames, whatever the video's
//! length.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use detect::{Detections, Image, Labels, draw};
use runtime::tools::gst_launch::{Decoder, Encoder, Frames, Stop};

use crate::Error;

/// Frames that may wait between two threads.
const WAITING: usize = 3;
/// How often it is looked whether the run was called off.
const TICK: Duration = Duration::from_millis(100);

/// What goes in.
pub(super) struct Flow<'a> {
    pub(super) video: &'a Path,
    pub(super) decoder: Decoder,
    pub(super) frames: Frames,
    /// Width and height of the frames.
    pub(super) size: (u32, u32),
    /// `None` writes no video.
    pub(super) encoder: Option<Encoder>,
    pub(super) labels: &'a Labels,
    /// Most frames that are read.
    pub(super) most: u64,
    pub(super) cancelled: &'a AtomicBool,
}

impl Flow<'_> {
    /// Reads the video and gives each frame, with its number, to `look`; what that finds is drawn into the video. Gives the
    /// number of frames.
    ///
    /// # Errors
    /// Those of `look`; [`Error::Video`] of the decoder, [`runtime::Error::Tool`] of the encoder; [`runtime::Error::Cancelled`].
    pub(super) fn run(
        self,
        mut look: impl FnMut(u64, &Image) -> Result<Detections, Error>,
    ) -> Result<u64, Error> {
        let Self { video, decoder, frames, size, encoder, labels, most, cancelled } = self;
        let (to_look, seen) = sync_channel(WAITING);
        let (to_draw, looked) = sync_channel::<(Image, Detections)>(WAITING);
        let stops: Vec<Stop> =
            std::iter::once(decoder.stop()).chain(encoder.as_ref().map(Encoder::stop)).collect();
        let done = AtomicBool::new(false);
        let (read, looked, written) = std::thread::scope(|scope| {
            scope.spawn(|| watch(&stops, cancelled, &done));
            let reading = scope.spawn(move || read(frames, most, &to_look));
            let writing = scope.spawn(move || write(encoder, &looked, labels));
            let outcome = each(seen, size, &to_draw, cancelled, &mut look);
            drop(to_draw);
            // Where looking failed, the decoder may be waiting for someone to take its frames.
            if outcome.is_err() {
                stops.iter().for_each(Stop::stop);
            }
            let (read, written) = (reading.join(), writing.join());
            done.store(true, Ordering::Relaxed);
            (read, outcome, written)
        });
        if cancelled.load(Ordering::Relaxed) {
            return Err(runtime::Error::Cancelled.into());
        }
        let count = looked?;
        let broken = |_| Error::Options("a thread of the video broke off".into());
        let of_video = Error::of_video(video);
        let is_whole = read.map_err(broken)?.map_err(&of_video)?;
        if is_whole {
            decoder.finish().map_err(&of_video)?;
        }
        written.map_err(broken)??;
        Ok(count)
    }
}

/// Ends the children when the run is called off: a thread that waits for one of them then goes on.
fn watch(stops: &[Stop], cancelled: &AtomicBool, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        if cancelled.load(Ordering::Relaxed) {
            stops.iter().for_each(Stop::stop);
            return;
        }
        std::thread::sleep(TICK);
    }
}

/// Sends frame after frame; gives whether the video was read to its end.
fn read(mut frames: Frames, most: u64, to: &SyncSender<Vec<u8>>) -> Result<bool, runtime::Error> {
    for _ in 0..most {
        let Some(pixels) = frames.next_frame()? else { return Ok(true) };
        if to.send(pixels).is_err() {
            break;
        }
    }
    Ok(false)
}

/// Looks at each frame; gives their number.
fn each(
    seen: Receiver<Vec<u8>>,
    (width, height): (u32, u32),
    to: &SyncSender<(Image, Detections)>,
    cancelled: &AtomicBool,
    look: &mut impl FnMut(u64, &Image) -> Result<Detections, Error>,
) -> Result<u64, Error> {
    let mut count = 0;
    for pixels in seen {
        if cancelled.load(Ordering::Relaxed) {
            break;
        }
        let image = Image::new(width, height, pixels)?;
        let detections = look(count, &image)?;
        count += 1;
        // An encoder that has ended tells why when it is finished.
        if to.send((image, detections)).is_err() {
            break;
        }
    }
    Ok(count)
}

/// Draws and encodes; without an encoder frames go nowhere.
fn write(
    mut encoder: Option<Encoder>,
    looked: &Receiver<(Image, Detections)>,
    labels: &Labels,
) -> Result<(), runtime::Error> {
    for (image, detections) in looked {
        let Some(encoder) = &mut encoder else { continue };
        if !encoder.add(draw(&image, &detections, labels).pixels()) {
            break;
        }
    }
    encoder.map_or(Ok(()), Encoder::finish)
}
