//! From the source's files to an ONNX graph and the detector's description.
//!
//! Two graphs are made: the one that is delivered, and the source-exact one that verification compares it with.

use deploy::Precision;
use detect::{Detector, Labels, Resize};
use graph::{DataType, ValueInfo};
use serde::{Deserialize, Serialize};

use super::acquire::Acquired;
use crate::Error;
use crate::mapped::{MappedFiles, map_file};
use crate::run::StepContext;
use crate::store::Blob;

/// What the caller may set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ExportOptions {
    /// Operator set; `None` for the default.
    pub opset: Option<i64>,
    /// Input size as width and height; `None` for the source's own.
    pub size: Option<(u32, u32)>,
    /// Class names in order of their ids, when the source has none.
    pub labels: Option<Vec<String>>,
    /// How output tensors become boxes, by the importer's names, when it cannot be derived.
    pub head: Option<String>,
    /// How an image is made to fit (`stretch`, `letterbox`), when it cannot be derived.
    pub resize: Option<String>,
    /// How bytes become numbers, by the importer's names, when it cannot be derived.
    pub normalize: Option<String>,
}

/// A graph and its description.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exported {
    /// The delivered ONNX file.
    pub model: Blob,
    /// The source-exact ONNX file.
    pub exact: Blob,
    /// The description.
    pub detector: Detector,
    /// The number format of its weights.
    pub precision: Precision,
    /// Operator set.
    pub opset: i64,
    /// What is fed.
    pub inputs: Vec<ValueInfo>,
    /// What comes out.
    pub outputs: Vec<ValueInfo>,
    /// Operators in the delivered graph.
    pub nodes: usize,
    /// Numbers in its weights.
    pub parameters: u64,
    /// Tensors of the checkpoint that the network does not use, by name.
    pub ignored: Vec<String>,
    /// Where the graph came from: built here, or made by someone else.
    pub origin: Origin,
}

/// Where a graph came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Built from a checkpoint.
    Checkpoint,
    /// An ONNX file of the source.
    Onnx {
        /// Its path in the source.
        file: String,
        /// The program that wrote it.
        producer: String,
    },
}

/// A graph before it is written.
pub(crate) struct Made {
    pub(crate) model: graph::Model,
    pub(crate) detector: Detector,
    pub(crate) ignored: Vec<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) origin: Origin,
}

/// What our own exports name as their producer.
const PRODUCER: &str = "sightline";

/// Makes and keeps both graphs.
pub(crate) fn export(
    acquired: &Acquired,
    options: &ExportOptions,
    context: &StepContext<'_, '_>,
) -> Result<Exported, Error> {
    let exact = context.put_graph(&make(acquired, options, true)?.model)?;
    let made = make(acquired, options, false)?;
    for warning in &made.warnings {
        context.warn(warning);
    }
    let Made { model, detector, ignored, origin, .. } = made;
    Ok(Exported {
        model: context.put_graph(&model)?,
        exact,
        detector,
        precision: precision(&model.graph),
        opset: model.opset(),
        inputs: model.graph.inputs.clone(),
        outputs: model.graph.outputs.clone(),
        nodes: model.graph.nodes.len(),
        parameters: model.graph.initializers.values().map(|tensor| tensor.len() as u64).sum(),
        ignored,
        origin,
    })
}

/// Makes a graph: the source-exact one, or the one that is delivered.
pub(crate) fn make(acquired: &Acquired, options: &ExportOptions, exact: bool) -> Result<Made, Error> {
    let refused = |option: &str, reason: &str| Err(Error::Options(format!("`{option}` {reason}")));
    match acquired.onnx() {
        Some(_) if options.opset.is_some() => {
            refused("--opset", "is for checkpoints; this source is an ONNX file")
        }
        Some(file) => import_onnx(acquired, file, options, exact),
        None if options.head.is_some() => {
            refused("--head", "describes an ONNX file; this source is a checkpoint")
        }
        None if options.normalize.is_some() => {
            refused("--normalize", "describes an ONNX file; this source is a checkpoint")
        }
        None => export_checkpoint(acquired, options, exact),
    }
}

fn export_checkpoint(acquired: &Acquired, options: &ExportOptions, exact: bool) -> Result<Made, Error> {
    let options = models::ExportOptions {
        opset: options.opset.unwrap_or(models::ExportOptions::default().opset),
        size: options.height_and_width(),
        labels: options.labels()?,
        resize: options.resize()?,
        exact,
    };
    let exported = models::export(&MappedFiles::new(acquired.places()), &options)?;
    Ok(Made {
        model: exported.model,
        detector: exported.detector,
        ignored: exported.ignored,
        warnings: exported.warnings,
        origin: Origin::Checkpoint,
    })
}

