//! Non-maximum suppression, class by class.
//!
//! A box is dropped when it overlaps a better one of *its own class* by more than the threshold (strictly, as
//! torchvision): boxes of different classes never touch each other, unless the caller wants it so.

use std::collections::BTreeMap;

use crate::{Detection, iou};

/// Keeps the best of overlapping detections of a class; the result is sorted by score, best first. Equal scores keep
/// their order. Detections of an undefined score are dropped.
pub fn suppress(detections: Vec<Detection>, iou_threshold: f32) -> Vec<Detection> {
    suppress_among(detections, iou_threshold, |detection| detection.label)
}

/// As [`suppress`], but boxes of different classes suppress each other too.
pub fn suppress_all(detections: Vec<Detection>, iou_threshold: f32) -> Vec<Detection> {
    suppress_among(detections, iou_threshold, |_| 0)
}

/// Detections of one `group` suppress each other.
fn suppress_among(
    mut detections: Vec<Detection>,
    iou_threshold: f32,
    group: impl Fn(&Detection) -> u32,
) -> Vec<Detection> {
    detections.retain(|detection| !detection.score.is_nan());
    detections.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept_by_group: BTreeMap<u32, Vec<Detection>> = BTreeMap::new();
    detections.retain(|detection| {
        let kept = kept_by_group.entry(group(detection)).or_default();
        let overlaps = kept.iter().any(|better| iou(better.bbox, detection.bbox) > iou_threshold);
        if !overlaps {
            kept.push(*detection);
        }
        !overlaps
    });
    detections
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Xyxy;

    fn detection(x: f32, score: f32, label: u32) -> Detection {
        Detection { bbox: Xyxy::new(x, 0.0, x + 10.0, 10.0), score, label }
    }

    #[test]
    fn the_best_of_a_class_stays() {
        let a = detection(0.0, 0.9, 1);
        let cases = [
            ("nothing", vec![], vec![]),
            ("overlap", vec![detection(1.0, 0.8, 1), a], vec![a]),
            ("other class", vec![a, detection(1.0, 0.8, 2)], vec![a, detection(1.0, 0.8, 2)]),
            ("apart", vec![detection(20.0, 0.8, 1), a], vec![a, detection(20.0, 0.8, 1)]),
            // IoU of 5/15 with its neighbour: b goes for a, c only overlaps the dropped b.
            (
                "chain",
                vec![a, detection(5.0, 0.8, 1), detection(10.0, 0.7, 1)],
                vec![a, detection(10.0, 0.7, 1)],
            ),
            ("equal scores", vec![a, detection(1.0, 0.9, 1)], vec![a]),
            ("undefined score", vec![detection(0.0, f32::NAN, 1), a], vec![a]),
            ("undefined box", vec![a, detection(f32::NAN, 0.1, 2)], vec![a, detection(f32::NAN, 0.1, 2)]),
        ];
        for (name, detections, expected) in cases {
            // Compared as text, because an undefined number does not equal itself.
            assert_eq!(format!("{:?}", suppress(detections, 0.3)), format!("{expected:?}"), "{name}");
        }
    }

    #[test]
    fn classes_count_only_where_they_should() {
        let (a, b) = (detection(0.0, 0.9, 1), detection(1.0, 0.8, 2));
        assert_eq!(suppress(vec![b, a], 0.3), [a, b]);
        assert_eq!(suppress_all(vec![b, a], 0.3), [a]);
    }

    #[test]
    fn the_threshold_itself_is_allowed() {
        let half = vec![
            detection(0.0, 0.9, 0),
            Detection { bbox: Xyxy::new(0.0, 0.0, 5.0, 10.0), score: 0.8, label: 0 },
        ];
        assert_eq!(suppress(half.clone(), 0.5).len(), 2);
        assert_eq!(suppress(half, 0.49).len(), 1);
    }

    proptest! {
        #[test]
        fn kept_boxes_do_not_overlap_and_dropped_ones_overlap_a_better_one(
            rows in proptest::collection::vec((0.0_f32..50.0, 0.0_f32..1.0, 0_u32..3), 0..40),
            threshold in 0.0_f32..1.0,
        ) {
            let all: Vec<Detection> = rows.iter().map(|&(x, score, label)| detection(x, score, label)).collect();
            let kept = suppress(all.clone(), threshold);
            prop_assert!(kept.is_sorted_by(|a, b| a.score >= b.score));
            for (index, a) in kept.iter().enumerate() {
                for b in &kept[..index] {
                    prop_assert!(a.label != b.label || iou(a.bbox, b.bbox) <= threshold);
                }
            }
            for dropped in all.iter().filter(|detection| !kept.contains(detection)) {
                let overlaps = |better: &&Detection| {
                    better.label == dropped.label
                        && better.score >= dropped.score
                        && iou(better.bbox, dropped.bbox) > threshold
                };
                prop_assert!(kept.iter().any(|better| overlaps(&better)));
            }
            prop_assert_eq!(suppress(kept.clone(), threshold), kept);
        }
    }
}
