//! `sightline run`: a video through the detector, with boxes, KITTI files and a gate.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use pipeline::deploy::StreamLimit;
use pipeline::runtime::tools::deepstream_app::DeepStreamApp;
use pipeline::runtime::tools::gst_launch::GStreamer;
use pipeline::{Annotations, Event, Gate, Played, Playing, Streamed, Streaming};
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
    /// On a backend of this machine; `GStreamer` decodes and encodes
    Local(Box<LocalArgs>),
    /// In NVIDIA DeepStream, with the engine that `build` made: one stream judged, many timed
    Deepstream(DeepstreamArgs),
}

#[derive(Debug, clap::Args)]
struct DeepstreamArgs {
    /// A package with an engine
    package: PathBuf,
    /// The video [default: `sample_720p.mp4` of the `DeepStream` installation]
    #[arg(long, value_name = "FILE")]
    video: Option<PathBuf>,
    /// Streams of the first timed run, at most as many as the engine takes [default: `PEAK_GPU_STREAMS`]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    streams: Option<u32>,
    /// How long each timed run counts
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..=3600))]
    seconds: u32,
    /// Folder of the DeepStream installation [default: /opt/nvidia/deepstream/deepstream]
    #[arg(long, value_name = "DIR")]
    deepstream: Option<PathBuf>,
    #[command(flatten)]
    gate: GateArgs,
}

#[derive(Debug, clap::Args)]
struct LocalArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The video
    #[arg(long, value_name = "FILE")]
    video: PathBuf,
    #[command(flatten)]
    gate: GateArgs,
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
struct GateArgs {
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
        Place::Deepstream(args) => deepstream(args, output),
    }
}

fn local(args: LocalArgs, output: &Output) -> Result<ExitCode, Failure> {
    let cancelled = on_interrupt()?;
    let path = env::lookup("PATH");
    let gstreamer = GStreamer::find(path.as_ref().map(AsRef::as_ref)).map_err(pipeline::Error::from)?;
    let subject = args.model.open()?;
    let playing = Playing {
        annotations: args.gate.annotations()?,
        video: args.video,
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

#[derive(Serialize)]
#[serde(transparent)]
struct Streams(Streamed);

fn deepstream(args: DeepstreamArgs, output: &Output) -> Result<ExitCode, Failure> {
    let cancelled = on_interrupt()?;
    let path = env::lookup("PATH");
    let path = path.as_ref().map(AsRef::as_ref);
    let app = DeepStreamApp::find(args.deepstream.as_deref(), path).map_err(pipeline::Error::from)?;
    // Without it there is no video to look at; that is said.
    let gstreamer = GStreamer::find(path).ok();
    let streaming = Streaming {
        annotations: args.gate.annotations()?,
        video: args.video,
        streams: args.streams,
        seconds: args.seconds,
        command_line: super::import::command_line(std::env::args_os().skip(1)),
    };
    let progress = Progress::new(output);
    let tell = |event: Event<'_>| progress.show(&event);
    let streamed = pipeline::stream(&args.package, &app, gstreamer.as_ref(), &streaming, &cancelled, &tell);
    progress.clear();
    let streamed = streamed?;
    let passed = streamed.gate.passed;
    output.result(&Streams(streamed))?;
    Ok(exit_code::passed(passed))
}

impl fmt::Display for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(streamed) = self;
        let version = streamed.version.as_deref().unwrap_or("of unknown version");
        writeln!(f, "{} in DeepStream {version}, engine {}", streamed.video.display(), streamed.engine)?;
        if let Some(capture) = &streamed.deepstream.capture {
            let artefact = capture.artefact.as_deref().unwrap_or("none");
            writeln!(f, "  KITTI files  {}", capture.kitti_folder)?;
            writeln!(f, "  video        {artefact} ({})", capture.mode.as_str())?;
        }
        gate(f, &streamed.gate)?;
        let runs = [(1, streamed.deepstream.run_1), (2, streamed.deepstream.run_2)];
        for (number, run) in runs.into_iter().filter_map(|(number, run)| Some((number, run?))) {
            let (streams, total, each) = (run.streams, run.total_fps, run.fps_per_stream());
            writeln!(
                f,
                "  run {number}        {streams} streams: {total:.1} frames a second, {each:.1} a stream"
            )?;
        }
        if let Some(peak) = streamed.peak_gpu_streams {
            writeln!(f, "  {peak} streams of 30 fps, as far as the GPU goes")?;
        }
        let limit = streamed.deepstream.limit.map_or("the limit is not known", StreamLimit::as_str);
        if let Some(streams) = streamed.real_time_streams {
            let efficiency =
                streamed.efficiency.map(|share| format!("{:.1} % of the engine's own, ", 100.0 * share));
            writeln!(
                f,
                "  {streams} streams of 30 fps in the pipeline: {}{limit}",
                efficiency.unwrap_or_default()
            )?;
        }
        Ok(())
    }
}

impl GateArgs {
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
