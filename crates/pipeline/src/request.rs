//! What an import is asked to do.

use std::path::PathBuf;

use deploy::PackageName;

use crate::Error;
use crate::images::{Annotations, ImageSet};
use crate::steps::export::ExportOptions;
use crate::steps::measure::Load;
use crate::steps::verify::Bounds;

/// An import as it was asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where the model is.
    pub source: hub::Source,
    /// Which of several ONNX files to take.
    pub variant: hub::VariantPreference,
    /// The package's name; `None` for the source's own.
    pub name: Option<PackageName>,
    /// The folder that packages go to.
    pub out: PathBuf,
    /// How the graph is made.
    pub export: ExportOptions,
    /// Folder of images to check and measure with.
    pub images: Option<PathBuf>,
    /// Annotations of those images, in COCO form.
    pub annotations: Option<PathBuf>,
    /// At most this many images are evaluated.
    pub limit: Option<usize>,
    /// The backend that checks, scores and measures.
    pub backend: String,
    /// What verification tolerates.
    pub bounds: Bounds,
    /// How latency is measured.
    pub load: Load,
    /// Whether figures of an earlier run on this machine may stand.
    pub remeasure: bool,
    /// Where the model is deployed to; `None` for everywhere.
    pub targets: Option<Vec<String>>,
    /// The command line as it was typed, for the report.
    pub command_line: String,
}

impl Request {
    /// Verification runs on at most this many images: it looks for wrong graphs, not for accuracy.
    pub(crate) const VERIFIED_IMAGES: usize = 8;
    /// This many images become samples.
    pub(crate) const SAMPLES: usize = 6;
}

/// What an import works with besides the source, looked at before anything is fetched.
pub(crate) struct Data {
    pub(crate) images: ImageSet,
    pub(crate) annotations: Option<Annotations>,
    pub(crate) targets: Vec<String>,
}

impl Data {
    /// Opens the images and annotations of a request and checks that its targets and backend exist.
    pub(crate) fn open(request: &Request) -> Result<Self, Error> {
        runtime::backend(&request.backend)?.probe()?;
        let every = || deploy::targets::targets().iter().map(|target| target.name().to_owned()).collect();
        let targets: Vec<String> = request.targets.clone().unwrap_or_else(every);
        for name in &targets {
            deploy::targets::target(name)?;
        }
        let annotations = request.annotations.as_deref().map(Annotations::open).transpose()?;
        let annotations = match (annotations, request.limit) {
            (Some(all), Some(limit)) => Some(all.first(limit)),
            (all, _) => all,
        };
        let images = match (&request.images, &annotations) {
            (Some(folder), Some(annotations)) => ImageSet::of_annotations(folder, &annotations.dataset)?,
            (Some(folder), None) => ImageSet::of_folder(folder)?,
            (None, Some(_)) => {
                let reason = "`--annotations` needs the folder of its images: `--images DIR`";
                return Err(Error::Options(reason.into()));
            }
            (None, None) => ImageSet::built_in(),
        };
        Ok(Self { images, annotations, targets })
    }
}
