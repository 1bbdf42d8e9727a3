//! `build`: TensorRT engines from a package or an ONNX file, timed and proven.
//!
//! An engine is keyed by its content: the graph, the options, the GPU, its driver and the version of TensorRT. The record of
//! an earlier build answers when all are the same; figures and answers are always taken anew.

mod batches;
mod builder;
mod by_rtx;
mod by_trtexec;
mod capabilities;
mod etlt;
mod history;
mod into_package;
mod job;
mod ladder;
mod look;
mod make;
mod plan;
mod processor;
mod proof;
mod publish;
mod rows;
mod shapes;
mod side_by_side;
mod source;
mod timing;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use deploy::{Precision, TensorRt, TrtexecRun};
use serde::Serialize;

pub use batches::Batches;
pub use builder::{BUILDERS, Builder};
pub use capabilities::Capabilities;
pub use etlt::{Converted, Converting, convert_etlt};
pub use into_package::{build_best, name_engine, wants_engine};
pub use look::EngineFacts;
pub(crate) use look::inspect_engine;
pub use plan::{PlannedEngine, plan_build};
pub(crate) use publish::{amend, kept, read_measurements, write};

use crate::run::Event;
use crate::steps::BUILD;
use crate::{AllBounds, Error, ExportOptions, ImageSet, Store};
use job::Job;
use shapes::Shapes;
use source::{Place, Source};

/// How an engine is to be built.
#[derive(Debug, Clone)]
pub struct Building {
    /// What it computes with.
    pub precision: Precision,
    /// The batches that it takes; `None` to find out, from 64 on.
    pub batches: Option<Batches>,
    /// One batch only, fixed in the graph.
    pub static_batch: Option<u32>,
    /// Limit of the workspace; bounded by the free memory anyway.
    pub workspace_mib: Option<u64>,
    /// Width and height of the image, for a graph that leaves them open.
    pub size: Option<(u32, u32)>,
    /// How hard the builder tries, 0 to 5; `None` for its default.
    pub level: Option<u32>,
    /// Libraries of plug-ins.
    pub plugins: Vec<PathBuf>,
    /// Scales for INT8, instead of the package's.
    pub calibration: Option<PathBuf>,
    /// Numbers of the graphics processors; none for the first.
    pub gpus: Vec<u32>,
    /// What an engine each is built for where the builder needs no graphics processor; none for the one of this machine.
    pub targets: Vec<Capabilities>,
    /// The folder for what is built from an ONNX file.
    pub out: Option<PathBuf>,
    /// What an ONNX file leaves open.
    pub describe: ExportOptions,
    /// Images to compare answers on.
    pub images: ImageSet,
    /// At most this many.
    pub limit: usize,
    /// What may differ.
    pub bounds: AllBounds,
    /// The backend that runs the graph for comparison.
    pub reference: String,
    /// Whether it is timed.
    pub timed: bool,
    /// Whether its answers are compared.
    pub compared: bool,
    /// Whether an earlier build may not answer.
    pub fresh: bool,
    /// The command line as it was typed, for the report.
    pub command_line: String,
}

impl Building {
    /// An engine of a package for every batch up to the largest that pays, timed, and compared on a few images.
    pub fn of_package(precision: Precision) -> Self {
        Self {
            precision,
            batches: None,
            static_batch: None,
            workspace_mib: None,
            size: None,
            level: None,
            plugins: Vec::new(),
            calibration: None,
            gpus: Vec::new(),
            targets: Vec::new(),
            out: None,
            describe: ExportOptions::default(),
            images: ImageSet::built_in(),
            limit: Self::IMAGES,
            bounds: AllBounds::default(),
            reference: "embedded".to_owned(),
            timed: true,
            compared: true,
            fresh: false,
            command_line: String::new(),
        }
    }

    /// How many images answers are compared on: batch 1 and the largest, each with rows that are alike and that differ.
    pub const IMAGES: usize = 4;
}

/// An engine that was built.
#[derive(Debug, Serialize)]
pub struct Built {
    /// The folder that the paths are relative to.
    pub folder: PathBuf,
    /// What built it, by the name that users choose it by.
    pub backend: &'static str,
    /// The program, or the library.
    pub program: PathBuf,
    /// The graphics processor, or the compute capabilities.
    pub gpu: String,
    /// The engine, its figures and its checks.
    #[serde(flatten)]
    pub tensorrt: TensorRt,
    /// The figure at the maximum batch of every engine that was built on the way.
    pub tried: Vec<TrtexecRun>,
    /// 30 fps streams that the GPU alone could serve.
    pub peak_gpu_streams: Option<u32>,
    /// Why it was not timed, where that was not the user's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untimed: Option<&'static str>,
    /// Every file that was written.
    pub files: Vec<String>,
    /// Whether no check failed.
    pub passed: bool,
}

/// Builds engines: by `trtexec` one for each graphics processor that was asked for, by TensorRT for RTX one for each target.
///
/// # Errors
/// [`Error::Options`] and [`Error::NoVariant`] for what does not go together; [`Error::Runtime`] when the builder fails for
/// good or is called off. Nothing partial is left under a final name; logs are.
pub fn build(
    model: &Path,
    options: &Building,
    builder: &Builder,
    cancelled: &Arc<AtomicBool>,
    tell: &dyn Fn(Event<'_>),
) -> Result<Vec<Built>, Error> {
    let Opened { place, source, shapes } = Opened::new(model, options, builder)?;
    let waiting = || tell(Event::Note { step: BUILD.name, message: "waits for another run to finish" });
    crate::store::create_dir(place.store_folder())?;
    let store = Store::open(place.store_folder(), &waiting)?;
    let job = Job { place: &place, source: &source, shapes: &shapes, options, cancelled };
    let mut all = match builder {
        Builder::TensorRtRtx(builder) => by_rtx::build(builder, &job, &store, tell)?,
        Builder::Trtexec(trtexec) => by_trtexec::build(trtexec, &job, &store, tell)?,
    };
    let (Some(package), Some(first)) = (&place.package, all.first()) else { return Ok(all) };
    let files = match builder {
        Builder::TensorRtRtx(_) => publish::record_rtx(package, &all, &options.command_line)?,
        Builder::Trtexec(_) => publish::record(package, &first.tensorrt, &options.command_line)?,
    };
    all[0].files.extend(files);
    Ok(all)
}

/// A graph that engines are built from.
struct Opened {
    place: Place,
    source: Source,
    shapes: Shapes,
}

impl Opened {
    fn new(model: &Path, options: &Building, builder: &Builder) -> Result<Self, Error> {
        let mut place = Place::open(model, options.out.as_deref(), &options.describe)?;
        let mut source = place.source(options.precision, builder, options.calibration.as_deref())?;
        if let Some((width, height)) = options.size {
            // Images are made to fit the engine, for the graph that it is compared with too.
            for input in [&mut place.subject.detector.input, &mut source.detector.input] {
                (input.width, input.height) = (width, height);
            }
        }
        if let Some(batch) = options.static_batch {
            source.fix_batch(batch);
        }
        let shapes = Shapes::of(&source.model, &source.detector)?;
        shapes.take(options, &source.path)?;
        Ok(Self { place, source, shapes })
    }
}

/// Where what an engine's layers are lies.
pub(crate) fn layers_path(engine: &str) -> String {
    format!("{}.layers.json", engine.trim_end_matches(".engine"))
}

/// Where what was recorded of an engine lies.
pub(crate) fn build_path(engine: &str) -> String {
    format!("{}.build.json", engine.trim_end_matches(".engine"))
}
