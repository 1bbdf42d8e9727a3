//! `manifest.json`: what a package is made of and what was proven about it.
//!
//! Nothing in it may differ between two runs on the same input: no time, no path of a machine, no figure of speed.
//! Those belong in [`crate::Measurements`].

use std::fmt;
use std::str::FromStr;

use detect::Detector;
use serde::{Deserialize, Serialize};

use crate::{Error, PackageName, paths};

/// What a package is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this form, [`Manifest::SCHEMA`].
    pub schema: u32,
    /// The program that made the package.
    pub tool: Tool,
    /// The package's name.
    pub name: PackageName,
    /// Where the model came from.
    pub source: Source,
    /// The model's licence, where the source states one.
    pub licence: Option<Licence>,
    /// The largest batch that the package was checked and measured at.
    pub max_batch: u32,
    /// The one description of the detector.
    pub detector: Detector,
    /// The steps that made it, in order.
    pub steps: Vec<StepRecord>,
    /// The files that are the result, by path.
    pub artefacts: Vec<Artefact>,
    /// The images that the ranges of INT8 were taken from; `None` without INT8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// What was compared with a bound.
    pub checks: Vec<Check>,
    /// COCO scores, one entry an evaluated artefact; empty when there were no annotations.
    pub accuracy: Vec<Accuracy>,
}

/// The program that made a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Where a model came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The source as given, without secrets or a home folder: an id, a URL, or the last part of a local path.
    pub location: String,
    /// The commit or version that it resolved to; `None` for local files.
    pub revision: Option<String>,
    /// Every file that was read, in order of path.
    pub files: Vec<SourceFile>,
}

/// A file of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Its path in the source.
    pub path: String,
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// The licence of the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Licence {
    /// As the source calls it: `apache-2.0`, `other` …
    pub id: String,
    /// The file that said so.
    pub stated_in: String,
}

/// One step of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// The step's name: `acquire`, `export` …
    pub name: String,
    /// The step's own version.
    pub version: u32,
    /// The key of its input.
    pub key: String,
}

/// A file of the package that is its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    /// Its path from the package's root.
    pub path: String,
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// The number format of its weights, for models and engines.
    pub precision: Option<Precision>,
    /// The opset of the default domain, for ONNX files.
    pub opset: Option<u32>,
}

/// The number format of a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats.
    Fp16,
    /// 8-bit integers with scales.
    Int8,
}

impl Precision {
    /// All of them, the most exact first.
    pub const ALL: [Self; 3] = [Self::Fp32, Self::Fp16, Self::Int8];
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|precision| precision.to_string() == text);
        known.ok_or_else(|| format!("`{text}` is none of fp32, fp16, int8"))
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        })
    }
}

/// How the ranges of INT8 were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// How a range was chosen from the values seen.
    pub method: String,
    /// Which images were chosen: another seed chooses others.
    pub seed: u64,
    /// Layers with weights in eight bits.
    pub layers: u64,
    /// Layers that stay in floating point, by the value that they make.
    pub float: Vec<String>,
    /// The images, in the order that they were looked at.
    pub images: Vec<CalibrationImage>,
}

/// An image that ranges were taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationImage {
    /// Its path below the image folder.
    pub path: String,
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

/// Something that was compared with a bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was measured: `logits max abs difference`, `missed detections` …
    pub name: String,
    /// Of what: an artefact, with the batch and backend where they matter.
    pub subject: String,
    /// What it may be.
    pub bound: Option<Bound>,
    /// What it was; `None` when it did not run.
    pub value: Option<f64>,
    /// Unit of value and bound; empty for a plain number.
    pub unit: String,
    /// The outcome.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What a checked value may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict")]
pub enum Verdict {
    /// Within the bound.
    #[serde(rename = "pass")]
    Pass,
    /// Outside the bound.
    #[serde(rename = "fail")]
    Fail,
    /// It could not be checked here.
    #[serde(rename = "not run")]
    NotRun {
        /// Why not.
        reason: String,
    },
}

impl Check {
    /// A check of a value: it passes within the bound. NaN is outside every bound.
    pub fn of(name: &str, subject: &str, value: f64, bound: Bound, unit: &str) -> Self {
        let within = match bound {
            Bound::AtMost(most) => value <= most,
            Bound::AtLeast(least) => value >= least,
        };
        Self {
            name: name.to_owned(),
            subject: subject.to_owned(),
            bound: Some(bound),
            value: value.is_finite().then_some(value),
            unit: unit.to_owned(),
            verdict: if within { Verdict::Pass } else { Verdict::Fail },
        }
    }

    /// A check that could not run here.
    pub fn not_run(name: &str, subject: &str, reason: &str) -> Self {
        Self {
            name: name.to_owned(),
            subject: subject.to_owned(),
            bound: None,
            value: None,
            unit: String::new(),
            verdict: Verdict::NotRun { reason: reason.to_owned() },
        }
    }
}

/// COCO scores of one artefact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    /// The evaluated artefact, by its path in the package.
    pub subject: String,
    /// The backend that ran it.
    pub backend: String,
    /// What it was evaluated on.
    pub dataset: Dataset,
    /// The twelve numbers.
    pub metrics: CocoMetrics,
    /// By class, in order of id.
    pub classes: Vec<ClassAccuracy>,
    /// The change of mAP from the fp32 model on the same images; `None` for that model itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<MapChange>,
}

