//! `run local`: a video through a backend of this machine, without `DeepStream`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use detect::{Detections, Image, Thresholds, encode_png};
use runtime::tools::gst_launch::{Encoding, GStreamer, VideoFacts};
use serde::Serialize;

use super::flow::Flow;
use super::kitti::{self, Frame, Object};
use super::known::Fixture;
use super::place::Workplace;
use super::{Gate, record};
use crate::network::Network;
use crate::run::Event;
use crate::{Annotations, Error, Subject};

/// What the step is called.
const STEP: &str = "video";
/// Folder of the KITTI files.
pub(super) const KITTI: &str = "kitti_output";

/// How a video is played.
#[derive(Debug, Clone)]
pub struct Playing {
    /// The video.
    pub video: PathBuf,
    /// The backend.
    pub backend: String,
    /// Lowest score; `None` for the head's default.
    pub confidence: Option<f32>,
    /// Looks at every so many frames only, at least 1. Those between show the last boxes and count for nothing.
    pub every: u64,
    /// Most frames that are read; `None` for all.
    pub frames: Option<u64>,
    /// Frames whose objects are known, and the share of these that has to be found.
    pub annotations: Option<(Annotations, f64)>,
    /// Whether a video with boxes is written.
    pub draw: bool,
    /// Folder for the frames that were looked at, as PNG files.
    pub extract: Option<PathBuf>,
    /// Folder of the results; `None` for `samples` of the package.
    pub out: Option<PathBuf>,
    /// The command line as it was typed, for the report.
    pub command_line: String,
}

/// A video that was played.
#[derive(Debug, Serialize)]
pub struct Played {
    /// The video.
    pub video: PathBuf,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// Frames that were read.
    pub frames: u64,
    /// The backend.
    pub backend: String,
    /// How long it took, from the first frame's decoding to the last one's encoding.
    pub seconds: f64,
    /// Folder of the KITTI files.
    pub kitti: PathBuf,
    /// The video with boxes; `None` where none was written.
    pub drawn: Option<PathBuf>,
    /// The fixed words for how it was written.
    pub mode: deploy::CaptureMode,
    /// Objects that were found, in all frames together.
    pub objects: u64,
    /// The outcome.
    pub gate: Gate,
}

/// Plays a video. Memory does not grow with its length.
///
/// # Errors
/// [`Error::Options`]; [`Error::Runtime`] when `GStreamer` or an element is missing, the video cannot be decoded, or the
/// run is called off. Nothing is left under a final name then. A gate that is not passed is no error.
pub fn play(
    model: &Path,
    subject: &Subject,
    gstreamer: &GStreamer,
    playing: &Playing,
    cancelled: &AtomicBool,
    tell: &dyn Fn(Event<'_>),
) -> Result<Played, Error> {
    let out = out_folder(model, playing)?;
    let at = |source| Error::Io { path: playing.video.clone(), source };
    if fs::metadata(&playing.video).map_err(at)?.is_dir() {
        return Err(at(std::io::ErrorKind::IsADirectory.into()));
    }
    let facts = gstreamer.facts(&playing.video, cancelled).map_err(Error::of_video(&playing.video))?;
    let size = (facts.width, facts.height);
    let fixture = playing.annotations.as_ref();
    let fixture =
        fixture.map(|(annotations, bound)| Fixture::new(&annotations.dataset, size, *bound)).transpose()?;
    let encoding = if playing.draw { encoding(gstreamer, cancelled, tell) } else { None };
    let work = Workplace::new(&out)?;
    let drawn = encoding.map(|encoding| format!("{}_video.{}", plain(&subject.name), encoding.extension()));
    let started = Instant::now();
    let (count, frames) = run(
        subject,
        gstreamer,
        playing,
        &Place { work: &work, facts, encoding, drawn: drawn.as_deref() },
        cancelled,
        tell,
    )?;
    let seconds = started.elapsed().as_secs_f64();
    if count == 0 {
        let reason = format!("`{}` holds no frame that can be decoded", playing.video.display());
        return Err(runtime::Error::Tool { tool: "gst-launch-1.0", reason }.into());
    }
    work.publish(KITTI)?;
    if let Some(name) = &drawn {
        work.publish(name)?;
        // One of an earlier run with another encoder would pass for this one's.
        for other in ["mp4", "ogv"].map(|extension| format!("{}_video.{extension}", plain(&subject.name))) {
            if other != *name {
                work.remove(&other)?;
            }
        }
    }
    let played = Played {
        video: playing.video.clone(),
        width: facts.width,
        height: facts.height,
        frames: count,
        backend: playing.backend.clone(),
        seconds,
        kitti: out.join(KITTI),
        drawn: drawn.map(|name| out.join(name)),
        mode: encoding.map_or(deploy::CaptureMode::Skipped, |encoding| match encoding {
            Encoding::Nvenc => deploy::CaptureMode::Nvenc,
            Encoding::Theora => deploy::CaptureMode::Theora,
        }),
        objects: frames.iter().map(|frame| frame.objects.len() as u64).sum(),
        gate: Gate::of(&frames, fixture.as_ref()),
    };
    if playing.out.is_none() {
        record::local(model, &played, &playing.command_line)?;
    }
    Ok(played)
}

/// Where a run writes.
struct Place<'a> {
    work: &'a Workplace,
    facts: VideoFacts,
    encoding: Option<Encoding>,
    drawn: Option<&'a str>,
}

