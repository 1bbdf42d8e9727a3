//! Arguments that several commands take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use pipeline::hub::Source;
use pipeline::models::HeadKind;
use pipeline::runtime::tools::python_exporter::Setup as PythonSetup;
use pipeline::{Error, ExportOptions, Subject};

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
    model: PathBuf,
    /// Backend
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
