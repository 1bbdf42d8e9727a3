//! Size and frame rate of a video.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::process::error_of;
use super::{GStreamer, failed};
use crate::Error;
use crate::tools::child::{self, Ending, Heard};

/// Decoding one frame takes long only where something hangs.
const PATIENCE: Duration = Duration::from_mins(2);

/// What the frames of a video are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoFacts {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames a second as a fraction; `None` where they come at no fixed rate.
    pub rate: Option<(u32, u32)>,
}

impl GStreamer {
    /// Decodes the first frame of a video and tells what it is.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Tool`] with the reason why it cannot be decoded, also when it was cut off; [`Error::Cancelled`].
    pub fn facts(&self, video: &Path, cancelled: &AtomicBool) -> Result<VideoFacts, Error> {
        let mut file = super::decode::open(video)?;
        let is_cut = super::cut::is_cut(&mut file);
        if is_cut.map_err(|source| Error::Read { path: video.to_owned(), source })? {
            return Err(failed("the file was cut off: its last part is not all there".into()));
        }
        // `-v` prints the format of every pad.
        let mut command = self.command("-v filesrc location=/dev/stdin ! decodebin ! videoconvert ! video/x-raw,format=RGB ! fakesink name=seen num-buffers=1");
        let (mut facts, mut error) = (None, None);
        let ended = child::run_on(&mut command, file.into(), PATIENCE, Some(cancelled), &mut |heard| {
            if let Heard::Line(line) = heard {
                facts = facts.or_else(|| facts_of(line));
                error = error.take().or_else(|| error_of(line));
            }
        });
        let ended = ended.map_err(|error| failed(error.to_string()))?;
        match (ended.ending, facts, error) {
            (Ending::Cancelled, ..) => Err(Error::Cancelled),
            (_, _, Some(error)) => Err(failed(error)),
            (_, Some(facts), None) if ended.is_success() => Ok(facts),
            (_, _, None) => Err(failed(match ended.ending {
                Ending::TimedOut => "the first frame does not come".into(),
                _ => "the file holds no video that can be decoded".into(),
            })),
        }
    }
}

/// `/GstPipeline:pipeline0/GstFakeSink:seen.GstPad:sink: caps = video/x-raw, width=(int)322, …`
fn facts_of(line: &str) -> Option<VideoFacts> {
    let (pad, caps) = line.split_once(" caps = video/x-raw,")?;
    if !pad.contains(":seen.") {
        return None;
    }
    let field = |name: &str, kind: &str| {
        let at = caps.split(", ").find_map(|field| field.trim().strip_prefix(name)?.strip_prefix(kind))?;
        Some(at.trim_end_matches(';'))
    };
    let whole = |name: &str| field(name, "=(int)")?.parse().ok().filter(|number| *number > 0);
    let rate = field("framerate", "=(fraction)").and_then(|rate| {
        let (over, under) = rate.split_once('/')?;
        Some((over.parse().ok()?, under.parse().ok()?)).filter(|(over, under)| *over > 0 && *under > 0)
    });
    Some(VideoFacts { width: whole("width")?, height: whole("height")?, rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_as_they_are_printed() {
        let line = |caps: &str| {
            format!("/GstPipeline:pipeline0/GstFakeSink:seen.GstPad:sink: caps = video/x-raw, {caps}")
        };
        let whole = line(
            "width=(int)322, height=(int)240, interlace-mode=(string)progressive, pixel-aspect-ratio=(fraction)1/1, framerate=(fraction)30000/1001, format=(string)RGB",
        );
        assert_eq!(
            facts_of(&whole),
            Some(VideoFacts { width: 322, height: 240, rate: Some((30_000, 1001)) })
        );
        let free = line("format=(string)RGB, width=(int)64, height=(int)48, framerate=(fraction)0/1");
        assert_eq!(facts_of(&free), Some(VideoFacts { width: 64, height: 48, rate: None }));
        assert_eq!(facts_of(&line("height=(int)48")), None);
        assert_eq!(facts_of(&whole.replace("seen", "videoconvert0")), None);
        assert_eq!(facts_of("Setting pipeline to PAUSED ..."), None);
    }
}