/// A change of mAP with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapChange {
    /// mAP minus that of the fp32 model.
    pub map: f64,
    /// Lower end of the 95 % interval, by a paired bootstrap over images.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// How often images were drawn anew.
    pub samples: u64,
}

/// A set of annotated images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// Name of the annotation file.
    pub annotations: String,
    /// SHA-256 of the annotation file.
    pub sha256: String,
    /// How many images were evaluated.
    pub images: u64,
    /// How many objects they hold.
    pub objects: u64,
}

/// The twelve COCO numbers, 0–1; `None` where no object of that size exists (pycocotools prints −1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CocoMetrics {
    /// mAP@[.5:.95].
    pub map: Option<f64>,
    /// AP at an `IoU` of 0.5.
    pub ap50: Option<f64>,
    /// AP at an `IoU` of 0.75.
    pub ap75: Option<f64>,
    /// mAP of objects below 32² pixels.
    pub ap_small: Option<f64>,
    /// mAP of objects of 32² to 96² pixels.
    pub ap_medium: Option<f64>,
    /// mAP of objects above 96² pixels.
    pub ap_large: Option<f64>,
    /// Average recall with one detection an image.
    pub ar1: Option<f64>,
    /// Average recall with ten detections an image.
    pub ar10: Option<f64>,
    /// Average recall with a hundred detections an image.
    pub ar100: Option<f64>,
    /// Average recall of small objects.
    pub ar_small: Option<f64>,
    /// Average recall of medium objects.
    pub ar_medium: Option<f64>,
    /// Average recall of large objects.
    pub ar_large: Option<f64>,
}

/// COCO scores of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassAccuracy {
    /// The class's id in the network's output.
    pub id: u32,
    /// mAP@[.5:.95]; `None` when the images hold no such object.
    pub map: Option<f64>,
    /// AP at an `IoU` of 0.5.
    pub ap50: Option<f64>,
    /// How many such objects the images hold.
    pub objects: u64,
}

impl Manifest {
    /// The version of the form that this program writes and reads.
    pub const SCHEMA: u32 = 1;

    /// The text of `manifest.json`: pretty JSON with a newline at the end.
    pub fn to_json(&self) -> String {
        pretty(self)
    }

    /// Reads `manifest.json`.
    ///
    /// # Errors
    /// [`Error::Schema`] for another version, [`Error::Json`] for another form or a detector whose parts do not fit.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let manifest: Self = versioned(paths::MANIFEST, Self::SCHEMA, text)?;
        manifest.detector.validate().map_err(|error| Error::Json {
            file: paths::MANIFEST,
            source: <serde_json::Error as serde::de::Error>::custom(error),
        })?;
        Ok(manifest)
    }

    /// Whether no check failed. A check that did not run is not a failure.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.verdict != Verdict::Fail)
    }

    /// The artefact at a path.
    pub fn artefact(&self, path: &str) -> Option<&Artefact> {
        self.artefacts.iter().find(|artefact| artefact.path == path)
    }
}

/// Pretty JSON with a newline at the end. Floats are written in the shortest form that reads back the same.
pub(crate) fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("every map of a package has string keys");
    text.push('\n');
    text
}

/// Reads a JSON document that states its `schema`.
pub(crate) fn versioned<T: serde::de::DeserializeOwned>(
    file: &'static str,
    expected: u32,
    text: &str,
) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let read = |source| Error::Json { file, source };
    let Version { schema } = serde_json::from_str(text).map_err(read)?;
    if schema != expected {
        return Err(Error::Schema { file, found: schema, expected });
    }
    serde_json::from_str(text).map_err(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_passes_within_its_bound() {
        let cases = [
            (1e-5, Bound::AtMost(1e-4), Verdict::Pass),
            (1e-4, Bound::AtMost(1e-4), Verdict::Pass),
            (2e-4, Bound::AtMost(1e-4), Verdict::Fail),
            (0.71, Bound::AtLeast(0.70), Verdict::Pass),
            (0.69, Bound::AtLeast(0.70), Verdict::Fail),
            (f64::NAN, Bound::AtMost(1.0), Verdict::Fail),
            (f64::NAN, Bound::AtLeast(0.0), Verdict::Fail),
            (f64::INFINITY, Bound::AtMost(1.0), Verdict::Fail),
        ];
        for (value, bound, verdict) in cases {
            let check = Check::of("c", "s", value, bound, "");
            assert_eq!(check.verdict, verdict, "{value} {bound:?}");
            assert_eq!(check.value.is_some(), value.is_finite());
        }
    }

    #[test]
    fn verdicts_are_written_as_words() {
        let pass = serde_json::to_string(&Check::of("n", "s", 0.5, Bound::AtMost(1.0), "px")).unwrap();
        assert_eq!(
            pass,
            r#"{"name":"n","subject":"s","bound":{"at_most":1.0},"value":0.5,"unit":"px","verdict":"pass"}"#
        );
        let not_run = Check::not_run("n", "s", "no GPU");
        let text = serde_json::to_string(&not_run).unwrap();
        assert!(text.ends_with(r#""verdict":"not run","reason":"no GPU"}"#), "{text}");
        assert_eq!(serde_json::from_str::<Check>(&text).unwrap(), not_run);
    }
}
