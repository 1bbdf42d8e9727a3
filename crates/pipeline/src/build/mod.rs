//! `build`: TensorRT engines from a package or an ONNX file, timed and proven.
//!
//! An engine is keyed by its content: the graph, the options, the GPU, its driver and the version of TensorRT. The record of
//! an earlier build answers when all are the same; figures and answers are always taken anew.

mod batches;
mod etlt;
mod history;
mod ladder;
mod look;
mod make;
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

use deploy::{Precision, TensorRt, TrtexecRun, Verdict};
use runtime::tools::nvidia_smi;
use runtime::tools::trtexec::Trtexec;
use runtime::{Gpu, Machine};
use serde::Serialize;

pub use batches::Batches;
pub use etlt::{Converted, Converting, convert_etlt};
pub use look::EngineFacts;
pub(crate) use look::inspect_engine;
pub(crate) use publish::{amend, kept, read_measurements, write};

use crate::run::{Event, Mode, Run};
use crate::steps::BUILD;
use crate::{AllBounds, Error, ExportOptions, ImageSet, Store};
use make::Maker;
use publish::Finished;
use shapes::Shapes;
use source::Place;
use timing::Candidate;

/// What builds engines, by the name that users choose it by.
pub static BUILDERS: &[&str] = &["trtexec"];

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

/// An engine that was built.
#[derive(Debug, Serialize)]
pub struct Built {
    /// The folder that the paths are relative to.
    pub folder: PathBuf,
    /// The program.
    pub trtexec: PathBuf,
    /// The graphics processor.
    pub gpu: String,
    /// The engine, its figures and its checks.
    #[serde(flatten)]
    pub tensorrt: TensorRt,
    /// The figure at the maximum batch of every engine that was built on the way.
    pub tried: Vec<TrtexecRun>,
    /// 30 fps streams that the GPU alone could serve.
    pub peak_gpu_streams: Option<u32>,
    /// Every file that was written.
    pub files: Vec<String>,
    /// Whether no check failed.
    pub passed: bool,
}

