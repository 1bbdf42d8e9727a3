//! From the source's files to an ONNX graph and the detector's description.
//!
//! Two graphs are made: the one that is delivered, and the source-exact one that verification compares it with.

use std::path::Path;

use deploy::Precision;
use detect::{Detector, Labels, Resize};
use graph::{DataType, ValueInfo};
use serde::{Deserialize, Serialize};

use super::acquire::Acquired;
use crate::Error;
use crate::folding::Folding;
use crate::mapped::{MappedFiles, map_file};
use crate::run::StepContext;
use crate::store::Blob;
use crate::trial::{trial, twin_size};

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
    /// What an open-vocabulary model is to look for, in the order given.
    #[serde(default)]
    pub prompt: Vec<String>,
    /// Its task, instead of the family's own wording.
    #[serde(default)]
    pub task: Option<String>,
    /// How deformable attention reads its points (`grid_sample`, `gather`); `None` for the former.
    #[serde(default)]
    pub deformable: Option<String>,
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
    let maker = Maker::new(acquired, options);
    let exact = context.put_graph(&maker.make(true)?.model)?;
    let made = maker.make(false)?;
    for warning in &made.warnings {
        context.warn(warning);
    }
    let blob = context.put_graph(&made.model)?;
    maker.try_out(&made, &context.store().path(&blob))?;
    let Made { model, detector, ignored, origin, .. } = made;
    Ok(Exported {
        model: blob,
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

/// Makes graphs of one source.
pub(crate) struct Maker<'a> {
    acquired: &'a Acquired,
    options: &'a ExportOptions,
    folding: Folding,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(acquired: &'a Acquired, options: &'a ExportOptions) -> Self {
        Self { acquired, options, folding: Folding::default() }
    }

    /// Makes a graph: the source-exact one, or the one that is delivered.
    pub(crate) fn make(&self, exact: bool) -> Result<Made, Error> {
        let options = self.options;
        let Some(file) = self.acquired.onnx() else {
            let described =
                [("--head", options.head.is_some()), ("--normalize", options.normalize.is_some())];
            if let Some((option, _)) = described.iter().find(|(_, given)| *given) {
                let reason = format!("`{option}` describes an ONNX file; this source is a checkpoint");
                return Err(Error::Options(reason));
            }
            return self.export_checkpoint(options.height_and_width(), exact);
        };
        let built = [
            ("--opset", options.opset.is_some()),
            ("--prompt", !options.prompt.is_empty()),
            ("--task", options.task.is_some()),
            ("--deformable", options.deformable.is_some()),
        ];
        if let Some((option, _)) = built.iter().find(|(_, given)| *given) {
            return Err(Error::Options(format!(
                "`{option}` is for checkpoints; this source is an ONNX file"
            )));
        }
        import_onnx(self.acquired, file, options, exact)
    }

    fn export_checkpoint(&self, size: Option<(u32, u32)>, exact: bool) -> Result<Made, Error> {
        let options = models::ExportOptions {
            opset: self.options.opset.unwrap_or(models::ExportOptions::default().opset),
            size,
            labels: self.options.labels()?,
            resize: self.options.resize()?,
            exact,
            prompt: self.options.prompt()?,
            deformable: self.options.deformable()?,
        };
        let exported = models::export(&MappedFiles::new(self.acquired.places()), &options)?;
        let mut model = exported.model;
        self.folding.apply(&mut model)?;
        Ok(Made {
            model,
            detector: exported.detector,
            ignored: exported.ignored,
            warnings: exported.warnings,
            origin: Origin::Checkpoint,
        })
    }

    /// Runs what was made once; `file` holds it.
    pub(crate) fn try_out(&self, made: &Made, file: &Path) -> Result<(), Error> {
        let twin = match (&made.origin, twin_size(&made.detector)) {
            // A network whose positions are of one size has no twin.
            (Origin::Checkpoint, Some((width, height))) => {
                self.export_checkpoint(Some((height, width)), false).ok()
            }
            _ => None,
        };
        trial(file, &made.model, &made.detector, twin.map(|twin| (twin.model, twin.detector)))
    }
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

    fn prompt(&self) -> Result<Option<models::Prompt>, Error> {
        if self.prompt.is_empty() {
            return match &self.task {
                Some(_) => Err(Error::Options("`--task` goes with `--prompt`".into())),
                None => Ok(None),
            };
        }
        Ok(Some(models::Prompt { texts: self.prompt.clone(), task: self.task.clone() }))
    }

    fn deformable(&self) -> Result<models::DeformableForm, Error> {
        match self.deformable.as_deref() {
            None | Some("grid_sample") => Ok(models::DeformableForm::GridSample),
            Some("gather") => Ok(models::DeformableForm::Gather),
            Some(other) => {
                Err(Error::Options(format!("`--deformable {other}` is none of grid_sample, gather")))
            }
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
