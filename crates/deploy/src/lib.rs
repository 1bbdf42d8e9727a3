//! What an import leaves behind: deployment trees, the manifest, the measurements and the report.
//!
//! Pure: the same input gives the same bytes. There is no clock, no environment and no disk here; what is rendered is a
//! [`FileTree`] that the pipeline writes.

mod error;
mod manifest;
mod measurements;
mod name;
mod package;
mod plan;
pub mod report;
mod shell;
pub mod targets;
mod tree;

pub use error::Error;
pub use manifest::{
    Accuracy, Artefact, Bound, Calibration, CalibrationImage, Check, ClassAccuracy, CocoMetrics, Dataset,
    Licence, Manifest, MapChange, Precision, Source, SourceFile, StepRecord, Tool, Verdict,
};
pub use measurements::{
    Capture, CaptureMode, DeepStream, Engine, EngineBuild, Figure, Gpu, ImageTimes, Latency, LayerShare,
    LocalRun, Machine, Measurements, Retry, StepTime, StreamLimit, StreamRun, TensorRt, TrtexecRun,
};
pub use name::PackageName;
pub use package::{config_files, paths};
pub use plan::{Candidate, Plan, Sensitivity};
pub use tree::{Content, FileTree};
