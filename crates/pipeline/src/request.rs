//! What an import is asked to do.

use std::path::PathBuf;

use deploy::{PackageName, Precision};

use crate::Error;
use crate::bounds::{AllBounds, Bounds};
use crate::images::{Annotations, ImageSet};
use crate::steps::export::ExportOptions;
use crate::steps::measure::Load;
use crate::steps::quantize::Calibrating;

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
    pub bounds: AllBounds,
    /// The precisions that are delivered; fp32 always is.
    pub precisions: Vec<Precision>,
    /// What INT8 is calibrated with.
    pub calibration: Option<Calibrating>,
    /// The largest batch that is verified, delivered and timed.
    pub max_batch: usize,
    /// How latency is measured; its batches are 1 and the largest.
    pub load: Load,
    /// Whether figures of an earlier run on this machine may stand.
    pub remeasure: bool,
    /// Where the model is deployed to; `None` for everywhere.
    pub targets: Option<Vec<String>>,
    /// Width and height of the frames, for targets that process video.
    pub frame: (u32, u32),
    /// The command line as it was typed, for the report.
    pub command_line: String,
}

impl Request {
    /// The first of the images that are checked and measured with.
    ///
    /// # Errors
    /// [`Error::Options`] and [`Error::Io`] for a folder without images.
    pub fn first_images(&self, count: usize) -> Result<ImageSet, Error> {
        Ok(Data::open(self)?.images.first(count))
    }

    /// Verification runs on at most this many images: it looks for wrong graphs, not for accuracy.
    const VERIFIED_IMAGES: usize = 8;
    /// The same where numbers were rounded: what differs then is counted, and a count needs more of them.
    const VERIFIED_ROUNDED: usize = 16;
    /// How many images are compared for these bounds.
    pub(crate) fn verified(bounds: &Bounds) -> usize {
        if bounds.is_exact() { Self::VERIFIED_IMAGES } else { Self::VERIFIED_ROUNDED }
    }

    /// This many images become samples.
    pub(crate) const SAMPLES: usize = 6;
}

/// What an import works with besides the source, looked at before anything is fetched.
pub(crate) struct Data {
    pub(crate) images: ImageSet,
    pub(crate) annotations: Option<Annotations>,
    pub(crate) calibration: Option<ImageSet>,
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
        let calibration = request.calibration.as_ref();
        let calibration = calibration
            .map(|with| ImageSet::sample(&with.images, with.options.count, with.options.seed))
            .transpose()?;
        if request.precisions.contains(&Precision::Int8) && calibration.is_none() {
            return Err(Error::Options("int8 needs images to calibrate with: `--calibrate DIR`".into()));
        }
        Ok(Self { images, annotations, calibration, targets })
    }
}
