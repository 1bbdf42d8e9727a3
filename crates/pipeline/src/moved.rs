//! How far detections move when a graph is changed, as one number that needs no annotations.

use std::path::{Path, PathBuf};

use detect::{Detection, Detections, Detector, Image, Thresholds, iou};
use graph::Model;

use crate::network::Network;
use crate::package::write_model;
use crate::{Error, ImageFile, Subject};

/// Detections below this score hardly count in a mAP.
const LEAST_SCORE: f32 = 0.05;

/// What a graph finds on a few images, to compare changed graphs with.
pub(crate) struct Probe<'a> {
    backend: &'a str,
    /// Where changed graphs lie while they run.
    work: PathBuf,
    images: Vec<Image>,
    exact: Vec<Detections>,
}

impl<'a> Probe<'a> {
    /// Runs the graph as it is.
    pub(crate) fn new(
        subject: &'a Subject,
        images: &[ImageFile],
        backend: &'a str,
        work: &Path,
    ) -> Result<Self, Error> {
        let images = images.iter().map(ImageFile::decode).collect::<Result<_, _>>()?;
        let (detector, work) = (&subject.detector, work.to_owned());
        let mut probe = Self { backend, work, images, exact: Vec::new() };
        probe.exact = probe.found(&subject.onnx, detector)?;
        Ok(probe)
    }

    /// How far a changed graph, with its description, moves what was found: see [`moved`].
    pub(crate) fn moved(&self, model: &Model, detector: &Detector) -> Result<f64, Error> {
        let made = tempfile::Builder::new().prefix(".partial-").suffix(".onnx").tempfile_in(&self.work);
        let mut file = made.map_err(|source| Error::Io { path: self.work.clone(), source })?;
        let path = file.path().to_owned();
        write_model(model, file.as_file_mut(), &path)?;
        Ok(moved(&self.exact, &self.found(&path, detector)?))
    }

    fn found(&self, onnx: &Path, detector: &Detector) -> Result<Vec<Detections>, Error> {
        let mut network = Network::load(onnx, detector, self.backend, None)?;
        let usual = Thresholds::for_evaluation(&detector.head);
        let thresholds = Thresholds { confidence: LEAST_SCORE, ..usual };
        let each = self.images.iter().map(|image| {
            Ok(network.detect(std::slice::from_ref(image), &thresholds)?.pop().unwrap_or_default())
        });
        each.collect()
    }
}

/// The share of the first run's detections, weighted by their scores, that the second does not give again: 0 for the same
/// boxes, classes and scores, 1 for none of them. A detection counts as found again by its overlap with the best one of its
/// class, less the change of its score.
fn moved(first: &[Detections], second: &[Detections]) -> f64 {
    let (mut lost, mut all) = (0.0, 0.0);
    for (first, second) in first.iter().zip(second) {
        for detection in first {
            let weight = f64::from(detection.score);
            let again = second.iter().map(|other| likeness(detection, other)).fold(0.0, f64::max);
            lost += weight * (1.0 - again);
            all += weight;
        }
    }
    if all > 0.0 { lost / all } else { 0.0 }
}

fn likeness(a: &Detection, b: &Detection) -> f64 {
    if a.label != b.label {
        return 0.0;
    }
    f64::from(iou(a.bbox, b.bbox)) * (1.0 - f64::from((a.score - b.score).abs())).max(0.0)
}

#[cfg(test)]
mod tests {
    use detect::Xyxy;

    use super::*;

    fn detection(x: f32, score: f32, label: u32) -> Detection {
        Detection { bbox: Xyxy { x1: x, y1: 0.0, x2: x + 10.0, y2: 10.0 }, score, label }
    }

    #[test]
    fn the_same_is_zero_and_nothing_is_one() {
        let found = vec![vec![detection(0.0, 0.9, 1), detection(50.0, 0.3, 0)]];
        assert!(moved(&found, &found).abs() < 1e-6);
        assert!((moved(&found, &[vec![]]) - 1.0).abs() < 1e-6);
        assert!(moved(&[vec![]], &found).abs() < 1e-6);
    }

    #[test]
    fn a_class_a_box_and_a_score_count() {
        let found = vec![vec![detection(0.0, 0.8, 1)]];
        let other = |detection| moved(&found, &[vec![detection]]);
        assert!((other(detection(0.0, 0.8, 2)) - 1.0).abs() < 1e-6, "another class");
        // A third of the union overlaps.
        assert!((other(detection(5.0, 0.8, 1)) - 2.0 / 3.0).abs() < 1e-6, "another box");
        assert!((other(detection(0.0, 0.6, 1)) - 0.2).abs() < 1e-6, "another score");
    }
}
