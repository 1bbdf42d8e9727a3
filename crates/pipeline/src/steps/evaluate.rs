//! Scores a model on annotated images, as COCO does.

use std::collections::BTreeMap;
use std::path::Path;

use detect::dataset::{CategoryMap, Matching};
use detect::metrics::{self, MapDifference, evaluate as coco_scores};
use detect::{Detections, Detector, Thresholds};
use serde::{Deserialize, Serialize};

use crate::images::{Annotations, ImageSet};
use crate::network::Network;
use crate::{Digest, Error};

/// Scores, and what they were taken on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Evaluation {
    /// The backend that ran the model.
    pub backend: String,
    /// The annotation file's name.
    pub annotations: String,
    /// SHA-256 of the annotation file.
    pub sha256: Digest,
    /// Categories that were paired with a class of another name, because all others agree in order.
    pub renamed: Vec<String>,
    /// The scores.
    #[serde(flatten)]
    pub scores: metrics::Evaluation,
}

/// What was found in each image, by the image's id; of each image no more than COCO's evaluation looks at.
pub(crate) type Findings = BTreeMap<u64, Detections>;

/// How often images are drawn anew for the interval of a difference.
pub(crate) const SAMPLES: usize = 2000;

/// Runs the model over every image of the annotations and scores what it finds.
pub(crate) fn evaluate(
    onnx: &Path,
    detector: &Detector,
    backend: &str,
    annotations: &Annotations,
    images: &ImageSet,
    progress: &dyn Fn(u64, u64),
) -> Result<(Evaluation, Findings), Error> {
    let mut network = Network::load(onnx, detector, backend, None)?;
    let thresholds = Thresholds::for_evaluation(&detector.head);
    let dataset = &annotations.dataset;
    let categories = CategoryMap::new(&detector.labels, dataset)?;
    let mut found = Findings::new();
    for (done, (image, record)) in images.images.iter().zip(&dataset.images).enumerate() {
        progress(done as u64, images.images.len() as u64);
        let detections = network.detect(&[image.decode()?], &thresholds)?.pop().unwrap_or_default();
        found.insert(record.id, detections);
    }
    progress(images.images.len() as u64, images.images.len() as u64);
    let scores = coco_scores(dataset, &categories, &detector.labels, &found)?;
    let evaluation = Evaluation {
        backend: backend.to_owned(),
        annotations: annotations.name.clone(),
        sha256: annotations.sha256.clone(),
        renamed: renamed(&categories, detector, annotations),
        scores,
    };
    Ok((evaluation, found))
}

/// The change of mAP from `first` to `second` on the same images.
pub(crate) fn change(
    detector: &Detector,
    annotations: &Annotations,
    first: &Findings,
    second: &Findings,
) -> Result<MapDifference, Error> {
    let dataset = &annotations.dataset;
    let categories = CategoryMap::new(&detector.labels, dataset)?;
    Ok(metrics::compare(dataset, &categories, first, second, SAMPLES)?)
}

/// Categories whose class has another name: `category` for `class`.
fn renamed(categories: &CategoryMap, detector: &Detector, annotations: &Annotations) -> Vec<String> {
    if categories.matching != Matching::ByOrder {
        return Vec::new();
    }
    let name_of = |id| {
        annotations.dataset.categories.iter().find(|category| category.id == id).map(|c| c.name.as_str())
    };
    let pairs = categories.iter().filter_map(|(label, category)| {
        let (class, category) = (detector.labels.display(label), name_of(category)?);
        (!class.eq_ignore_ascii_case(category)).then(|| format!("`{category}` for `{class}`"))
    });
    pairs.collect()
}
