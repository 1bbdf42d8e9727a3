//! Everything that a report says, as data.
//!
//! The sections read nothing else, so that `sightline report PACKAGE` draws the same report from what was recorded:
//! the manifest, the measurements, and the keys `curves`, `samples` and `commands` of `benchmark_data.json`.

use serde::{Deserialize, Serialize};

use super::BenchmarkData;
use crate::{Check, Error, Manifest, Measurements, paths};

/// Everything that a report says.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportData {
    /// What the package is made of.
    pub manifest: Manifest,
    /// What was measured, where and when.
    pub measurements: Measurements,
    /// Precision–recall curves of the main model, all classes together.
    pub curves: Vec<PrecisionRecall>,
    /// Annotated images.
    pub samples: Vec<Sample>,
    /// The commands that made the package.
    pub commands: Vec<Command>,
}

/// Precision over recall at one `IoU`, averaged over the classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrecisionRecall {
    /// `IoU` threshold; `None` for the mean over 0.50 to 0.95.
    pub iou: Option<f64>,
    /// Precision at evenly spaced recalls from 0 to 1 (COCO: 101 of them).
    pub precision: Vec<f64>,
}

/// An annotated image of the package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Its path from the package's root: `samples/…`.
    pub path: String,
    /// The image that was annotated, by file name.
    pub image: String,
    /// Detections drawn.
    pub detections: u64,
    /// Annotated objects in the image, where known.
    pub objects: Option<u64>,
}

/// A command and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// What it is for.
    pub purpose: String,
    /// The command line.
    pub line: String,
}

impl ReportData {
    /// Reads the three recorded files of a package.
    ///
    /// # Errors
    /// [`Error::Json`] or [`Error::Schema`] for the file that is of another form.
    pub fn from_recorded(manifest: &str, measurements: &str, benchmark_data: &str) -> Result<Self, Error> {
        let data: BenchmarkData = serde_json::from_str(benchmark_data)
            .map_err(|source| Error::Json { file: paths::BENCHMARK_DATA, source })?;
        Ok(Self {
            manifest: Manifest::from_json(manifest)?,
            measurements: Measurements::from_json(measurements)?,
            curves: data.curves,
            samples: data.samples,
            commands: data.commands,
        })
    }

    /// Every check: those of the package, then those of the engines that this machine built.
    pub(super) fn checks(&self) -> impl Iterator<Item = &Check> {
        let engines = self.measurements.tensorrt.iter().chain(&self.measurements.rtx_engines);
        self.manifest.checks.iter().chain(engines.flat_map(|engine| &engine.checks))
    }

    /// Path of the main model: the first fp32 ONNX file, else the first ONNX file.
    pub(super) fn main_model(&self) -> Option<&str> {
        let models = || self.manifest.artefacts.iter().filter(|artefact| is_onnx(&artefact.path));
        models()
            .find(|artefact| artefact.precision == Some(crate::Precision::Fp32))
            .or_else(|| models().next())
            .map(|artefact| artefact.path.as_str())
    }
}

/// Whether a file's name says that it is an ONNX model.
pub(super) fn is_onnx(path: &str) -> bool {
    std::path::Path::new(path).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
}