/// A graph that someone else exported: external data folded in, described, otherwise left as it is.
fn import_onnx(acquired: &Acquired, file: &str, options: &ExportOptions, exact: bool) -> Result<Made, Error> {
    let folder = file.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
    let mut model = graph::onnx::read(map_file(acquired.place(file)?)?, &|location| {
        let place = acquired.place(&format!("{folder}{location}")).map_err(|error| error.to_string())?;
        map_file(place).map_err(|error| crate::error::chain(&error))
    })?;
    model.check()?;
    options.require_open(&model)?;
    let detector = models::import_onnx(&model, &MappedFiles::new(acquired.places()), &options.for_onnx()?)?;
    if let Some((width, height)) = options.size
        && (detector.input.width, detector.input.height) != (width, height)
    {
        let (own_width, own_height) = (detector.input.width, detector.input.height);
        let reason = format!("`--size {width}x{height}`: the input of `{file}` is {own_width}x{own_height}");
        return Err(Error::Options(reason));
    }
    let mut warnings = Vec::new();
    if model.producer_name == PRODUCER {
        warnings.push(format!(
            "`{file}` was made by this program and is taken as it is; `--variant FILE.safetensors` exports a checkpoint beside it"
        ));
    }
    if !exact {
        model.metadata.insert(Detector::METADATA_KEY.into(), detector.to_json());
    }
    let origin = Origin::Onnx { file: file.to_owned(), producer: model.producer_name.clone() };
    Ok(Made { model, detector, ignored: Vec::new(), warnings, origin })
}

/// The number format of most of the weights, read from them and not from a name.
fn precision(graph: &graph::Graph) -> Precision {
    let bytes = |wanted: &[DataType]| -> usize {
        let of_type = graph.initializers.values().filter(|tensor| wanted.contains(&tensor.dtype()));
        of_type.map(graph::Tensor::len).sum()
    };
    let candidates = [
        (Precision::Fp32, bytes(&[DataType::F32, DataType::F64])),
        (Precision::Fp16, bytes(&[DataType::F16, DataType::Bf16])),
        (Precision::Int8, bytes(&[DataType::I8, DataType::U8])),
    ];
    candidates
        .into_iter()
        .rev()
        .max_by_key(|(_, count)| *count)
        .map_or(Precision::Fp32, |(precision, _)| precision)
}

impl ExportOptions {
    /// The labels, parsed.
    fn labels(&self) -> Result<Option<Labels>, Error> {
        let lines = self.labels.as_ref().map(|lines| lines.join("\n"));
        Ok(lines.as_deref().map(Labels::from_lines).transpose()?)
    }

    /// The size as the exporters take it.
    fn height_and_width(&self) -> Option<(u32, u32)> {
        self.size.map(|(width, height)| (height, width))
    }

    fn resize(&self) -> Result<Option<Resize>, Error> {
        match self.resize.as_deref() {
            None => Ok(None),
            Some("stretch") => Ok(Some(Resize::Stretch)),
            // Ultralytics' way: grey 114, the image in the middle.
            Some("letterbox") => Ok(Some(Resize::Letterbox { fill: 114, centred: true, upscale: true })),
            Some(other) => Err(Error::Options(format!("`--resize {other}` is none of stretch, letterbox"))),
        }
    }

    /// Refuses options that would overrule what a graph of our own says about itself.
    pub(crate) fn require_open(&self, model: &graph::Model) -> Result<(), Error> {
        let overruled =
            [("--head", &self.head), ("--resize", &self.resize), ("--normalize", &self.normalize)];
        match overruled.into_iter().find(|(_, value)| value.is_some()) {
            Some((option, _)) if model.metadata.contains_key(Detector::METADATA_KEY) => {
                Err(Error::Options(format!("`{option}` contradicts the description that the graph carries")))
            }
            _ => Ok(()),
        }
    }

    /// What of it describes a graph that someone else exported.
    pub(crate) fn for_onnx(&self) -> Result<models::ImportOptions, Error> {
        let bad = |option: &str, reason: String| Error::Options(format!("`{option}`: {reason}"));
        Ok(models::ImportOptions {
            labels: self.labels()?,
            size: self.height_and_width(),
            head: self.head.as_deref().map(str::parse).transpose().map_err(|reason| bad("--head", reason))?,
            resize: self.resize()?,
            normalization: self
                .normalize
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|reason| bad("--normalize", reason))?,
        })
    }
}