/// Builds engines, one for each graphics processor that was asked for.
///
/// # Errors
/// [`Error::Options`] and [`Error::NoVariant`] for what does not go together; [`Error::Runtime`] when `trtexec` fails for good
/// or is called off. Nothing partial is left under a final name; logs are.
pub fn build(
    model: &Path,
    options: &Building,
    trtexec: &Trtexec,
    cancelled: &Arc<AtomicBool>,
    tell: &dyn Fn(Event<'_>),
) -> Result<Vec<Built>, Error> {
    let mut place = Place::open(model, options.out.as_deref(), &options.describe)?;
    let mut source = place.source(options.precision, trtexec.version, options.calibration.as_deref())?;
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
    if let (Some(fixed), Some(batches)) =
        (shapes.fixed_batch, options.batches.filter(|_| options.static_batch.is_none()))
        && batches != Batches::only(fixed)
    {
        let reason = format!(
            "`{}` takes {fixed} images at a time: make its batch open before (`sightline optimize --batch dynamic`)",
            source.path
        );
        return Err(Error::Options(reason));
    }
    let waiting = || tell(Event::Note { step: BUILD.name, message: "waits for another run to finish" });
    let store = Store::open(place.store_folder(), &waiting)?;
    let work = |processor: &Processor, tell: &dyn Fn(Event<'_>)| {
        let maker =
            Maker { trtexec, place: &place, source: &source, shapes: &shapes, options, processor, cancelled };
        one(&maker, &Run::new(store.shared(), place.name.as_str(), Mode::Execute, tell), cancelled)
    };
    let processors = Processor::chosen(&options.gpus)?;
    let mut all = side_by_side::each(&processors, Processor::prefix, work, tell)?;
    if let (Some(package), Some(first)) = (&place.package, all.first_mut()) {
        first.files.extend(publish::record(package, &first.tensorrt, &options.command_line)?);
    }
    Ok(all)
}

/// The engine of one graphics processor: built, timed, proven, put in place.
fn one(maker: &Maker<'_>, run: &Run<'_>, cancelled: &Arc<AtomicBool>) -> Result<Built, Error> {
    let mut candidates = maker.search(run)?;
    let tried = candidates.iter().filter_map(|candidate| Some(candidate.at_max.as_ref()?.run)).collect();
    let Some(Candidate { made, at_max }) = candidates.pop() else {
        return Err(Error::Options("no engine was asked for".into()));
    };
    let is_range = maker.shapes.fixed_batch.is_none() && made.batches.min == 1 && made.batches.max > 1;
    let batch_1 = (is_range && maker.options.timed).then(|| maker.time(run, &made, 1)).transpose()?;
    for doubt in [&batch_1, &at_max].into_iter().flatten().flat_map(|timed| &timed.doubts) {
        run.tell(Event::Warning { step: BUILD.name, message: doubt });
    }
    let name = maker.engine_path(made.batches);
    let precisions = maker.precisions(run, &made, &name)?;
    let parity =
        if maker.options.compared { maker.parity(run, &made, &name, cancelled)? } else { Vec::new() };
    let peak_gpu_streams = at_max.as_ref().map(|timed| timed.run.streams());
    let (tensorrt, files) =
        maker.publish(run, Finished { made, precisions, parity, batch_1, batch_max: at_max })?;
    let passed = tensorrt.checks.iter().all(|check| check.verdict != Verdict::Fail);
    Ok(Built {
        folder: maker.place.root.clone(),
        trtexec: maker.trtexec.program.clone(),
        gpu: maker.processor.gpu.name.clone(),
        tensorrt,
        tried,
        peak_gpu_streams,
        files,
        passed,
    })
}

/// A graphics processor that an engine is built on and for.
struct Processor {
    gpu: Gpu,
    /// Memory that nobody uses; `None` where it is not known.
    free_mib: Option<u64>,
    /// Its number, where one was asked for.
    device: Option<u32>,
    /// Whether engines are built for others too: then paths say which.
    is_one_of_several: bool,
}

impl Processor {
    /// Those with these numbers; the first one without any. Where the driver tells nothing (Jetson), the machine stands for
    /// it.
    fn chosen(numbers: &[u32]) -> Result<Vec<Self>, Error> {
        let machine = Machine::detect();
        let free = nvidia_smi::free_memory_mib().unwrap_or_default();
        let unnamed = || Gpu {
            name: machine.cpu.clone().unwrap_or_else(|| machine.architecture.clone()),
            memory_mib: None,
            driver: machine.kernel.clone().unwrap_or_default(),
            compute_capability: None,
        };
        let at = |number: u32, device| {
            let gpu = machine.gpus.get(number as usize).cloned();
            if gpu.is_none() && !machine.gpus.is_empty() {
                let count = machine.gpus.len();
                return Err(Error::Options(format!("there is no GPU {number}: they are 0 to {}", count - 1)));
            }
            Ok(Self {
                gpu: gpu.unwrap_or_else(unnamed),
                free_mib: free.get(number as usize).copied().flatten(),
                device,
                is_one_of_several: numbers.len() > 1,
            })
        };
        match numbers {
            [] => Ok(vec![at(0, None)?]),
            numbers => numbers.iter().map(|number| at(*number, Some(*number))).collect(),
        }
    }

    /// What its notes begin with.
    fn prefix(&self) -> String {
        self.device
            .filter(|_| self.is_one_of_several)
            .map_or(String::new(), |device| format!("GPU {device}: "))
    }

    /// What a build is remembered by.
    fn label(&self, stem: &str) -> String {
        match self.device.filter(|_| self.is_one_of_several) {
            Some(device) => format!("{stem} on GPU {device}"),
            None => stem.to_owned(),
        }
    }

    fn engine_path(&self, path: &str) -> String {
        match (self.device.filter(|_| self.is_one_of_several), path.rsplit_once('/')) {
            (Some(device), Some((folder, file))) => format!("{folder}/gpu{device}/{file}"),
            _ => path.to_owned(),
        }
    }

    fn log_path(&self, batch: u32) -> String {
        let path = deploy::paths::trtexec_log(batch);
        match self.device.filter(|_| self.is_one_of_several) {
            Some(device) => path.replacen("benchmarks/", &format!("benchmarks/gpu{device}/"), 1),
            None => path,
        }
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
