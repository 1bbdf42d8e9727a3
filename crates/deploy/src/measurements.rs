//! `measurements.json`: what differs from run to run: the machine, the times of the steps, the figures.
//!
//! Every figure says how it was taken (warm-up, count, threads). A part that was not measured is `null`, never a guess.

use serde::{Deserialize, Serialize};

use crate::manifest::{pretty, versioned};
use crate::{Check, Error, Plan, Precision, paths};

/// What was measured, where and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurements {
    /// Version of this form, [`Measurements::SCHEMA`].
    pub schema: u32,
    /// When the run began, as the caller writes it (RFC 3339).
    pub measured_at: Option<String>,
    /// The machine of the run.
    pub machine: Machine,
    /// Time of each step, in order.
    pub steps: Vec<StepTime>,
    /// Latency and throughput, one entry for each artefact, backend and batch.
    pub figures: Vec<Figure>,
    /// Where the time of one image goes, from its file to boxes.
    pub image: Option<ImageTimes>,
    /// TensorRT engine and figures.
    pub tensorrt: Option<TensorRt>,
    /// Engines of TensorRT for RTX, for other machines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rtx_engines: Vec<TensorRt>,
    /// `DeepStream` validation and figures.
    pub deepstream: Option<DeepStream>,
    /// A video that was played without `DeepStream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<LocalRun>,
    /// Which precision pays here, where that was searched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Operating system, with its version where known.
    pub os: String,
    /// Processor.
    pub cpu: String,
    /// Logical processors that this program may use.
    pub cores: u32,
    /// Main memory.
    pub memory_bytes: Option<u64>,
    /// Graphics processors.
    pub gpus: Vec<Gpu>,
    /// Versions by name, such as `CUDA`, `TensorRT`, `DeepStream`, `rten`; only what was found.
    pub software: std::collections::BTreeMap<String, String>,
}

/// A graphics processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Its name.
    pub name: String,
    /// Its memory.
    pub memory_bytes: Option<u64>,
    /// Driver version.
    pub driver: Option<String>,
}

/// Time of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepTime {
    /// The step's name.
    pub name: String,
    /// Wall-clock time in seconds, of the run that made its result.
    pub seconds: f64,
}

/// Latency and throughput of one artefact on one backend at one batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The backend: `embedded`, `onnxruntime` …
    pub backend: String,
    /// Its version.
    pub version: Option<String>,
    /// Where it ran: `cpu`, a GPU's name.
    pub device: String,
    /// The artefact, by its path in the package.
    pub artefact: String,
    /// The artefact's number format.
    pub precision: Precision,
    /// Images in one run.
    pub batch: u32,
    /// Threads of the backend.
    pub threads: Option<u32>,
    /// Runs before counting.
    pub warm_up: u32,
    /// Runs counted.
    pub count: u32,
    /// Time of one run.
    pub latency: Latency,
    /// Images a second.
    pub images_per_second: f64,
}

/// Statistics of a latency, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// The fastest.
    pub min_ms: f64,
    /// The average.
    pub mean_ms: f64,
    /// The median.
    pub p50_ms: f64,
    /// The 90th percentile.
    pub p90_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
}

/// Where the time of one image goes, in milliseconds (medians).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageTimes {
    /// The backend that ran the graph.
    pub backend: String,
    /// File bytes to pixels.
    pub decode_ms: f64,
    /// Pixels to the input tensor.
    pub preprocess_ms: f64,
    /// The graph.
    pub inference_ms: f64,
    /// Output tensors to boxes.
    pub postprocess_ms: f64,
    /// Images counted.
    pub count: u32,
}

impl ImageTimes {
    /// All four together.
    pub fn total_ms(&self) -> f64 {
        self.decode_ms + self.preprocess_ms + self.inference_ms + self.postprocess_ms
    }
}

/// A TensorRT engine and what `trtexec` measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorRt {
    /// The engine.
    pub engine: Engine,
    /// At batch 1.
    pub batch_1: Option<TrtexecRun>,
    /// At the engine's maximum batch.
    pub batch_max: Option<TrtexecRun>,
    /// Whether it computes with the numbers that were asked for, and answers as its graph does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

impl TensorRt {
    /// Whether none of the engine's checks failed. A check that did not run is not a failure.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.verdict != crate::Verdict::Fail)
    }
}

/// A TensorRT engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// Its path in the package.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The precision read back from its layers.
    pub precision: Precision,
    /// The profile's maximum batch.
    pub max_batch: u32,
    /// Workspace limit of the build, where there was one.
    pub workspace_mib: Option<u64>,
    /// The timing cache's path in the package.
    pub timing_cache: Option<String>,
    /// Builder optimisation level, when it was not the default.
    pub optimization_level: Option<u32>,
    /// Time of the build.
    pub build_seconds: f64,
    /// The ONNX file it was built from, by its path in the package.
    pub built_from: String,
    /// How it was built, where this program did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<EngineBuild>,
}

