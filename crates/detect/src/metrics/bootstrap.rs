//! How sure a difference of mAP is: a paired bootstrap over images.
//!
//! Each sample draws as many images as there are, with repetition, and scores both runs on the same draw (Efron and
//! Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 6 and 13). Nothing is matched again: which detection
//! finds which object does not depend on other images, so an image that is drawn twice counts twice. `hotcoco`'s own
//! comparison counts it once, which makes the interval too narrow by a quarter.

use std::collections::{BTreeMap, HashMap};

use hotcoco::COCOeval;
use rayon::prelude::*;

/// Recall levels at which precision is read, as pycocotools: 0, 0.01 … 1.
const RECALLS: usize = 101;
/// What pycocotools adds to a denominator.
const EPSILON: f64 = f64::EPSILON;
/// The area range "all", as pycocotools has it.
const ALL_AREAS: [f64; 2] = [0.0, 1e10];

/// The detections of one run with the objects that they find.
pub(super) struct Matches {
    images: usize,
    thresholds: usize,
    categories: Vec<Category>,
}

#[derive(Default)]
struct Category {
    /// Objects by image; crowds are none.
    objects: Vec<(u32, u32)>,
    /// Detections, the highest score first.
    ranked: Vec<Ranked>,
}

#[derive(Clone, Copy)]
struct Ranked {
    image: u32,
    score: f64,
    /// One bit a threshold of `IoU`: an object is found.
    found: u32,
    /// One bit a threshold: neither right nor wrong, because a crowd is there.
    ignored: u32,
}

impl Matches {
    /// Takes what an evaluator matched. `images` are all of the dataset, in its order of ids.
    pub(super) fn new(evaluator: &COCOeval, images: &[u64]) -> Self {
        let places: HashMap<u64, u32> = images.iter().copied().zip(0..).collect();
        let mut categories: BTreeMap<u64, Category> = BTreeMap::new();
        let thresholds = evaluator.params.iou_thrs.len().min(u32::BITS as usize);
        for cell in evaluator.eval_imgs().iter().flatten().filter(|cell| cell.area_rng == ALL_AREAS) {
            let Some(&image) = places.get(&cell.image_id) else { continue };
            let category = categories.entry(cell.category_id).or_default();
            let objects = u32::try_from(cell.num_gt_in_denominator()).unwrap_or(u32::MAX);
            if objects > 0 {
                category.objects.push((image, objects));
            }
            for (at, score) in cell.dt_scores.iter().enumerate() {
                let bits = |flag: &dyn Fn(usize) -> bool| {
                    (0..thresholds).fold(0, |bits, t| bits | u32::from(flag(t)) << t)
                };
                let ignored = bits(&|t| cell.dt_ignore[(t, at)]);
                let found = bits(&|t| cell.dt_matched[(t, at)]) & !ignored;
                category.ranked.push(Ranked { image, score: *score, found, ignored });
            }
        }
        let mut categories: Vec<Category> = categories.into_values().collect();
        for category in &mut categories {
            // Stable: equal scores stay in the order of images, as pycocotools sorts.
            category.ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        }
        Self { images: images.len(), thresholds, categories }
    }

    /// mAP@[.5:.95] when image `i` is there `weights[i]` times; `None` when no object is.
    pub(super) fn map(&self, weights: &[u32]) -> Option<f64> {
        let mut points = vec![Vec::new(); self.thresholds];
        let scores: Vec<f64> = self
            .categories
            .iter()
            .filter_map(|category| category.average_precision(weights, &mut points))
            .collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    }
}

impl Category {
    /// Mean over thresholds and recall levels. `points` is room to work in, one list a threshold.
    fn average_precision(&self, weights: &[u32], points: &mut [Vec<(u64, u64)>]) -> Option<f64> {
        let weight = |image: u32| u64::from(weights[image as usize]);
        let objects: u64 = self.objects.iter().map(|(image, count)| weight(*image) * u64::from(*count)).sum();
        if objects == 0 {
            return None;
        }
        points.iter_mut().for_each(Vec::clear);
        let mut found = vec![0_u64; points.len()];
        let mut ignored = vec![0_u64; points.len()];
        let mut seen = 0;
        for detection in &self.ranked {
            let weight = weight(detection.image);
            if weight == 0 {
                continue;
            }
            seen += weight;
            each_bit(detection.ignored, |t| ignored[t] += weight);
            each_bit(detection.found, |t| {
                found[t] += weight;
                points[t].push((found[t], seen - ignored[t]));
            });
        }
        let sum: f64 = points.iter().map(|points| area(points, objects as f64)).sum();
        Some(sum / points.len() as f64)
    }
}

