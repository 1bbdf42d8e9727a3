//! From a source with weights to a detector and its graph.
//!
//! The size of the input is fixed here, because positions and anchors become constants; only the batch stays open.

use detect::{ChannelOrder, Detector, ElementType, ImageInput, Labels, Resize};
use graph::{Builder, Model};

use crate::arch::{self, Architecture};
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
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { opset: 17, size: None, exact: false, labels: None, resize: None }
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
    let Some(config) = Config::find(files)? else { return Err(without_config(files)) };
    let architecture = arch::find(&config)?;
    let mut warnings = Vec::new();
    let labels = match &options.labels {
        Some(labels) => labels.clone(),
        None => find_labels(files, Some(config.raw()))?,
    };
    warnings.extend(placeholder_warning(&labels));
    let input = image_input(files, architecture, options, &mut warnings)?;
    let detector = architecture.detector(&config, labels, input)?;
    detector.validate()?;

    let checkpoint = Checkpoint::read(files)?;
    warnings.extend(class_warning(architecture, &checkpoint, &detector)?);
    let weights = Weights::new(&checkpoint, architecture.renames(), options.exact)?;
    let mut builder = Builder::new(architecture.model_type(), options.opset);
    architecture.build(&config, &detector, &weights, &mut builder)?;
    // What does not fit in the checkpoint explains more than the first node that it breaks.
    let ignored = weights.finish()?;
    let mut model = builder.finish("sightline", env!("CARGO_PKG_VERSION"))?;
    model.metadata.insert(Detector::METADATA_KEY.into(), detector.to_json());
    model.metadata.insert(LABELS_KEY.into(), detector.labels.to_lines());
    Ok(Exported { model, detector, ignored, warnings })
}

/// Why there is nothing to export: the weights may say more than the absence of a configuration.
fn without_config(files: &dyn Files) -> Error {
    match Checkpoint::read(files) {
        Err(error @ Error::PickledWeights { .. }) => error,
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
    for side in [height, width] {
        if !(1..=LARGEST_SIDE).contains(&side) {
            return Err(Error::Underivable {
                what: "the input size",
                reason: format!("{height}×{width} is not between 1 and {LARGEST_SIDE} pixels"),
                option: "--size WIDTHxHEIGHT",
            });
        }
    }
    let resize = options.resize.or_else(|| processor.resize()).ok_or_else(|| Error::Underivable {
        what: "the resize policy",
        reason: format!("`size` in `{}` pads after the normalisation", processor.file),
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
    })
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
