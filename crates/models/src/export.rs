//! From a source with weights to a detector and its graph.
//!
//! The size of the input is fixed here, because positions and anchors become constants; only the batch stays open.

use std::collections::BTreeMap;

use detect::{ChannelOrder, Detector, ElementType, ImageInput, Labels, Resize};
use graph::{Builder, Model};

use crate::arch::{self, Architecture, Source};
use crate::config::{CONFIG, Config, Family, Processor, find_labels, placeholder_warning};
use crate::weights::Weights;
use crate::{Checkpoint, Error, Files};

/// Largest side of an exported input, in pixels.
const LARGEST_SIDE: u32 = 8192;
/// Metadata key of the class names, one a line by id.
const LABELS_KEY: &str = "labels";

/// What the caller wants of an export.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// The operator set to write, in [`Builder::OPSETS`].
    pub opset: i64,
    /// Height and width of the input, instead of the processor's.
    pub size: Option<(u32, u32)>,
    /// Keep the operations of the original model one by one: the graph that others are compared with.
    pub exact: bool,
    /// Class names, instead of the source's.
    pub labels: Option<Labels>,
    /// How an image is made to fit, instead of the processor's way.
    pub resize: Option<Resize>,
    /// What an open-vocabulary model is to look for; fixed in the graph.
    pub prompt: Option<Prompt>,
    /// How deformable attention reads its points.
    pub deformable: DeformableForm,
}

/// The text that an open-vocabulary model is frozen with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompt {
    /// The prompts, in the order in which they were given; at least one. What one means depends on the family: a whole
    /// caption (Grounding DINO), a query (OWL-ViT) or a class (OmDet-Turbo).
    pub texts: Vec<String>,
    /// The task, where the family takes one and its own wording is not wanted.
    pub task: Option<String>,
}

/// How deformable attention reads its points.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeformableForm {
    /// `GridSample`: one node a level.
    #[default]
    GridSample,
    /// `GatherND` of the four neighbours and their weights, for runtimes without `GridSample`.
    Gather,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            opset: 17,
            size: None,
            exact: false,
            labels: None,
            resize: None,
            prompt: None,
            deformable: DeformableForm::GridSample,
        }
    }
}

/// An exported model.
#[derive(Debug, Clone)]
pub struct Exported {
    /// The graph; its weights still share the bytes of the checkpoint.
    pub model: Model,
    /// Everything that is not in the graph.
    pub detector: Detector,
    /// Tensors of the checkpoint that inference does not need, by their names on disk.
    pub ignored: Vec<String>,
    /// What the person should know.
    pub warnings: Vec<String>,
}

/// Builds the graph of the checkpoint in `files`.
///
/// # Errors
/// In the order of [`crate::ErrorKind`]: nothing usable in the source, not a detector that we know, no labels, or a
/// checkpoint that cannot be exported.
pub fn export(files: &dyn Files, options: &ExportOptions) -> Result<Exported, Error> {
    let described = arch::described(files)?;
    let files: &dyn Files = described.as_ref().map_or(files, |described| described);
    let Some(config) = Config::find(files)? else {
        let pickled = arch::ultralytics::export(files, options)?;
        return pickled.ok_or_else(|| without_config(files));
    };
    let architecture = match arch::find(&config) {
        Err(unknown @ Error::UnknownArchitecture { .. }) => return pickled(files, options, unknown),
        found => found?,
    };
    let source = Source { config: &config, files, options };
    let left_out = architecture.left_out();
    let mut warnings: Vec<String> =
        left_out.map(|what| format!("the graph leaves out {what}")).into_iter().collect();
    let labels = labels(architecture, source, &mut warnings)?;
    let input = image_input(files, architecture, options, &mut warnings)?;
    let keeps_ratio = matches!(input.resize, Resize::ShortestEdge { .. });
    let detector = architecture.detector(source, labels, input)?;
    detector.validate()?;
    warnings.extend(fitting_warning(keeps_ratio, &detector, options));

    let checkpoint = Checkpoint::read(files)?;
    warnings.extend(class_warning(architecture, &checkpoint, &detector)?);
    let weights = Weights::new(&checkpoint, architecture.renames(), options.exact)?;
    let mut builder = Builder::new(architecture.model_type(), options.opset);
    architecture.build(source, &detector, &weights, &mut builder)?;
    finish(builder, &weights, detector, warnings, BTreeMap::new())
}

/// A configuration that names no family may lie beside a file that needs none.
fn pickled(files: &dyn Files, options: &ExportOptions, unknown: Error) -> Result<Exported, Error> {
    match arch::ultralytics::export(files, options) {
        Ok(Some(exported)) => Ok(exported),
        Ok(None) | Err(Error::ForeignCode { .. } | Error::Damaged { .. }) => Err(unknown),
        Err(error) => Err(error),
    }
}

/// What was built, with the description of its detector and more `metadata`.
///
/// # Errors
/// [`Error::Weights`] when the checkpoint does not fit, [`Error::Graph`] with the first node that does not.
pub(crate) fn finish(
    builder: Builder,
    weights: &Weights,
    detector: Detector,
    warnings: Vec<String>,
    metadata: BTreeMap<String, String>,
) -> Result<Exported, Error> {
    // What does not fit in the checkpoint explains more than the first node that it breaks.
    let ignored = weights.finish()?;
    let mut model = builder.finish("sightline", env!("CARGO_PKG_VERSION"))?;
    model.metadata.extend(metadata);
    model.metadata.insert(Detector::METADATA_KEY.into(), detector.to_json());
    model.metadata.insert(LABELS_KEY.into(), detector.labels.to_lines());
    Ok(Exported { model, detector, ignored, warnings })
}

