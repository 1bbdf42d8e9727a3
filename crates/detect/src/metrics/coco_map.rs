//! COCO mAP: the twelve numbers of pycocotools, scores by class, precision–recall curves.
//!
//! Computed by `hotcoco`, which equals pycocotools on the stored detections of the tests to the last digits. Objects are
//! numbered from 1 here, because an annotation of id 0 would count as never matched.

use std::collections::BTreeMap;

use hotcoco::params::IouType;
use hotcoco::{COCO, COCOeval};
use serde::{Deserialize, Serialize};

use super::bootstrap::{Matches, interval};
use crate::dataset::{CategoryMap, Dataset};
use crate::{Detections, Error, Labels};

/// Position of "all areas" and of "at most 100 detections" in the arrays of the evaluation.
const ALL_AREAS: usize = 0;
const MOST_DETECTIONS: usize = 2;

/// The twelve numbers of COCO's detection evaluation, 0–1, or −1 where there is no object to find.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CocoMap {
    /// mAP@[.5:.95], at most 100 detections an image.
    pub map: f64,
    /// AP at `IoU` 0.50.
    pub ap50: f64,
    /// AP at `IoU` 0.75.
    pub ap75: f64,
    /// mAP of objects below 32² pixels.
    pub ap_small: f64,
    /// mAP of objects of 32² to 96² pixels.
    pub ap_medium: f64,
    /// mAP of objects above 96² pixels.
    pub ap_large: f64,
    /// Average recall with 1 detection an image.
    pub ar1: f64,
    /// Average recall with 10 detections an image.
    pub ar10: f64,
    /// Average recall with 100 detections an image.
    pub ar100: f64,
    /// Average recall of small objects.
    pub ar_small: f64,
    /// Average recall of medium objects.
    pub ar_medium: f64,
    /// Average recall of large objects.
    pub ar_large: f64,
}

/// Scores of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Its id in the detector's labels.
    pub label: u32,
    /// Its name.
    pub name: String,
    /// How many objects are annotated, crowds left out.
    pub objects: usize,
    /// mAP@[.5:.95]; −1 without objects.
    pub map: f64,
    /// AP at `IoU` 0.50; −1 without objects.
    pub ap50: f64,
    /// Precision at `IoU` 0.50 by recall 0, 0.01 … 1; empty without objects.
    pub precision: Vec<f64>,
}

/// Everything that an evaluation gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The twelve numbers.
    #[serde(flatten)]
    pub scores: CocoMap,
    /// Images that were evaluated.
    pub images: usize,
    /// Annotated objects, crowds left out.
    pub objects: usize,
    /// Precision at `IoU` 0.50 by recall 0, 0.01 … 1, mean of the classes; empty without objects.
    pub precision: Vec<f64>,
    /// The classes of the dataset, by label.
    pub classes: Vec<ClassScores>,
}

/// The change of mAP from one run to another, with a bootstrap interval over images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MapDifference {
    /// mAP of the second run minus mAP of the first.
    pub map: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// How often images were drawn anew.
    pub samples: usize,
}

/// Scores the detections of every image of the dataset; an image without an entry counts as nothing found.
///
/// # Errors
/// [`Error::UnknownImage`] for detections of an image that is not in the dataset; [`Error::Metric`].
pub fn evaluate(
    dataset: &Dataset,
    categories: &CategoryMap,
    labels: &Labels,
    detections: &BTreeMap<u64, Detections>,
) -> Result<Evaluation, Error> {
    let mut evaluator = evaluated(dataset, categories, detections)?;
    evaluator.accumulate();
    // Only for the numbers: the lines are pycocotools' printed summary.
    let _ = evaluator.summarize_lines();
    let stats = evaluator.stats().and_then(|stats| <[f64; 12]>::try_from(stats).ok());
    let scores = CocoMap::from(stats.ok_or_else(|| refused("it gave no numbers"))?);

    let mut objects: BTreeMap<u64, usize> = BTreeMap::new();
    for object in dataset.annotations.iter().filter(|object| !object.crowd) {
        *objects.entry(object.category).or_default() += 1;
    }
    let classes = categories.iter().map(|(label, category)| {
        let (map, ap50, precision) = class_scores(&evaluator, category);
        let objects = objects.get(&category).copied().unwrap_or(0);
        ClassScores { label, name: labels.display(label), objects, map, ap50, precision }
    });
    let classes: Vec<ClassScores> = classes.collect();
    Ok(Evaluation {
        scores,
        images: dataset.images.len(),
        objects: objects.values().sum(),
        precision: mean_curve(&classes),
        classes,
    })
}

/// The change of mAP from `first` to `second`, with a 95 % interval from `samples` paired resamples of the images with a
/// fixed seed.
///
/// # Errors
/// As [`evaluate`]; [`Error::Metric`] when the dataset has no object.
pub fn compare(
    dataset: &Dataset,
    categories: &CategoryMap,
    first: &BTreeMap<u64, Detections>,
    second: &BTreeMap<u64, Detections>,
    samples: usize,
) -> Result<MapDifference, Error> {
    let mut images: Vec<u64> = dataset.images.iter().map(|image| image.id).collect();
    images.sort_unstable();
    let matches = |found| Ok::<_, Error>(Matches::new(&evaluated(dataset, categories, found)?, &images));
    let (first, second) = (matches(first)?, matches(second)?);
    let once = vec![1; images.len()];
    let nothing = || refused("there is no object to find");
    let map = second.map(&once).ok_or_else(nothing)? - first.map(&once).ok_or_else(nothing)?;
    let (low, high) = interval(&first, &second, samples).ok_or_else(nothing)?;
    Ok(MapDifference { map, low, high, samples })
}

