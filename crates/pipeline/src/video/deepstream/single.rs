//! One stream: a video to look at, and the detections of its first frames as KITTI files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use deploy::{CaptureMode, paths};
use runtime::tools::gst_launch::{Drawing, Encoding};

use super::config::Kind;
use super::{Job, STEP};
use crate::Error;
use crate::run::Event;
use crate::video::kitti::{self, Frame};
use crate::video::local::KITTI;
use crate::video::place::Workplace;

/// Frames that are judged.
const FRAMES: u64 = 100;
/// A first start makes the engine's context and loads many libraries.
const LIMIT: Duration = Duration::from_hours(1);

/// A stream that was played.
pub(super) struct Single {
    pub(super) frames: Vec<Frame>,
    pub(super) mode: CaptureMode,
    /// The video, by its path in the package.
    pub(super) artefact: Option<String>,
}

impl Job<'_> {
    pub(super) fn single(&self) -> Result<Single, Error> {
        let work = Workplace::new(&self.package.join(paths::SAMPLES))?;
        let (mode, name) = self.draw(&work)?;
        self.note("dumps the detections of the first frames");
        let folder = work.folder(KITTI)?;
        let config = self.configs.write(Kind::Kitti(&folder), &self.engine)?;
        // One more is there when the last one that counts is whole.
        let mut is_enough = |_: Option<&str>| count(&folder) > FRAMES;
        self.app.run(config.path(), self.package, LIMIT, self.cancelled, &mut is_enough)?;
        keep_first(&folder)?;
        let frames = kitti::read(&folder)?;
        work.publish(KITTI)?;
        if let Some(name) = &name {
            work.publish(name)?;
        }
        Ok(Single { frames, mode, artefact: name.map(|name| format!("{}/{name}", paths::SAMPLES)) })
    }

    /// Draws the stream into a video by what this machine has; gives its name in the work folder.
    fn draw(&self, work: &Workplace) -> Result<(CaptureMode, Option<String>), Error> {
        let stem =
            self.files.kitti.trim_start_matches("config/deepstream_app_").trim_end_matches("_kitti.txt");
        let encoder =
            self.gstreamer.and_then(|gstreamer| Some((gstreamer, gstreamer.encoding(self.cancelled)?)));
        let Some((gstreamer, encoding)) = encoder else {
            let message =
                "no video is written: neither the hardware encoder nor `theoraenc` with `oggmux` works here";
            (self.tell)(Event::Warning { step: STEP, message });
            return Ok((CaptureMode::Skipped, None));
        };
        self.note("draws one stream");
        let name = format!("{stem}_output.{}", encoding.extension());
        let place = work.path().join(&name);
        let mode = match encoding {
            Encoding::Nvenc => {
                let config = self.configs.write(Kind::Single(&place), &self.engine)?;
                self.app.run(config.path(), self.package, LIMIT, self.cancelled, &mut |_| false)?;
                CaptureMode::Nvenc
            }
            Encoding::Theora => {
                let (width, height) = self.configs.frame;
                let drawing = Drawing {
                    uri: self.configs.uri(),
                    infer: &self.engine.config,
                    engine: &self.engine.path,
                    width,
                    height,
                };
                gstreamer.draw_stream(&drawing, self.package, &place, LIMIT, self.cancelled)?;
                CaptureMode::Theora
            }
        };
        if !place.metadata().is_ok_and(|file| file.len() > 0) {
            let reason = "it ended well and wrote no video".to_owned();
            return Err(runtime::Error::Tool { tool: "deepstream-app", reason }.into());
        }
        Ok((mode, Some(name)))
    }
}

fn count(folder: &Path) -> u64 {
    fs::read_dir(folder).map_or(0, |entries| entries.count() as u64)
}

/// Removes what came after the frames that count.
fn keep_first(folder: &Path) -> Result<(), Error> {
    let kept: Vec<String> = (0..FRAMES).map(kitti::file_name).collect();
    let at = |source| Error::Io { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(at)? {
        let entry = entry.map_err(at)?;
        if !kept.iter().any(|name| entry.file_name() == name.as_str()) {
            fs::remove_file(entry.path()).map_err(at)?;
        }
    }
    Ok(())
}
