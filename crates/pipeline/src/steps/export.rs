//! From the source's files to an ONNX graph and the detector's description.
//!
//! Two graphs are made: the one that is delivered, and the source-exact one that verification compares it with.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use deploy::Precision;
use detect::{Detector, Labels, Resize};
use graph::{DataType, ValueInfo};
use runtime::tools::python_exporter::Setup;
use serde::{Deserialize, Serialize};

use super::acquire::Acquired;
use crate::Error;
use crate::folding::Folding;
use crate::mapped::{MappedFiles, map_file};
use crate::python::export_with_python;
use crate::run::{Event, StepContext};
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
    /// Who makes the graph of a checkpoint: `native` or `python`; `None` for the former.
    #[serde(default)]
    pub exporter: Option<String>,
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
    let maker = Maker::new(acquired, options, context.tools());
    let exact = context.put_graph(&maker.make(true)?.model)?;
    let made = maker.make(false)?;
    for warning in &made.warnings {
        context.warn(warning);
    }
    let blob = context.put_graph(&made.model)?;
    if let Some(doubt) = maker.try_out(&made, &context.store().path(&blob))? {
        context.warn(doubt);
    }
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

/// What making a graph may need besides the source.
pub(crate) struct Tools<'a> {
    /// Where Python is, for a graph that it exports.
    pub(crate) python: Option<&'a Setup>,
    /// The folder that the model goes to.
    pub(crate) out: &'a Path,
    /// Where unfinished things may lie.
    pub(crate) work: PathBuf,
    /// Told what happens.
    pub(crate) tell: &'a dyn Fn(Event<'_>),
}

/// Makes graphs of one source.
pub(crate) struct Maker<'a> {
    acquired: &'a Acquired,
    options: &'a ExportOptions,
    tools: Tools<'a>,
    folding: Folding,
    /// The graph that Python made, in a folder that goes with this.
    by_python: OnceCell<(tempfile::TempDir, PathBuf)>,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(acquired: &'a Acquired, options: &'a ExportOptions, tools: Tools<'a>) -> Self {
        Self { acquired, options, tools, folding: Folding::default(), by_python: OnceCell::new() }
    }

    /// Makes a graph: the source-exact one, or the one that is delivered.
    pub(crate) fn make(&self, exact: bool) -> Result<Made, Error> {
        let options = self.options;
        let by_python = match options.exporter.as_deref() {
            None | Some("native") => false,
            Some("python") => true,
            Some(other) => {
                return Err(Error::Options(format!("`--exporter {other}` is none of native, python")));
            }
        };
        let Some(file) = self.acquired.onnx() else {
            if by_python {
                return self.made_by_python(exact);
            }
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
            ("--exporter", by_python),
        ];
        if let Some((option, _)) = built.iter().find(|(_, given)| *given) {
            return Err(Error::Options(format!(
                "`{option}` is for checkpoints; this source is an ONNX file"
            )));
        }
        let folder = file.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
        let beside = |location: &str| {
            let place = self.acquired.place(&format!("{folder}{location}"));
            map_file(place.map_err(|error| error.to_string())?).map_err(|error| crate::error::chain(&error))
        };
        self.import_onnx(file, map_file(self.acquired.place(file)?)?, &beside, exact)
    }

    /// The graph that Python makes, once, of the folder that the checkpoint lies in.
    fn made_by_python(&self, exact: bool) -> Result<Made, Error> {
        let Tools { python, out, work, tell } = &self.tools;
        let setup =
            python.ok_or_else(|| Error::Options("`--exporter python` is not for this command".into()))?;
        if self.by_python.get().is_none() {
            let at = |source| Error::Io { path: work.clone(), source };
            crate::store::create_dir(work)?;
            let folder = tempfile::Builder::new().prefix(".python-").tempdir_in(work).map_err(at)?;
            let source = self.acquired.folder()?;
            let path = export_with_python(source, self.options, setup, folder.path(), out, tell)?;
            let _ = self.by_python.set((folder, path));
        }
        let Some((_, path)) = self.by_python.get() else {
            return Err(Error::Options("the graph of `--exporter python` is gone".into()));
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        let beside = |name: &str| map_file(&folder.join(name)).map_err(|error| crate::error::chain(&error));
        self.import_onnx("model.onnx", map_file(path)?, &beside, exact)
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

    /// A graph that someone else exported: external data folded in, described, otherwise left as it is.
    fn import_onnx(
        &self,
        file: &str,
        bytes: Bytes,
        beside: &dyn Fn(&str) -> Result<Bytes, String>,
        exact: bool,
    ) -> Result<Made, Error> {
        let options = self.options;
        let mut model = graph::onnx::read(bytes, beside)?;
        model.check()?;
        options.require_open(&model)?;
        let files = MappedFiles::new(self.acquired.places());
        let detector = models::import_onnx(&model, &files, &options.for_onnx()?)?;
        if let Some((width, height)) = options.size
            && (detector.input.width, detector.input.height) != (width, height)
        {
            let (own_width, own_height) = (detector.input.width, detector.input.height);
            let reason =
                format!("`--size {width}x{height}`: the input of `{file}` is {own_width}x{own_height}");
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

    /// Runs what was made once; `file` holds it. Gives a doubt where it cannot be run here.
    pub(crate) fn try_out(&self, made: &Made, file: &Path) -> Result<Option<String>, Error> {
        let twin = match (&made.origin, twin_size(&made.detector)) {
            // A network whose positions are of one size has no twin.
            (Origin::Checkpoint, Some((width, height))) => {
                self.export_checkpoint(Some((height, width)), false).ok()
            }
            _ => None,
        };
        let twin = twin.map(|twin| (twin.model, twin.detector));
        match trial(file, &self.tools.work, &made.model, &made.detector, twin) {
            Ok(()) => Ok(None),
            // Someone else's graph may have operators that only its own runtime has.
            Err(Error::Runtime(error)) if error.is_backend_limit() && made.origin != Origin::Checkpoint => {
                Ok(Some(format!("the graph was not tried out: {}", crate::chain(&*error))))
            }
            Err(error) => Err(error),
        }
    }
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
