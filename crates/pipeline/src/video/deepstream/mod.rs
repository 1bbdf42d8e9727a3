//! `run deepstream`: a video through NVIDIA's pipeline, one stream judged and many timed.
//!
//! Nothing is measured before the single stream passed its gate: frame rates of a pipeline that finds nothing say nothing.

mod config;
mod engine;
mod limit;
mod single;
mod timed;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use deploy::targets::DeepStreamFiles;
use deploy::{Capture, DeepStream};
use runtime::tools::deepstream_app::DeepStreamApp;
use runtime::tools::gst_launch::GStreamer;
use runtime::tools::make::make;
use serde::Serialize;

use super::known::Fixture;
use super::{Gate, record};
use crate::build::read_measurements;
use crate::run::Event;
use crate::subject::read_manifest;
use crate::{Annotations, Error};
use config::Configs;
use engine::Engine;

/// What the step is called.
const STEP: &str = "deepstream";

/// How streams are run.
#[derive(Debug, Clone)]
pub struct Streaming {
    /// The video; `None` for the installation's `sample_720p.mp4`. No other is ever chosen.
    pub video: Option<PathBuf>,
    /// Streams of the first timed run; `None` for as many as the engine promises.
    pub streams: Option<u32>,
    /// Frames whose objects are known, and the share of these that has to be found.
    pub annotations: Option<(Annotations, f64)>,
    /// How long each timed run counts.
    pub seconds: u32,
    /// The command line as it was typed, for the report.
    pub command_line: String,
}

/// Streams that were run.
#[derive(Debug, Serialize)]
pub struct Streamed {
    /// Version of `DeepStream`, where it is known.
    pub version: Option<String>,
    /// The video.
    pub video: PathBuf,
    /// The engine, by its path in the package.
    pub engine: String,
    /// What is recorded.
    #[serde(flatten)]
    pub deepstream: DeepStream,
    /// The outcome of the single stream.
    pub gate: Gate,
    /// 30 fps streams that the GPU alone could serve, by `trtexec`.
    pub peak_gpu_streams: Option<u32>,
    /// 30 fps streams that the pipeline serves; `None` where nothing was timed.
    pub real_time_streams: Option<u32>,
    /// Images a second of the pipeline over those of the engine.
    pub efficiency: Option<f64>,
    /// Every file that was written, by its path in the package.
    pub files: Vec<String>,
}

/// What the parts of a run share.
struct Job<'a> {
    package: &'a Path,
    app: &'a DeepStreamApp,
    gstreamer: Option<&'a GStreamer>,
    files: &'a DeepStreamFiles,
    configs: Configs,
    engine: Engine,
    cancelled: &'a AtomicBool,
    tell: &'a dyn Fn(Event<'_>),
}

impl Job<'_> {
    fn note(&self, message: &str) {
        (self.tell)(Event::Note { step: STEP, message });
    }
}

/// Runs a package's model in `DeepStream`.
///
/// # Errors
/// [`Error::NoEngine`] and [`Error::NoTarget`] for what the package lacks, [`Error::Io`] for a video that is not there,
/// [`Error::Runtime`] when a program fails or the run is called off. A gate that is not passed is no error.
pub fn stream(
    package: &Path,
    app: &DeepStreamApp,
    gstreamer: Option<&GStreamer>,
    streaming: &Streaming,
    cancelled: &AtomicBool,
    tell: &dyn Fn(Event<'_>),
) -> Result<Streamed, Error> {
    let manifest = read_manifest(package)?;
    let at = |source| Error::Io { path: package.to_owned(), source };
    // Programs run in other folders.
    let package = &std::fs::canonicalize(package).map_err(at)?;
    let measurements = read_measurements(package)?;
    let files = DeepStreamFiles::of(&manifest.name, &manifest.detector.head);
    let video = streaming.video.clone().unwrap_or_else(|| app.sample_video());
    let configs = Configs::open(package, &files, &video)?;
    let engine = Engine::find(package, &files, &measurements, streaming.streams)?;
    let fixture = streaming.annotations.as_ref();
    let fixture = fixture
        .map(|(annotations, bound)| Fixture::new(&annotations.dataset, configs.frame, *bound))
        .transpose()?;
    let job = Job { package, app, gstreamer, files: &files, configs, engine, cancelled, tell };
    job.note("builds the parser");
    make(&package.join("parser"), &[("DEEPSTREAM", &app.root)], cancelled)?;
    let single = job.single()?;
    let gate = Gate::of(&single.frames, fixture.as_ref());
    let measured = measurements.tensorrt.as_ref().filter(|tensorrt| tensorrt.engine.path == job.engine.path);
    let trtexec = measured.and_then(|tensorrt| tensorrt.batch_max);
    let runs = if gate.passed { job.timed(streaming, trtexec)? } else { Vec::new() };
    let deepstream = DeepStream {
        parser: Some(files.library.clone()),
        cluster_mode: Some(files.cluster_mode),
        capture: Some(Capture {
            video: record::name_of(&video),
            kitti_folder: format!("{}/{}", deploy::paths::SAMPLES, super::local::KITTI),
            frames: gate.frames,
            frames_with_detections: gate.frames_with_detections,
            mode: single.mode,
            artefact: single.artefact.clone(),
            passed: gate.passed,
        }),
        run_1: runs.first().map(|timed| timed.run),
        run_2: runs.get(1).map(|timed| timed.run),
        limit: runs.last().and_then(|timed| limit::of(timed, trtexec)),
    };
    let mut written = vec![files.library.clone()];
    written.extend(single.artefact);
    written.extend(runs.iter().map(|timed| timed.log.clone()));
    written.extend(record::deepstream(
        package,
        &deepstream,
        app.version.as_deref(),
        &streaming.command_line,
    )?);
    let last = runs.last().map(|timed| timed.run);
    Ok(Streamed {
        version: app.version.clone(),
        video,
        engine: job.engine.path.clone(),
        deepstream,
        gate,
        peak_gpu_streams: trtexec.map(|run| run.streams()),
        real_time_streams: last.map(limit::real_time),
        efficiency: last.zip(trtexec).map(|(run, engine)| limit::efficiency(run, engine)),
        files: written,
    })
}
