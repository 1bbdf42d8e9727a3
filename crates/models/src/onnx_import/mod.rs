//! A graph that someone else exported: its detector, derived from the graph and from what lies beside it.
//!
//! Nothing is guessed. What neither the graph nor a file says is an error that names the option which supplies it.

mod heads;
mod inputs;
mod nvinfer;
mod preprocessing;
mod python_literal;
mod ultralytics;

use detect::{Detector, Head, Labels, Resize};
use graph::Model;
use serde_json::Value;

use crate::config::{Config, Processor, bad_labels, find_labels};
use crate::{Error, Files};
use heads::Evidence;
use inputs::Inputs;
use nvinfer::NvInfer;
use ultralytics::Ultralytics;

pub use heads::HeadKind;
pub use preprocessing::Normalization;

/// What the caller knows better than the source.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Class names by id (`--labels`).
    pub labels: Option<Labels>,
    /// Which head the graph has (`--head`).
    pub head: Option<HeadKind>,
    /// Height and width of the input (`--size`), where the graph leaves them open.
    pub size: Option<(u32, u32)>,
    /// How an image is made to fit (`--resize`).
    pub resize: Option<Resize>,
    /// How bytes become numbers (`--normalize`).
    pub normalization: Option<Normalization>,
}

/// Everything that was found beside the graph.
struct Found {
    config: Option<Config>,
    processor: Option<Processor>,
    nvinfer: Option<NvInfer>,
    ultralytics: Option<Ultralytics>,
}

/// Derives the detector of `model` from its metadata, its inputs and outputs, and the `files` beside it
/// (`config.json`, `preprocessor_config.json`, `labels.txt`, `nvinfer_config.txt`).
///
/// # Errors
/// [`Error::NotADetector`] for another task, [`Error::NoLabels`] without class names, [`Error::Underivable`] with the
/// option that supplies what the source does not say, [`Error::UnsupportedHead`] for heads that cannot be expressed.
pub fn import_onnx(model: &Model, files: &dyn Files, options: &ImportOptions) -> Result<Detector, Error> {
    if let Some(text) = model.metadata.get(Detector::METADATA_KEY) {
        return own(model, text, options);
    }
    let found = Found::read(model, files)?;
    let inputs = Inputs::of(model)?;
    let labels = labels(&found, files, options)?;
    let config = found.config.as_ref();
    let model_type = config.and_then(Config::model_type);
    let number = |key: &str| config.and_then(|config| config.raw().get(key)).and_then(Value::as_u64);
    let evidence = Evidence {
        model_type: model_type.as_deref(),
        use_focal_loss: config.and_then(|config| config.raw().get("use_focal_loss")).and_then(Value::as_bool)
            != Some(false),
        num_queries: number("num_queries")
            .and_then(|count| u32::try_from(count).ok())
            .filter(|count| *count > 0),
        ultralytics: found.ultralytics.as_ref(),
        from_tao: found.nvinfer.is_some() || model.graph.inputs.iter().any(|input| input.name == "inputs"),
        told_size: inputs.image_size.is_some(),
        classes: labels.len(),
    };
    let head = heads::derive(model, options.head, &evidence)?;
    let labels = fitting(labels, model, &head, &found)?;
    let architecture = match (&model_type, &found.ultralytics) {
        (Some(model_type), _) => model_type.clone(),
        (None, Some(theirs)) => theirs.architecture.clone(),
        (None, None) => family(&head, &found).to_owned(),
    };
    let input = preprocessing::derive(&found, &inputs, &head, options)?;
    let detector = Detector::new(architecture, labels, input, head);
    detector.validate()?;
    Ok(detector)
}

impl Found {
    fn read(model: &Model, files: &dyn Files) -> Result<Self, Error> {
        let config = Config::find(files)?;
        if let Some(config) = &config {
            config.require_detector()?;
        }
        let model_type = config.as_ref().and_then(Config::model_type);
        Ok(Self {
            processor: Processor::find(files, model_type.as_deref())?,
            config,
            nvinfer: NvInfer::find(files)?,
            ultralytics: Ultralytics::find(&model.metadata)?,
        })
    }
}

/// A graph of our own says everything; the caller may still rename the classes.
fn own(model: &Model, text: &str, options: &ImportOptions) -> Result<Detector, Error> {
    let mut detector = Detector::from_json(text)?;
    let has = |name: &str, values: &[graph::ValueInfo]| values.iter().any(|value| value.name == name);
    if !has(&detector.input.tensor, &model.graph.inputs) {
        let value = format!("`{}`", detector.input.tensor);
        return Err(Error::unsupported(
            Detector::METADATA_KEY,
            "input.tensor",
            value,
            "an input of the graph",
        ));
    }
    for output in detector.head.outputs() {
        if !has(output, &model.graph.outputs) {
            let value = format!("`{output}`");
            return Err(Error::unsupported(Detector::METADATA_KEY, "head", value, "an output of the graph"));
        }
    }
    if let Some(labels) = &options.labels {
        detector.labels = labels.clone();
    }
    Ok(detector)
}

/// The caller's labels, else those of the metadata, else those of the files.
fn labels(found: &Found, files: &dyn Files, options: &ImportOptions) -> Result<Labels, Error> {
    if let Some(labels) = &options.labels {
        return Ok(labels.clone());
    }
    if let Some(labels) = found.ultralytics.as_ref().and_then(|theirs| theirs.labels.clone()) {
        return Ok(labels);
    }
    find_labels(files, found.config.as_ref().map(Config::raw))
}

/// Checks the labels against the head. TAO counts a background as class 0 and leaves it out of `labels.txt`.
fn fitting(labels: Labels, model: &Model, head: &Head, found: &Found) -> Result<Labels, Error> {
    let Some(classes) = heads::classes(model, head) else { return Ok(labels) };
    let named = labels.len();
    if found.nvinfer.is_some() && named + 1 == classes {
        let shifted = labels.iter().map(|(id, name)| (id + 1, name.to_owned()));
        return Labels::new(shifted).map_err(bad_labels);
    }
    if named > classes {
        let reason = format!("it names ids up to {}, the head has {classes} classes", named - 1);
        return Err(Error::BadLabels { reason });
    }
    Ok(labels)
}

/// What to call a detector that does not say what it is.
fn family(head: &Head, found: &Found) -> &'static str {
    match head {
        Head::Queries { .. } if found.nvinfer.is_some() => "tao_detr",
        Head::Queries { boxes, .. } if boxes == "dets" => "rf_detr",
        Head::Queries { .. } => "detr",
        Head::Dense { objectness: true, .. } => "yolov5",
        Head::Dense { .. } => "yolo",
        Head::EndToEndParts { scores: None, .. } => "mmdetection",
        Head::EndToEndParts { format: detect::BoxFormat::XyxyOriginal, .. } => "rt_detr",
        Head::EndToEnd { .. } | Head::EndToEndParts { .. } => "end_to_end",
    }
}
