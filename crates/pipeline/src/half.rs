//! `float16` of one model, with what stays in `float32` decided on real images.

use std::collections::BTreeSet;
use std::path::Path;

use detect::Detector;
use graph::passes::{HalfOptions, Halved, convert_fp16, float_values};
use graph::{DataType, Facts, Model};
use serde::{Deserialize, Serialize};

use crate::quantize::open_graph;
use crate::watch::watch;
use crate::{Error, ImageSet, Subject};

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

/// Runs the images and converts the graph. Unfinished things lie in `work`.
pub(crate) fn halved(
    subject: &Subject,
    images: &ImageSet,
    pinned: &BTreeSet<String>,
    backend: &str,
    work: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<(Model, Half), Error> {
    let mut model = open_graph(subject)?;
    let floats: BTreeSet<String> = float_values(&model).into_iter().collect();
    let is_watched = |name: &str| floats.contains(name);
    let seen = watch(&model, &subject.detector, &is_watched, &images.images, backend, work, progress)?;
    let options = HalfOptions { pinned: pinned.clone(), ..HalfOptions::default() };
    let halved = convert_fp16(&mut model, &seen, &options)?;
    model.metadata.insert(Detector::METADATA_KEY.into(), subject.detector.to_json());
    model.check()?;
    let facts = Facts::of(&model);
    let share = facts.precisions.iter().find(|share| share.dtype == DataType::F16);
    let flops_share = share.and_then(|share| share.flops_share);
    Ok((model, Half { halved, flops_share, images: images.images.len() }))
}