/// Every image matched, nothing accumulated yet.
pub(super) fn evaluated(
    dataset: &Dataset,
    categories: &CategoryMap,
    detections: &BTreeMap<u64, Detections>,
) -> Result<COCOeval, Error> {
    let truth = COCO::from_dataset(truth(dataset));
    let found = results(dataset, categories, detections)?;
    let found = truth.load_res_anns(found).map_err(|error| refused(error.to_string()))?;
    let mut evaluator = COCOeval::new(truth, found, IouType::Bbox);
    evaluator.evaluate().map_err(|error| refused(error.to_string()))?;
    Ok(evaluator)
}

fn truth(dataset: &Dataset) -> hotcoco::Dataset {
    let images = dataset.images.iter().map(|image| hotcoco::Image { id: image.id, ..Default::default() });
    let categories = dataset.categories.iter().map(|category| hotcoco::Category {
        id: category.id,
        name: category.name.clone(),
        ..Default::default()
    });
    let annotations = (1..).zip(&dataset.annotations).map(|(id, object)| hotcoco::Annotation {
        id,
        image_id: object.image,
        category_id: object.category,
        bbox: Some(object.bbox),
        area: Some(object.area),
        iscrowd: object.crowd,
        ..Default::default()
    });
    hotcoco::Dataset {
        images: images.collect(),
        categories: categories.collect(),
        annotations: annotations.collect(),
        ..Default::default()
    }
}

/// Detections as results, classes that the dataset does not have left out.
fn results(
    dataset: &Dataset,
    categories: &CategoryMap,
    detections: &BTreeMap<u64, Detections>,
) -> Result<Vec<hotcoco::Annotation>, Error> {
    let known: std::collections::BTreeSet<u64> = dataset.images.iter().map(|image| image.id).collect();
    if let Some(&id) = detections.keys().find(|id| !known.contains(id)) {
        return Err(Error::UnknownImage { id });
    }
    let mut results = Vec::new();
    // In the dataset's order, as pycocotools' callers do: the order decides between equal scores.
    for image in &dataset.images {
        for detection in detections.get(&image.id).into_iter().flatten() {
            let Some(category_id) = categories.category(detection.label) else { continue };
            if detection.score.is_nan() || !detection.bbox.is_finite() {
                continue;
            }
            let [x1, y1, x2, y2] =
                [detection.bbox.x1, detection.bbox.y1, detection.bbox.x2, detection.bbox.y2];
            let (x1, y1) = (f64::from(x1), f64::from(y1));
            results.push(hotcoco::Annotation {
                image_id: image.id,
                category_id,
                bbox: Some([x1, y1, f64::from(x2) - x1, f64::from(y2) - y1]),
                score: Some(f64::from(detection.score)),
                ..Default::default()
            });
        }
    }
    Ok(results)
}

/// mAP, AP50 and the curve at `IoU` 0.50 of a category.
fn class_scores(evaluator: &COCOeval, category: u64) -> (f64, f64, Vec<f64>) {
    let nothing = (-1.0, -1.0, Vec::new());
    let Some(accumulated) = evaluator.accumulated() else { return nothing };
    let Some(class) = accumulated.cat_ids.iter().position(|&id| id == category) else { return nothing };
    let curve = |threshold: usize| {
        let at = |recall| accumulated.precision_idx(threshold, recall, class, ALL_AREAS, MOST_DETECTIONS);
        (0..accumulated.shape.r).map(|recall| accumulated.precision[at(recall)]).collect::<Vec<f64>>()
    };
    let curves: Vec<Vec<f64>> = (0..accumulated.shape.t).map(curve).collect();
    let Some(first) = curves.first().filter(|curve| curve.iter().all(|&value| value >= 0.0)) else {
        return nothing;
    };
    (mean(curves.iter().flatten()), mean(first), first.clone())
}

fn mean_curve(classes: &[ClassScores]) -> Vec<f64> {
    let curves: Vec<&Vec<f64>> =
        classes.iter().map(|class| &class.precision).filter(|curve| !curve.is_empty()).collect();
    let points = curves.first().map_or(0, |curve| curve.len());
    (0..points).map(|at| curves.iter().map(|curve| curve[at]).sum::<f64>() / curves.len() as f64).collect()
}

fn mean<'a>(values: impl IntoIterator<Item = &'a f64>) -> f64 {
    let (sum, count) =
        values.into_iter().fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { -1.0 } else { sum / count as f64 }
}

fn refused(reason: impl Into<String>) -> Error {
    Error::Metric { reason: reason.into() }
}

impl CocoMap {
    /// The numbers in pycocotools' order: AP, AP50, AP75, AP by size, AR 1, 10, 100, AR by size.
    pub fn to_stats(&self) -> [f64; 12] {
        [
            self.map,
            self.ap50,
            self.ap75,
            self.ap_small,
            self.ap_medium,
            self.ap_large,
            self.ar1,
            self.ar10,
            self.ar100,
            self.ar_small,
            self.ar_medium,
            self.ar_large,
        ]
    }
}

impl From<[f64; 12]> for CocoMap {
    fn from(stats: [f64; 12]) -> Self {
        let [map, ap50, ap75, ap_small, ap_medium, ap_large, ar1, ar10, ar100, ar_small, ar_medium, ar_large] =
            stats;
        Self {
            map,
            ap50,
            ap75,
            ap_small,
            ap_medium,
            ap_large,
            ar1,
            ar10,
            ar100,
            ar_small,
            ar_medium,
            ar_large,
        }
    }
}
