//! `sightline run`: a video through the detector, with boxes, KITTI files and a gate.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use pipeline::runtime::tools::gst_launch::GStreamer;
use pipeline::{Annotations, Event, Gate, Played, Playing};
use serde::Serialize;

use super::shared::{ModelArgs, fraction, on_interrupt};
use crate::output::Output;
use crate::progress::Progress;
use crate::{Failure, env, exit_code};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    place: Place,
}

#[derive(Debug, clap::Subcommand)]
enum Place {
    /// On a backend of this machine; GStreamer decodes and encodes
    Local(Box<LocalArgs>),
}

#[derive(Debug, clap::Args)]
struct LocalArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    video: VideoArgs,
    /// Lowest score [default: the head's own]
    #[arg(long, value_name = "SCORE", value_parser = fraction)]
    confidence: Option<f32>,
    /// Look at every N-th frame only; those between show the last boxes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Read at most this many frames [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
    /// Write no video with boxes
    #[arg(long)]
    no_video: bool,
    /// Folder for the frames that were looked at, as PNG files without boxes
    #[arg(long, value_name = "DIR")]
    extract: Option<PathBuf>,
    /// Folder for the results [default: `samples` of the package, which also records them]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What is judged.
#[derive(Debug, clap::Args)]
struct VideoArgs {
    /// The video
    #[arg(long, value_name = "FILE")]
    video: PathBuf,
    /// Annotated frames in COCO form; the last number of an image's file name is its frame, from 0
    #[arg(long, value_name = "FILE", help_heading = "Gate")]
    annotations: Option<PathBuf>,
    /// Share of the annotated objects that has to be found, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, requires = "annotations", help_heading = "Gate", value_parser = fraction)]
    found: f32,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Outcome(Played);

pub(crate) fn run(args: Args, output: &Output) -> Result<ExitCode, Failure> {
    match args.place {
        Place::Local(args) => local(*args, output),
    }
}

fn local(args: LocalArgs, output: &Output) -> Result<ExitCode, Failure> {
    let cancelled = on_interrupt()?;
    let path = env::lookup("PATH");
    let gstreamer = GStreamer::find(path.as_ref().map(AsRef::as_ref)).map_err(pipeline::Error::from)?;
    let subject = args.model.open()?;
    let playing = Playing {
        annotations: args.video.annotations()?,
        video: args.video.video,
        backend: args.model.backend.clone(),
        confidence: args.confidence,
        every: args.every,
        frames: args.frames,
        draw: !args.no_video,
        extract: args.extract,
        out: args.out,
        command_line: super::import::command_line(std::env::args_os().skip(1)),
    };
    let progress = Progress::new(output);
    let tell = |event: Event<'_>| progress.show(&event);
    let played = pipeline::play(&args.model.model, &subject, &gstreamer, &playing, &cancelled, &tell);
    progress.clear();
    let played = played?;
    let passed = played.gate.passed;
    output.result(&Outcome(played))?;
    Ok(exit_code::passed(passed))
}

impl VideoArgs {
    fn annotations(&self) -> Result<Option<(Annotations, f64)>, Failure> {
        let open = |path: &PathBuf| Ok((Annotations::open(path)?, f64::from(self.found)));
        self.annotations.as_ref().map(open).transpose()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(played) = self;
        writeln!(
            f,
            "{} ({}×{}): {} frames in {:.1} s on {}, {:.1} frames a second",
            played.video.display(),
            played.width,
            played.height,
            played.frames,
            played.seconds,
            played.backend,
            played.frames as f64 / played.seconds.max(1e-3)
        )?;
        writeln!(f, "  KITTI files  {}", played.kitti.display())?;
        match &played.drawn {
            Some(video) => writeln!(f, "  video        {} ({})", video.display(), played.mode.as_str())?,
            None => writeln!(f, "  video        none")?,
        }
        gate(f, &played.gate)
    }
}

fn gate(f: &mut fmt::Formatter<'_>, gate: &Gate) -> fmt::Result {
    writeln!(
        f,
        "  detections   in {} of {} frames: {:.1} %, {:.0} % asked for",
        gate.frames_with_detections,
        gate.frames,
        100.0 * gate.rate(),
        100.0 * gate.bound
    )?;
    if let Some(known) = &gate.known {
        writeln!(
            f,
            "  known frames {} of {} objects found in {} frames: {:.1} %, {:.0} % asked for",
            known.found,
            known.objects,
            known.frames,
            100.0 * known.share(),
            100.0 * known.bound
        )?;
    }
    writeln!(f, "{}", if gate.passed { "the gate is passed" } else { "the gate is NOT passed" })
}