/// Plays it into the work folder; gives the number of frames and what was found in those that were looked at.
fn run(
    subject: &Subject,
    gstreamer: &GStreamer,
    playing: &Playing,
    place: &Place<'_>,
    cancelled: &AtomicBool,
    tell: &dyn Fn(Event<'_>),
) -> Result<(u64, Vec<Frame>), Error> {
    let mut network = Network::load(&subject.onnx, &subject.detector, &playing.backend, None)?;
    let default = Thresholds::for_head(&subject.detector.head);
    let thresholds = Thresholds { confidence: playing.confidence.unwrap_or(default.confidence), ..default };
    let folder = place.work.folder(KITTI)?;
    let labels = &subject.detector.labels;
    if let Some(extract) = &playing.extract {
        crate::store::create_dir(extract)?;
    }
    let encoder = place.encoding.zip(place.drawn);
    let encoder = encoder
        .map(|(encoding, name)| gstreamer.encode(encoding, place.facts, place.work.path(), name))
        .transpose()?;
    let (decoder, frames) = gstreamer.decode(&playing.video, place.facts)?;
    let most = playing.frames.unwrap_or(u64::MAX);
    let size = (place.facts.width, place.facts.height);
    let flow = Flow { video: &playing.video, decoder, frames, size, encoder, labels, most, cancelled };
    let (mut found, mut last) = (Vec::new(), Detections::default());
    let count = flow.run(|number, image| {
        if number.is_multiple_of(playing.every.max(1)) {
            last = network.detect(std::slice::from_ref(image), &thresholds)?.pop().unwrap_or_default();
            let objects = objects(&last, image, labels);
            let file = folder.join(kitti::file_name(number));
            fs::write(&file, kitti::to_text(&objects)).map_err(|source| Error::Io { path: file, source })?;
            if let Some(extract) = &playing.extract {
                save(extract, number, image)?;
            }
            found.push(Frame { number, objects });
            tell(Event::Progress {
                step: STEP,
                unit: "frames",
                done: number + 1,
                total: playing.frames.unwrap_or(number + 1),
            });
        }
        Ok(last.clone())
    })?;
    Ok((count, found))
}

/// Objects as nvinfer tells them: clipped to the frame.
fn objects(detections: &Detections, image: &Image, labels: &detect::Labels) -> Vec<Object> {
    let object = |detection: &detect::Detection| {
        let bbox = detection.bbox.clipped(image.width(), image.height());
        let bbox = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(f64::from);
        Object { label: labels.display(detection.label), bbox, score: f64::from(detection.score) }
    };
    detections.iter().map(object).collect()
}

/// Writes a frame without boxes.
fn save(folder: &Path, number: u64, image: &Image) -> Result<(), Error> {
    let path = folder.join(format!("{number:06}.png"));
    let bytes = encode_png(image)?;
    crate::package::write_whole(folder, &path, |file, _| {
        std::io::Write::write_all(file, &bytes).map_err(|source| Error::Io { path: path.clone(), source })
    })
}

fn out_folder(model: &Path, playing: &Playing) -> Result<PathBuf, Error> {
    match &playing.out {
        Some(out) => Ok(out.clone()),
        None if model.is_dir() => Ok(model.join(deploy::paths::SAMPLES)),
        None => Err(Error::Options(
            "an ONNX file has no place for results: name a folder with `--out DIR`".into(),
        )),
    }
}

/// The encoder of this machine; that there is none is told.
fn encoding(gstreamer: &GStreamer, cancelled: &AtomicBool, tell: &dyn Fn(Event<'_>)) -> Option<Encoding> {
    let encoding = gstreamer.encoding(cancelled);
    if encoding.is_none() {
        let message = "no video is written: neither the hardware encoder (`nvv4l2h264enc`) nor `theoraenc` with `oggmux` works here";
        tell(Event::Warning { step: STEP, message });
    }
    encoding
}

/// A name that needs no quoting in a pipeline.
fn plain(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c), "_")
}