/// How an engine was built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineBuild {
    /// Version of TensorRT.
    pub tensorrt: String,
    /// The graphics processor that it is for.
    pub gpu: String,
    /// SHA-256 of the ONNX file it was built from, 64 hexadecimal digits.
    pub source_sha256: String,
    /// The profile's smallest batch.
    pub min_batch: u32,
    /// The batch that it is fastest for.
    pub opt_batch: u32,
    /// The command that built it, with paths from the package's root.
    pub command: String,
    /// What did not work at first, and what was done.
    pub retries: Vec<Retry>,
    /// What its layers compute with; empty where they do not say.
    pub layers: Vec<LayerShare>,
}

/// A build that failed and was tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Why it failed.
    pub because: String,
    /// What was done otherwise.
    pub then: String,
}

/// Layers of an engine that compute with one type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerShare {
    /// The type: `float16`, `int8` …
    pub dtype: String,
    /// How many layers.
    pub layers: u32,
    /// Their share of the layers that count, 0 to 1.
    pub share: f64,
}

/// One `trtexec` run without data transfers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrtexecRun {
    /// Images in one query.
    pub batch: u32,
    /// Queries a second.
    pub qps: f64,
    /// GPU compute time, mean.
    pub gpu_mean_ms: f64,
    /// GPU compute time, 99th percentile.
    pub gpu_p99_ms: f64,
}

impl TrtexecRun {
    /// Queries a second times the batch.
    pub fn images_per_second(&self) -> f64 {
        self.qps * f64::from(self.batch)
    }

    /// How many 30 fps streams that is.
    pub fn streams(&self) -> u32 {
        (self.images_per_second() / STREAM_FPS) as u32
    }
}

/// Frames a second of a real-time stream.
pub(crate) const STREAM_FPS: f64 = 30.0;

/// What was measured with `DeepStream`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeepStream {
    /// The bounding-box parser library, by its path in the package.
    pub parser: Option<String>,
    /// nvinfer's `cluster-mode`.
    pub cluster_mode: Option<u32>,
    /// The single-stream validation.
    pub capture: Option<Capture>,
    /// As many streams as the engine promises.
    pub run_1: Option<StreamRun>,
    /// As many streams as stay real-time.
    pub run_2: Option<StreamRun>,
    /// What holds back more of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<StreamLimit>,
}

/// The single-stream validation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// The video that was played.
    pub video: String,
    /// Folder of KITTI files, by its path in the package.
    pub kitti_folder: String,
    /// Frames written.
    pub frames: u64,
    /// Frames with at least one detection.
    pub frames_with_detections: u64,
    /// How the picture was kept.
    pub mode: CaptureMode,
    /// The video that was written, by its path in the package.
    pub artefact: Option<String>,
    /// Whether the validation passed.
    pub passed: bool,
}

/// A video that was played by a backend of this program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalRun {
    /// The backend.
    pub backend: String,
    /// How long it took, decoding and encoding included.
    pub seconds: f64,
    /// Frames that were read; [`Capture::frames`] are those that were looked at.
    pub frames_read: u64,
    /// What came out.
    pub capture: Capture,
}

/// How the single stream's picture was kept. The words are fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaptureMode {
    /// The hardware encoder.
    #[serde(rename = "nvv4l2h264enc MP4")]
    Nvenc,
    /// The software encoder.
    #[serde(rename = "theoraenc OGV (NVENC unavailable)")]
    Theora,
    /// Not at all.
    #[serde(rename = "skipped (no encoder available)")]
    Skipped,
}

impl CaptureMode {
    /// The fixed words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nvenc => "nvv4l2h264enc MP4",
            Self::Theora => "theoraenc OGV (NVENC unavailable)",
            Self::Skipped => "skipped (no encoder available)",
        }
    }
}

/// What holds back more streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamLimit {
    /// The engine.
    Gpu,
    /// The hardware video decoder.
    Nvdec,
    /// Neither is busy: batching, copies, scheduling.
    Pipeline,
}

impl StreamLimit {
    /// In a few words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gpu => "GPU-bound",
            Self::Nvdec => "NVDEC-bound",
            Self::Pipeline => "bound by the pipeline around both",
        }
    }
}

/// A `deepstream-app` run with several streams.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamRun {
    /// Streams, and the batch.
    pub streams: u32,
    /// Frames a second of all streams.
    pub total_fps: f64,
}

impl StreamRun {
    /// Frames a second of one stream.
    pub fn fps_per_stream(&self) -> f64 {
        self.total_fps / f64::from(self.streams.max(1))
    }
}

impl Measurements {
    /// The version of the form that this program writes and reads.
    pub const SCHEMA: u32 = 1;

    /// The text of `measurements.json`: pretty JSON with a newline at the end.
    pub fn to_json(&self) -> String {
        pretty(self)
    }

    /// Reads `measurements.json`.
    ///
    /// # Errors
    /// [`Error::Schema`] for another version, [`Error::Json`] for another form.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        versioned(paths::MEASUREMENTS, Self::SCHEMA, text)
    }
}
