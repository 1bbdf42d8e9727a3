//! Frames whose objects are known: annotations in COCO form whose images are frames of the video.

use std::collections::BTreeMap;

use detect::dataset::Dataset;
use serde::Serialize;

use super::kitti::{Frame, Object};
use crate::Error;

/// Overlap from which a detection is the annotated object (intersection over union).
const SAME: f64 = 0.5;

/// What was found of the annotated objects.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct KnownFrames {
    /// Annotated frames that were looked at.
    pub frames: u64,
    /// Their annotated objects.
    pub objects: u64,
    /// Those that were found: same class, overlap of at least one half.
    pub found: u64,
    /// The share that has to be found, 0 to 1.
    pub bound: f64,
}

impl KnownFrames {
    /// The share that was found; 1 where there is nothing to find.
    pub fn share(&self) -> f64 {
        if self.objects == 0 { 1.0 } else { self.found as f64 / self.objects as f64 }
    }

    /// Whether enough was found. Not one known frame is not enough.
    pub fn passed(&self) -> bool {
        self.frames > 0 && self.share() >= self.bound
    }
}

/// The annotated objects of each frame.
pub(super) struct Fixture {
    frames: BTreeMap<u64, Vec<Object>>,
    bound: f64,
}

impl Fixture {
    /// Takes the frame's number from the last number of the image's file name: `frame_000012.png` is frame 12. Boxes are
    /// scaled from the image's size, where it is given, to `size`, that of the frames.
    ///
    /// # Errors
    /// [`Error::Options`] for a name without a number and for two images of one frame.
    pub(super) fn new(dataset: &Dataset, size: (u32, u32), bound: f64) -> Result<Self, Error> {
        let mut frames = BTreeMap::new();
        for image in &dataset.images {
            let number = last_number(&image.file_name).ok_or_else(|| {
                let reason = "has no number: annotated images of a video are named by their frame, from 0 (`000012.png`)";
                Error::Options(format!("`{}` {reason}", image.file_name))
            })?;
            let (width, height) = image.size.unwrap_or(size);
            let scale =
                [f64::from(size.0) / f64::from(width.max(1)), f64::from(size.1) / f64::from(height.max(1))];
            let of_image =
                dataset.annotations.iter().filter(|object| object.image == image.id && !object.crowd);
            let objects = of_image.filter_map(|object| {
                let category = dataset.categories.iter().find(|category| category.id == object.category)?;
                let [left, top, width, height] = object.bbox;
                let bbox =
                    [left * scale[0], top * scale[1], (left + width) * scale[0], (top + height) * scale[1]];
                Some(Object { label: category.name.clone(), bbox, score: 1.0 })
            });
            if frames.insert(number, objects.collect()).is_some() {
                return Err(Error::Options(format!("frame {number} is annotated twice")));
            }
        }
        Ok(Self { frames, bound })
    }

    /// What was found in these frames; annotated frames that were not looked at do not count.
    pub(super) fn compare(&self, found: &[Frame]) -> KnownFrames {
        let mut known = KnownFrames { frames: 0, objects: 0, found: 0, bound: self.bound };
        for frame in found {
            self.add(frame, &mut known);
        }
        known
    }

    fn add(&self, frame: &Frame, known: &mut KnownFrames) {
        let Some(objects) = self.frames.get(&frame.number) else { return };
        known.frames += 1;
        known.objects += objects.len() as u64;
        let mut free: Vec<&Object> = objects.iter().collect();
        let mut best_first: Vec<&Object> = frame.objects.iter().collect();
        best_first.sort_by(|a, b| b.score.total_cmp(&a.score));
        for detection in best_first {
            let same_class =
                |object: &Object| object.label.trim().eq_ignore_ascii_case(detection.label.trim());
            let overlaps = free.iter().enumerate().filter(|(_, object)| same_class(object));
            let best = overlaps
                .map(|(at, object)| (at, overlap(object.bbox, detection.bbox)))
                .max_by(|a, b| a.1.total_cmp(&b.1));
            if let Some((at, SAME..)) = best {
                free.swap_remove(at);
                known.found += 1;
            }
        }
    }
}

/// Intersection over union.
fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let area = |[left, top, right, bottom]: [f64; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
    let shared = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    let all = area(a) + area(b) - shared;
    if all > 0.0 { shared / all } else { 0.0 }
}

/// The last number in a file's name, without its ending.
fn last_number(name: &str) -> Option<u64> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    stem.rsplit(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty())?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset() -> Dataset {
        let json = br#"{"images": [{"id": 1, "file_name": "f_000002.png", "width": 100, "height": 50}, {"id": 2, "file_name": "9.png"}],
            "categories": [{"id": 7, "name": "car"}, {"id": 8, "name": "dog"}],
            "annotations": [{"image_id": 1, "category_id": 7, "bbox": [10, 10, 20, 20]}, {"image_id": 1, "category_id": 8, "bbox": [50, 10, 20, 20]}]}"#;
        Dataset::from_coco(json).unwrap()
    }

    fn object(label: &str, bbox: [f64; 4]) -> Object {
        Object { label: label.into(), bbox, score: 0.9 }
    }

    #[test]
    fn objects_are_found_once_by_class_and_place_in_the_frames_own_size() {
        // Frames are twice as large as the annotated images.
        let fixture = Fixture::new(&dataset(), (200, 100), 0.5).unwrap();
        let car = object("car", [20.0, 20.0, 60.0, 60.0]);
        let frame = |number, objects| Frame { number, objects };
        let cases = [
            (vec![car.clone(), car.clone()], 1),
            (vec![car.clone(), object("dog", [100.0, 20.0, 140.0, 60.0])], 2),
            (vec![object("dog", car.bbox), object("car", [10.0, 10.0, 30.0, 30.0])], 0),
            (vec![], 0),
        ];
        for (objects, found) in cases {
            let known = fixture.compare(&[frame(2, objects.clone()), frame(3, vec![car.clone()])]);
            assert_eq!((known.frames, known.objects, known.found), (1, 2, found), "{objects:?}");
            assert_eq!(known.passed(), found >= 1);
        }
        assert!(!fixture.compare(&[frame(4, vec![car])]).passed(), "no known frame was looked at");
    }

    #[test]
    fn frames_are_named_by_the_last_number() {
        let cases = [
            ("f_000012.png", Some(12)),
            ("a/3/x.png", None),
            ("cam2_7.jpg", Some(7)),
            ("0.png", Some(0)),
            ("x", None),
        ];
        for (name, number) in cases {
            assert_eq!(last_number(name), number, "{name}");
        }
    }
}
