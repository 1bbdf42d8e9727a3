//! Arguments that several commands take.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use pipeline::deploy::Bound;
use pipeline::hub::Source;
use pipeline::models::HeadKind;
use pipeline::runtime::tools::python_exporter::Setup as PythonSetup;
use pipeline::{AllBounds, BoundChange, Choice, Error, ExportOptions, ImageSet, Quantizing, Subject};

use crate::Failure;
use crate::args::Size;
use crate::env;
use crate::output::Output;

/// How a source becomes a graph.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Input size: width and height in pixels (640x480), or one number for a square [default: the source's own]
    #[arg(long, value_name = "WxH", help_heading = "Export")]
    pub(crate) size: Option<Size>,
    /// Operator set of the graph, 16 to 22 [default: 17]
    #[arg(long, value_name = "N", help_heading = "Export", value_parser = clap::value_parser!(i64).range(16..=22))]
    pub(crate) opset: Option<i64>,
    /// What an open-vocabulary model (OWL-ViT, Grounding DINO, OmDet …) looks for; repeatable. It is fixed in the graph
    #[arg(long, value_name = "TEXT", help_heading = "Export", conflicts_with = "prompt_file")]
    pub(crate) prompt: Vec<String>,
    /// File of prompts, one a line
    #[arg(long, value_name = "FILE", help_heading = "Export")]
    pub(crate) prompt_file: Option<PathBuf>,
    /// Task text of a model that takes one (OmDet-Turbo) [default: "Detect" and the prompts]
    #[arg(long, value_name = "TEXT", help_heading = "Export")]
    pub(crate) task: Option<String>,
    /// How deformable attention reads its points: `gather` for runtimes without `GridSample` [default: `grid_sample`]
    #[arg(long, value_name = "FORM", help_heading = "Export", value_parser = ["grid_sample", "gather"])]
    pub(crate) deformable: Option<String>,
    /// Who makes the graph of a checkpoint: `python` for a family that has no exporter here (optimum and PyTorch in an
    /// environment of about 7 GB, installed at the first use) [default: native]
    #[arg(long, value_name = "WHO", help_heading = "Export", value_parser = ["native", "python"])]
    pub(crate) exporter: Option<String>,
    #[command(flatten)]
    pub(crate) describe: DescribeArgs,
}

/// What an ONNX file that someone else made may leave open.
#[derive(Debug, clap::Args)]
pub(crate) struct DescribeArgs {
    /// File of class names, one a line, in order of their ids
    #[arg(long, value_name = "FILE", help_heading = "Description")]
    pub(crate) labels: Option<PathBuf>,
    /// How output tensors become boxes, when it cannot be derived
    #[arg(long, value_name = "HEAD", help_heading = "Description", value_parser = PossibleValuesParser::new(HeadKind::names()))]
    pub(crate) head: Option<String>,
    /// How an image is made to fit, instead of the source's own way
    #[arg(long, value_name = "POLICY", help_heading = "Description", value_parser = ["stretch", "letterbox"])]
    pub(crate) resize: Option<String>,
    /// How bytes become numbers, when it cannot be derived
    #[arg(long, value_name = "WAY", help_heading = "Description", value_parser = ["none", "unit", "imagenet"])]
    pub(crate) normalize: Option<String>,
}

impl ExportArgs {
    pub(crate) fn options(&self) -> Result<ExportOptions, Error> {
        let size = self.size.map(|size| (size.width, size.height));
        Ok(ExportOptions {
            opset: self.opset,
            size,
            prompt: self.prompts()?,
            task: self.task.clone(),
            deformable: self.deformable.clone(),
            exporter: self.exporter.clone(),
            ..self.describe.options()?
        })
    }

    /// The prompts; blank lines of a file are none.
    fn prompts(&self) -> Result<Vec<String>, Error> {
        let Some(path) = &self.prompt_file else { return Ok(self.prompt.clone()) };
        let text = read_text(path)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let prompts: Vec<String> = lines.map(str::to_owned).collect();
        if prompts.is_empty() {
            return Err(Error::Options(format!("`{}` holds no prompt", path.display())));
        }
        Ok(prompts)
    }
}

fn read_text(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })
}

impl DescribeArgs {
    pub(crate) fn options(&self) -> Result<ExportOptions, Error> {
        let labels = self.labels.as_deref().map(read_text).transpose()?;
        Ok(ExportOptions {
            labels: labels.map(|text| text.lines().map(|line| line.trim().to_owned()).collect()),
            head: self.head.clone(),
            resize: self.resize.clone(),
            normalize: self.normalize.clone(),
            ..ExportOptions::default()
        })
    }
}

/// A MODEL and what runs it.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelArgs {
    /// An ONNX file or a package
    pub(crate) model: PathBuf,
    /// What runs the graph: embedded, onnxruntime, onnxruntime-cuda or onnxruntime-tensorrt (`sightline list backends`)
    #[arg(long, value_name = "NAME", default_value = "embedded")]
    pub(crate) backend: String,
    #[command(flatten)]
    describe: DescribeArgs,
}

impl ModelArgs {
    pub(crate) fn open(&self) -> Result<Subject, Error> {
        Subject::open(&self.model, &self.describe.options()?)
    }
}