/// Refuses an input that is empty, or larger than anything that a detector sees.
///
/// # Errors
/// [`Error::Underivable`] with the option that sets the size.
pub(crate) fn checked_size(height: u32, width: u32) -> Result<(), Error> {
    if [height, width].iter().all(|side| (1..=LARGEST_SIDE).contains(side)) {
        return Ok(());
    }
    Err(Error::Underivable {
        what: "the input size",
        reason: format!("{height}×{width} is not between 1 and {LARGEST_SIDE} pixels"),
        option: "--size WIDTHxHEIGHT",
    })
}

/// The class names: those of the prompt for an open vocabulary, else the caller's or the source's.
fn labels(
    architecture: &dyn Architecture,
    source: Source<'_>,
    warnings: &mut Vec<String>,
) -> Result<Labels, Error> {
    let options = source.options;
    let refuse = |option, reason: &str| Err(Error::Refused { option, reason: reason.to_owned() });
    let none = Prompt::default();
    if let Some(prompted) = architecture.prompted_labels(options.prompt.as_ref().unwrap_or(&none)) {
        if options.prompt.is_none() {
            return Err(Error::Underivable {
                what: "what to look for",
                reason: format!("`{}` finds what a text describes", architecture.model_type()),
                option: "--prompt TEXT",
            });
        }
        if options.labels.is_some() {
            return refuse("--labels", "contradicts `--prompt`, whose phrases are the classes");
        }
        let labels = prompted?;
        let names = labels.to_lines().lines().collect::<Vec<_>>().join(", ");
        warnings.push(format!("the classes are fixed now: {names}"));
        return Ok(labels);
    }
    if options.prompt.is_some() {
        return refuse("--prompt", "is for open-vocabulary models; the classes of this one are trained in");
    }
    let labels = match &options.labels {
        Some(labels) => labels.clone(),
        None => find_labels(source.files, Some(source.config.raw()))?,
    };
    warnings.extend(placeholder_warning(&labels));
    Ok(labels)
}

/// Why there is nothing to export: the weights may say more than the absence of a configuration.
fn without_config(files: &dyn Files) -> Error {
    match Checkpoint::read(files) {
        Err(error @ Error::ForeignCode { .. }) => error,
        _ => Error::MissingFile { file: CONFIG.into() },
    }
}

fn image_input(
    files: &dyn Files,
    architecture: &dyn Architecture,
    options: &ExportOptions,
    warnings: &mut Vec<String>,
) -> Result<ImageInput, Error> {
    let model_type = architecture.model_type();
    let processor = match Processor::find(files, Some(model_type))? {
        Some(processor) => processor,
        None => Processor::default_for(
            Family::by_model_type(model_type)
                .ok_or_else(|| Error::MissingFile { file: "preprocessor_config.json".into() })?,
        )?,
    };
    warnings.extend(processor.warnings.iter().cloned());
    let (height, width) = options.size.unwrap_or_else(|| processor.canvas());
    checked_size(height, width)?;
    let resize = options.resize.or_else(|| processor.resize()).ok_or_else(|| Error::Underivable {
        what: "the resize policy",
        reason: format!("`size` in `{}` is a way of padding that no policy is equal to", processor.file),
        option: "--resize stretch|letterbox",
    })?;
    Ok(ImageInput {
        tensor: "pixel_values".into(),
        width,
        height,
        channels: ChannelOrder::Rgb,
        resize,
        filter: processor.filter,
        antialias: processor.antialias,
        scale: processor.scale,
        mean: processor.mean,
        std: processor.std,
        dtype: ElementType::F32,
        mask: None,
        image_size: None,
        frames: None,
    })
}

/// What a fixed size means for a source whose processor keeps the ratio of an image.
fn fitting_warning(keeps_ratio: bool, detector: &Detector, options: &ExportOptions) -> Option<String> {
    let input = &detector.input;
    let size = format!("{}×{} pixels", input.width, input.height);
    match input.resize {
        Resize::ShortestEdge { .. } if options.size.is_none() => Some(format!(
            "every image is padded to {size}, whatever its shape: `--size WIDTHxHEIGHT` (what your images need) or \
             `--resize stretch` with it makes a graph that computes less"
        )),
        Resize::Stretch if keeps_ratio && options.resize.is_none() => Some(format!(
            "every image is stretched to {size}, because `{}` cannot tell padding from image: `--size WIDTHxHEIGHT` \
             with the shape of your images keeps their ratio",
            detector.architecture
        )),
        _ => None,
    }
}

/// Compares the labels with the classes that the head has.
fn class_warning(
    architecture: &dyn Architecture,
    checkpoint: &Checkpoint,
    detector: &Detector,
) -> Result<Option<String>, Error> {
    let Some(classes) = architecture.classes(checkpoint) else { return Ok(None) };
    let named = detector.labels.len();
    if named > classes {
        let reason = format!("it names ids up to {}, the head has {classes} classes", named - 1);
        return Err(Error::BadLabels { reason });
    }
    let few = format!("`{CONFIG}` or the labels name {named} classes, the head has {classes}");
    Ok((named < classes).then_some(few))
}
