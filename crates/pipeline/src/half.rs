//! `float16` of one model, with what stays in `float32` decided on real images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use detect::{Detector, ElementType};
use graph::passes::{HalfOptions, Halved, convert_fp16, float_values};
use graph::{DataType, Facts, Model};
use serde::{Deserialize, Serialize};

use crate::moved::Probe;
use crate::package::{write_model, write_whole};
use crate::quantize::open_graph;
use crate::watch::watch;
use crate::{Error, Event, ImageSet, Subject};

/// Images that the result is compared with the original on.
const PROBED: usize = 16;

/// What was converted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Half {
    /// Which nodes compute in `float16` and which do not.
    #[serde(flatten)]
    pub halved: Halved,
    /// The share of the FLOPs in `float16`; absent when FLOPs cannot be counted.
    pub flops_share: Option<f64>,
    /// How many images were looked at.
    pub images: usize,
}

/// What the caller of [`convert_half`] decides.
#[derive(Debug, Clone, Default)]
pub struct Halving {
    /// Nodes that stay in `float32`, by a value that they make.
    pub pinned: BTreeSet<String>,
    /// Whether what goes in and comes out is in `float16` too.
    pub half_io: bool,
}

/// A `float16` model.
#[derive(Debug, Serialize)]
pub struct HalfFile {
    /// The file.
    pub path: PathBuf,
    /// What was converted.
    #[serde(flatten)]
    pub about: Half,
    /// How far the detections moved on the first images: 0 for not at all, 1 for none found again.
    pub moved: f64,
}

/// Writes the model in `float16` to `to`.
///
/// # Errors
/// [`Error::Graph`] for a graph that is rounded already, those of running it, of reading images and of writing. Nothing is
/// left under the final name then.
pub fn convert_half(
    subject: &Subject,
    images: &ImageSet,
    options: &Halving,
    backend: &str,
    to: &Path,
    tell: &dyn Fn(Event<'_>),
) -> Result<HalfFile, Error> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    crate::store::create_dir(folder)?;
    let progress = |done, total| tell(Event::Progress { step: "optimize", unit: "images", done, total });
    let wanted = HalfOptions { keep_io: !options.half_io, pinned: options.pinned.clone() };
    let (mut model, about) = halved(subject, images, &wanted, backend, folder, &progress)?;
    let mut detector = subject.detector.clone();
    if options.half_io && detector.input.dtype == ElementType::F32 {
        detector.input.dtype = ElementType::F16;
        model.metadata.insert(Detector::METADATA_KEY.into(), detector.to_json());
    }
    let probe = Probe::new(subject, &images.first(PROBED).images, backend, folder)?;
    let moved = probe.moved(&model, &detector)?;
    write_whole(folder, to, |file, _| write_model(&model, file, to))?;
    Ok(HalfFile { path: to.to_owned(), about, moved })
}

/// Runs the images and converts the graph; without images, by the rules of operators and places alone. Unfinished things
/// lie in `work`. A graph that computes places in frames, of more pixels than `float16` can count, is refused.
pub(crate) fn halved(
    subject: &Subject,
    images: &ImageSet,
    options: &HalfOptions,
    backend: &str,
    work: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<(Model, Half), Error> {
    if subject.detector.input.frames.is_some() {
        let reason = format!(
            "`{}` takes raw frames: float16 cannot tell their pixels' places apart. Convert the plain model and put \
             preprocessing into the graph of the result",
            subject.onnx.display()
        );
        return Err(Error::Options(reason));
    }
    let mut model = open_graph(subject)?;
    let floats: BTreeSet<String> = float_values(&model).into_iter().collect();
    let is_made = |name: &String| model.graph.nodes.iter().any(|node| node.outputs.contains(name));
    if let Some(unknown) = options.pinned.iter().find(|name| !is_made(name)) {
        let reason = format!("no node of `{}` makes a value `{unknown}`", subject.onnx.display());
        return Err(Error::Options(reason));
    }
    let is_watched = |name: &str| floats.contains(name);
    let seen = match images.images.as_slice() {
        [] => BTreeMap::new(),
        images => watch(&model, &subject.detector, &is_watched, images, backend, work, progress)?,
    };
    let halved = convert_fp16(&mut model, &seen, options)?;
    model.metadata.insert(Detector::METADATA_KEY.into(), subject.detector.to_json());
    model.check()?;
    let facts = Facts::of(&model);
    let share = facts.precisions.iter().find(|share| share.dtype == DataType::F16);
    let flops_share = share.and_then(|share| share.flops_share);
    Ok((model, Half { halved, flops_share, images: images.images.len() }))
}