/// The mean over recall levels of the best precision from that recall on. `points` are, for every object found, how many
/// are found and how many detections there are so far: precision is only ever best where an object is found.
fn area(points: &[(u64, u64)], objects: f64) -> f64 {
    let (mut left, mut best, mut sum) = (points.len(), 0.0_f64, 0.0);
    for level in (0..RECALLS).rev() {
        let level = level as f64 * 0.01;
        while let Some(&(found, seen)) = left.checked_sub(1).and_then(|last| points.get(last)) {
            if (found as f64) / objects < level {
                break;
            }
            best = best.max(found as f64 / (seen as f64 + EPSILON));
            left -= 1;
        }
        sum += best;
    }
    sum / RECALLS as f64
}

fn each_bit(mut bits: u32, mut visit: impl FnMut(usize)) {
    while bits != 0 {
        visit(bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}

/// The 95 % interval of the change of mAP from `first` to `second`; `None` when there is nothing to find.
pub(super) fn interval(first: &Matches, second: &Matches, samples: usize) -> Option<(f64, f64)> {
    let images = first.images.min(second.images);
    let mut changes: Vec<f64> = (0..samples as u64)
        .into_par_iter()
        .filter_map(|sample| {
            let weights = draw(images, sample);
            Some(second.map(&weights)? - first.map(&weights)?)
        })
        .collect();
    changes.sort_by(f64::total_cmp);
    Some((quantile(&changes, 0.025)?, quantile(&changes, 0.975)?))
}

/// How often each image is drawn in this sample.
fn draw(images: usize, sample: u64) -> Vec<u32> {
    let mut random = SplitMix(sample.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5349_4748_544C_494E);
    let mut weights = vec![0; images];
    for _ in 0..images {
        weights[random.below(images)] += 1;
    }
    weights
}

/// Between the two neighbours, as numpy's default.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let low = sorted[place.floor() as usize];
    let high = sorted[place.ceil() as usize];
    Some(low + (high - low) * place.fract())
}

/// A small generator whose numbers are the same everywhere (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014): a certificate must not change with a library's version.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, all equally likely but for one part in 2⁶⁴ ÷ `end`.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::super::coco_map::{evaluate, evaluated};
    use super::*;
    use crate::dataset::{CategoryMap, Dataset};
    use crate::{Detection, Detections, Labels, Xyxy};

    fn ranked(image: u32, score: f64, found: u32) -> Ranked {
        Ranked { image, score, found, ignored: 0 }
    }

    /// Two images with an object each; one threshold.
    fn matches(ranked: Vec<Ranked>) -> Matches {
        let category = Category { objects: vec![(0, 1), (1, 1)], ranked };
        Matches { images: 2, thresholds: 1, categories: vec![category] }
    }

    #[test]
    fn weights_count_images_as_often_as_they_are_drawn() {
        let run = matches(vec![ranked(0, 0.9, 1), ranked(1, 0.8, 0), ranked(1, 0.7, 1)]);
        // Recall 0.5 with precision 1, recall 1 with precision 2/3: 51 levels and 50.
        let expected = (51.0 + 50.0 * 2.0 / 3.0) / 101.0;
        assert!((run.map(&[1, 1]).unwrap() - expected).abs() < 1e-12);
        assert_eq!(run.map(&[2, 0]), Some(1.0 / (1.0 + f64::EPSILON / 2.0)));
        // Image 1 alone: wrong before right.
        assert!((run.map(&[0, 3]).unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(run.map(&[0, 0]), None);
    }

    #[test]
    fn an_ignored_detection_is_neither_right_nor_wrong() {
        let crowd = Ranked { image: 0, score: 0.95, found: 0, ignored: 1 };
        let with = matches(vec![crowd, ranked(0, 0.9, 1), ranked(1, 0.7, 1)]);
        assert!((with.map(&[1, 1]).unwrap() - 1.0).abs() < 1e-12);
    }

    #[derive(serde::Deserialize)]
    struct Fixture {
        truth: serde_json::Value,
        detections: Vec<(u64, u32, f32, f32, f32, f32, f32)>,
    }

    /// The same as weights: every image as many times as it was drawn, under ids of its own.
    fn repeated(fixture: &Fixture, weights: &BTreeMap<u64, u32>) -> Fixture {
        let ids = |image: u64| (0..weights[&image]).map(move |copy| image * 1000 + u64::from(copy));
        let mut truth = fixture.truth.clone();
        for (list, key) in [("images", "id"), ("annotations", "image_id")] {
            let all = truth[list].as_array().unwrap().iter();
            let copies = all.flat_map(|entry| {
                ids(entry[key].as_u64().unwrap()).map(move |id| {
                    let mut copy = entry.clone();
                    copy[key] = id.into();
                    copy
                })
            });
            truth[list] = copies.collect();
        }
        let detections = fixture.detections.iter();
        let copies = detections
            .flat_map(|&(image, c, x1, y1, x2, y2, s)| ids(image).map(move |id| (id, c, x1, y1, x2, y2, s)));
        Fixture { truth, detections: copies.collect() }
    }

    fn opened(fixture: &Fixture) -> (Dataset, CategoryMap, Labels, BTreeMap<u64, Detections>) {
        let dataset = Dataset::from_coco(fixture.truth.to_string().as_bytes()).unwrap();
        let labels = Labels::new(dataset.categories.iter().map(|c| (c.id as u32, c.name.clone()))).unwrap();
        let categories = CategoryMap::new(&labels, &dataset).unwrap();
        let mut found: BTreeMap<u64, Detections> = BTreeMap::new();
        for &(image, label, x1, y1, x2, y2, score) in &fixture.detections {
            let bbox = Xyxy::new(x1, y1, x2, y2);
            found.entry(image).or_default().push(Detection { bbox, score, label });
        }
        (dataset, categories, labels, found)
    }

    #[test]
    fn weights_give_the_map_of_a_dataset_with_images_repeated() {
        let texts = [
            include_str!("../../tests/fixtures/coco/shapes.json"),
            include_str!("../../tests/fixtures/coco/edges.json"),
        ];
        for text in texts {
            let mut fixture: Fixture = serde_json::from_str(text).unwrap();
            // Among equal scores of one image the order of copies is another: every score is made different.
            for (at, detection) in fixture.detections.iter_mut().enumerate() {
                detection.6 = detection.6.mul_add(0.5, at as f32 * 1e-5);
            }
            let (dataset, categories, labels, found) = opened(&fixture);
            let mut images: Vec<u64> = dataset.images.iter().map(|image| image.id).collect();
            images.sort_unstable();
            let run = Matches::new(&evaluated(&dataset, &categories, &found).unwrap(), &images);
            let whole = evaluate(&dataset, &categories, &labels, &found).unwrap();
            assert!((run.map(&vec![1; images.len()]).unwrap() - whole.scores.map).abs() < 1e-9);
            for sample in 0..3 {
                let weights = draw(images.len(), sample);
                let by_id = images.iter().copied().zip(weights.iter().copied()).collect();
                let (dataset, categories, labels, found) = opened(&repeated(&fixture, &by_id));
                let expected = evaluate(&dataset, &categories, &labels, &found).unwrap().scores.map;
                assert!((run.map(&weights).unwrap() - expected).abs() < 1e-9, "sample {sample}");
            }
        }
    }

    #[test]
    fn a_run_does_not_differ_from_itself() {
        let run = matches(vec![ranked(0, 0.9, 1), ranked(1, 0.8, 0)]);
        assert_eq!(interval(&run, &run, 100), Some((0.0, 0.0)));
    }

    #[test]
    fn draws_are_of_full_size_and_spread() {
        let mut totals = vec![0_u64; 50];
        for sample in 0..2000 {
            let weights = draw(50, sample);
            assert_eq!(weights.iter().sum::<u32>(), 50);
            weights.iter().zip(&mut totals).for_each(|(weight, total)| *total += u64::from(*weight));
        }
        // 2,000 expected each, with a standard deviation of 44.
        assert!(totals.iter().all(|total| (1780..2220).contains(total)), "{totals:?}");
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        let sorted = [0.0, 1.0, 2.0, 3.0];
        assert_eq!(quantile(&sorted, 0.5), Some(1.5));
        assert_eq!(quantile(&sorted, 1.0), Some(3.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
