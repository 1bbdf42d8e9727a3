//! Whether two runs of a model find the same objects.
//!
//! A detection just above the confidence threshold in one run may be just below it in the other: that is a small
//! difference of score and must not count as a missed object. So decode both runs below the threshold that matters and
//! name that threshold in [`AgreementBounds::confidence`].

use serde::{Deserialize, Serialize};

use crate::{Detection, iou};

/// What counts as the same object, and as a change of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AgreementBounds {
    /// Detections at or below this score need no partner (but may be one).
    pub confidence: f32,
    /// Two detections of a class are the same object from this `IoU` on.
    pub same_iou: f32,
    /// A pair below this `IoU` counts as moved.
    pub moved_iou: f32,
    /// A pair whose scores differ by more than this counts as rescored.
    pub score_difference: f32,
}

impl Default for AgreementBounds {
    /// Bounds for fp32 against fp32: the same objects, to a hundredth.
    fn default() -> Self {
        Self { confidence: 0.3, same_iou: 0.5, moved_iou: 0.99, score_difference: 0.01 }
    }
}

/// How the detections of two runs pair up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Pairs of which at least one detection is above the confidence.
    pub matched: usize,
    /// Detections of the reference that have no partner.
    pub missed: usize,
    /// Detections of the other run that have no partner.
    pub extra: usize,
    /// Pairs whose boxes overlap less than the bound.
    pub moved: usize,
    /// Pairs whose scores differ by more than the bound.
    pub rescored: usize,
    /// Largest difference of score of a pair; 0 without pairs.
    pub max_score_difference: f64,
    /// Mean difference of score of the pairs; 0 without pairs.
    pub mean_score_difference: f64,
    /// Smallest `IoU` of a pair; 1 without pairs.
    pub min_iou: f64,
    /// Mean `IoU` of the pairs; 1 without pairs.
    pub mean_iou: f64,
}

impl Agreement {
    /// The agreement of nothing with nothing: where [`Agreement::merge`] starts.
    pub const EMPTY: Self = Self {
        matched: 0,
        missed: 0,
        extra: 0,
        moved: 0,
        rescored: 0,
        max_score_difference: 0.0,
        mean_score_difference: 0.0,
        min_iou: 1.0,
        mean_iou: 1.0,
    };

    /// Pairs the detections of one image, the reference's best score first, each with the detection of its class that
    /// overlaps it most. Detections with undefined numbers pair with nothing.
    pub fn new(reference: &[Detection], other: &[Detection], bounds: &AgreementBounds) -> Self {
        let counts = |detection: &Detection| detection.score > bounds.confidence || detection.score.is_nan();
        let mut order: Vec<&Detection> = reference.iter().collect();
        order.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut free: Vec<&Detection> = other.iter().collect();
        let mut total = Self::EMPTY;
        for detection in order {
            let Some((at, overlap)) = best_partner(detection, &free, bounds.same_iou) else {
                total.missed += usize::from(counts(detection));
                continue;
            };
            let partner = free.swap_remove(at);
            if counts(detection) || counts(partner) {
                total.merge(&Self::pair(detection, partner, overlap, bounds));
            }
        }
        total.extra = free.into_iter().filter(|detection| counts(detection)).count();
        total
    }

    /// Adds the agreement of another image.
    pub fn merge(&mut self, other: &Self) {
        let (own, others) = (self.matched as f64, other.matched as f64);
        if other.matched > 0 {
            let mean = |a: f64, b: f64| (a * own + b * others) / (own + others);
            self.mean_score_difference = mean(self.mean_score_difference, other.mean_score_difference);
            self.mean_iou = mean(self.mean_iou, other.mean_iou);
            self.max_score_difference = self.max_score_difference.max(other.max_score_difference);
            self.min_iou = self.min_iou.min(other.min_iou);
        }
        self.matched += other.matched;
        self.missed += other.missed;
        self.extra += other.extra;
        self.moved += other.moved;
        self.rescored += other.rescored;
    }

    /// Whether every object was found by both, at the same place and with the same score, within the bounds.
    pub fn is_complete(&self) -> bool {
        self.missed + self.extra + self.moved + self.rescored == 0
    }

    fn pair(a: &Detection, b: &Detection, overlap: f32, bounds: &AgreementBounds) -> Self {
        let difference = (a.score - b.score).abs();
        Self {
            matched: 1,
            moved: usize::from(overlap < bounds.moved_iou),
            rescored: usize::from(difference > bounds.score_difference),
            max_score_difference: f64::from(difference),
            mean_score_difference: f64::from(difference),
            min_iou: f64::from(overlap),
            mean_iou: f64::from(overlap),
            ..Self::EMPTY
        }
    }
}

