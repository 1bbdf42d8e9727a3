//! Scores a model on annotated images, as COCO does.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use detect::dataset::{CategoryMap, Matching};
use detect::metrics::{self, MapDifference, evaluate as coco_scores};
use detect::{Detections, Detector, Thresholds};
use serde::{Deserialize, Serialize};

use crate::images::{Annotations, ImageSet};
use crate::network::Network;
use crate::run::StepContext;
use crate::store::Blob;
use crate::stream::Stream;
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

/// Scores of one of several graphs of a detector.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Scored {
    pub(crate) evaluation: Evaluation,
    /// What was found, for the comparison with other graphs.
    pub(crate) found: Blob,
    /// The change from the first graph; `None` for that one itself.
    pub(crate) change: Option<MapDifference>,
}

/// What graphs are scored with.
pub(crate) struct Scoring<'a> {
    pub(crate) detector: &'a Detector,
    pub(crate) backend: &'a str,
    pub(crate) annotations: &'a Annotations,
    pub(crate) images: &'a ImageSet,
}

impl Scoring<'_> {
    /// Scores a graph and keeps what it finds. `reference` is what the first graph found.
    pub(crate) fn score(
        &self,
        onnx: &Path,
        reference: Option<&Blob>,
        context: &StepContext<'_, '_>,
    ) -> Result<Scored, Error> {
        let Self { detector, backend, annotations, images } = *self;
        let progress = |done, total| context.progress("images", done, total);
        let (evaluation, found) = evaluate(onnx, detector, backend, annotations, images, &progress)?;
        if !evaluation.renamed.is_empty() {
            context.warn(format!("categories were paired by their order: {}", evaluation.renamed.join(", ")));
        }
        let reference = reference.map(|blob| findings(&context.store().path(blob))).transpose()?;
        let change =
            reference.map(|reference| change(detector, annotations, &reference, &found)).transpose()?;
        let text = serde_json::to_vec(&found)
            .map_err(|source| Error::Record { what: "detections".into(), source })?;
        Ok(Scored { evaluation, found: context.put(&text)?, change })
    }
}

fn findings(path: &Path) -> Result<Findings, Error> {
    let text = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|source| Error::Record { what: "detections".into(), source })
}

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
    let dataset = &annotations.dataset;
    let categories = CategoryMap::new(&detector.labels, dataset)?;
    let count = images.images.len().min(dataset.images.len());
    let stream = Stream {
        detector,
        batch: 1,
        count,
        image: &|at| images.images[at].decode(),
        thresholds: Thresholds::for_evaluation(&detector.head),
    };
    let mut all = Vec::with_capacity(count);
    stream.run(std::slice::from_mut(&mut network), &mut |_, detections| {
        all.push(detections);
        progress(all.len() as u64, count as u64);
        Ok(ControlFlow::Continue(()))
    })?;
    let found: Findings = dataset.images.iter().map(|record| record.id).zip(all).collect();
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