/// How INT8 ranges are found.
#[derive(Debug, clap::Args)]
pub(crate) struct CalibrationArgs {
    /// At most this many images
    #[arg(long, value_name = "N", default_value = "100", help_heading = "Calibration", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Which images: another seed chooses others
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Calibration")]
    seed: u64,
    /// How ranges are chosen: minmax, entropy, mse, percentile, percentile:99.9, or auto: the one whose INT8 graph moves
    /// the detections on the calibration images least
    #[arg(long, value_name = "METHOD", default_value = "auto", help_heading = "Calibration")]
    method: Choice,
    /// A layer that stays in floating point, by the value that it makes; repeatable
    #[arg(long, value_name = "VALUE", help_heading = "Calibration")]
    float: Vec<String>,
    /// The TensorRT that reads the calibration cache, such as 8.6.1 or 10.3.0
    #[arg(long, value_name = "VERSION", default_value = "10.3.0", help_heading = "Calibration", value_parser = tensorrt_version)]
    tensorrt_version: u32,
}

impl CalibrationArgs {
    /// At most `--count` images of a folder or COCO file.
    pub(crate) fn sample(&self, path: &Path) -> Result<ImageSet, Error> {
        ImageSet::sample(path, self.count as usize, self.seed)
    }

    pub(crate) fn options(self) -> Quantizing {
        Quantizing {
            method: self.method,
            count: self.count as usize,
            seed: self.seed,
            pinned: self.float.into_iter().collect(),
            tensorrt_version: self.tensorrt_version,
        }
    }
}

/// The number in the header of a calibration cache: up to 9 one digit a part, from 10 on two.
fn tensorrt_version(text: &str) -> Result<u32, String> {
    let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some(&[major @ 7..=9, minor @ 0..=9, patch @ 0..=99]) => Ok(major * 1000 + minor * 100 + patch),
        Some(&[major @ 10..=99, minor @ 0..=99, patch @ 0..=99]) => Ok(major * 10_000 + minor * 100 + patch),
        _ => Err(format!("`{text}` is no version of TensorRT: write it as 8.6.1 or 10.3.0")),
    }
}

/// What verification tolerates.
#[derive(Debug, clap::Args)]
pub(crate) struct BoundArgs {
    /// What verification tolerates, instead of the defaults: `score=0.02`, or `int8.score=0.2` for one precision;
    /// repeatable. Names: tensor, mean, iou, score, confidence, differing, map-loss, flops
    #[arg(long = "bound", value_name = "NAME=X", help_heading = "Verification")]
    changes: Vec<BoundChange>,
}

impl BoundArgs {
    pub(crate) fn all(&self) -> AllBounds {
        AllBounds { changes: self.changes.clone() }
    }
}

/// The source that was typed. A path that is not there is taken for an id; where it looks like a slip of the pen, that
/// is said.
pub(crate) fn source(text: &str, hub: &pipeline::hub::Config, output: &Output) -> Result<Source, Error> {
    let source = Source::resolve(text, &hub.endpoint)?;
    let parent = Path::new(text).parent().filter(|parent| !parent.as_os_str().is_empty());
    if source.is_remote() && parent.is_some_and(Path::is_dir) {
        output.warn(&format!("there is no `{text}` here: it is taken for `{source}` of a hub"));
    }
    Ok(source)
}

/// Where Python and its environment are.
pub(crate) fn python() -> PythonSetup {
    PythonSetup {
        cache: env::cache(),
        python: "python3".into(),
        variables: env::all(),
        install_limit: Duration::from_hours(2),
        attempt_limit: Duration::from_mins(30),
    }
}

/// The hub's configuration from the environment.
pub(crate) fn hub_config() -> Result<pipeline::hub::Config, Error> {
    Ok(pipeline::hub::Config::from_lookup(env::lookup)?)
}

/// A number from 0 to 1.
pub(crate) fn fraction(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("a number from 0 to 1".into()),
    }
}

/// A check's bound as people read it.
pub(crate) fn bound(bound: Bound) -> String {
    match bound {
        Bound::AtMost(most) => format!("≤ {}", number(most)),
        Bound::AtLeast(least) => format!("≥ {}", number(least)),
    }
}

/// Small numbers as powers of ten, counts as they are.
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 || value.abs() >= 0.001 {
        format!("{value}").chars().take(8).collect()
    } else {
        format!("{value:.1e}")
    }
}

/// A flag that the first Ctrl-C or `SIGTERM` sets, so that what was begun can be ended in order; a second one ends the
/// program at once.
pub(crate) fn on_interrupt() -> Result<Arc<AtomicBool>, Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag;
    let cancelled = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&cancelled))?;
        flag::register(signal, Arc::clone(&cancelled))?;
    }
    Ok(cancelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_become_the_headers_number() {
        for (text, number) in [("8.6.1", 8601), ("10.3.0", 100_300), ("10.16.1", 101_601)] {
            assert_eq!(tensorrt_version(text), Ok(number));
        }
        for text in ["8.6", "x", "8.10.1", "1.2.3", "10.3.0.26"] {
            assert!(tensorrt_version(text).is_err(), "{text}");
        }
    }
}