/// The partner that overlaps most, with its `IoU`. Of equal overlaps the nearer score wins, so that exact duplicates pair
/// with their copies.
fn best_partner(detection: &Detection, free: &[&Detection], least: f32) -> Option<(usize, f32)> {
    if detection.score.is_nan() {
        return None;
    }
    let fits =
        free.iter().enumerate().filter(|(_, other)| other.label == detection.label && !other.score.is_nan());
    let overlaps = fits.map(|(at, other)| (at, iou(detection.bbox, other.bbox)));
    overlaps.filter(|(_, overlap)| *overlap >= least && *overlap > 0.0).min_by(|a, b| {
        let gap = |at: usize| (free[at].score - detection.score).abs();
        b.1.total_cmp(&a.1).then(gap(a.0).total_cmp(&gap(b.0))).then(a.0.cmp(&b.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Xyxy;

    fn detection(x: f32, score: f32, label: u32) -> Detection {
        Detection { bbox: Xyxy::new(x, 0.0, x + 10.0, 10.0), score, label }
    }

    const BOUNDS: AgreementBounds =
        AgreementBounds { confidence: 0.3, same_iou: 0.5, moved_iou: 0.9, score_difference: 0.05 };

    #[test]
    fn each_kind_of_change_is_counted() {
        let a = detection(0.0, 0.8, 1);
        let b = detection(50.0, 0.6, 2);
        // (name, reference, other) → matched, missed, extra, moved, rescored
        let cases = [
            ("nothing", vec![], vec![], [0, 0, 0, 0, 0]),
            ("the same, in another order", vec![a, b], vec![b, a], [2, 0, 0, 0, 0]),
            ("missed", vec![a, b], vec![b], [1, 1, 0, 0, 0]),
            ("extra", vec![a], vec![b, a], [1, 0, 1, 0, 0]),
            ("other class", vec![a], vec![detection(0.0, 0.8, 2)], [0, 1, 1, 0, 0]),
            ("moved", vec![a], vec![detection(1.0, 0.8, 1)], [1, 0, 0, 1, 0]),
            ("far away", vec![a], vec![detection(6.0, 0.8, 1)], [0, 1, 1, 0, 0]),
            ("rescored", vec![a], vec![detection(0.0, 0.7, 1)], [1, 0, 0, 0, 1]),
            (
                "below the threshold in one",
                vec![detection(0.0, 0.31, 1)],
                vec![detection(0.0, 0.29, 1)],
                [1, 0, 0, 0, 0],
            ),
            ("below the threshold in both", vec![detection(0.0, 0.2, 1)], vec![], [0, 0, 0, 0, 0]),
            ("undefined score", vec![a], vec![detection(0.0, f32::NAN, 1)], [0, 1, 1, 0, 0]),
            ("undefined box", vec![a], vec![detection(f32::NAN, 0.8, 1)], [0, 1, 1, 0, 0]),
            ("duplicates", vec![a, detection(0.0, 0.4, 1)], vec![detection(0.0, 0.4, 1), a], [2, 0, 0, 0, 0]),
        ];
        for (name, reference, other, expected) in cases {
            let found = Agreement::new(&reference, &other, &BOUNDS);
            let counts = [found.matched, found.missed, found.extra, found.moved, found.rescored];
            assert_eq!(counts, expected, "{name}");
            assert_eq!(found.is_complete(), expected[1..] == [0; 4], "{name}");
        }
    }

    #[test]
    fn images_add_up() {
        let mut total = Agreement::EMPTY;
        total.merge(&Agreement::new(&[detection(0.0, 0.8, 1)], &[detection(0.0, 0.6, 1)], &BOUNDS));
        total.merge(&Agreement::new(&[], &[], &BOUNDS));
        let two = [detection(0.0, 0.8, 1), detection(30.0, 0.8, 1)];
        total.merge(&Agreement::new(&two, &two, &BOUNDS));
        assert_eq!((total.matched, total.rescored), (3, 1));
        assert!((total.mean_score_difference - 0.2 / 3.0).abs() < 1e-6);
        assert!((total.max_score_difference - 0.2).abs() < 1e-6);
        assert_eq!((total.min_iou, total.mean_iou), (1.0, 1.0));
    }
}
