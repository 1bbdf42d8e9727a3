//! COCO mAP against pycocotools (`fixtures/make_coco.py`).

use std::collections::BTreeMap;

use detect::dataset::{CategoryMap, Dataset, Matching};
use detect::metrics::{compare, evaluate};
use detect::{Detection, Detections, Labels, Xyxy};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    truth: serde_json::Value,
    /// Image, category, corners, score.
    detections: Vec<(u64, u32, f32, f32, f32, f32, f32)>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Expected {
    stats: [f64; 12],
    /// mAP and AP50 by category.
    classes: BTreeMap<u64, (f64, f64)>,
    /// Precision at `IoU` 0.50 by category, every tenth of the 101 points.
    curves: BTreeMap<u64, Vec<f64>>,
}

struct Loaded {
    dataset: Dataset,
    categories: CategoryMap,
    labels: Labels,
    detections: BTreeMap<u64, Detections>,
    expected: Expected,
}

fn load(text: &str) -> Loaded {
    let fixture: Fixture = serde_json::from_str(text).unwrap();
    let dataset = Dataset::from_coco(fixture.truth.to_string().as_bytes()).unwrap();
    let labels = Labels::new(dataset.categories.iter().map(|c| (c.id as u32, c.name.clone()))).unwrap();
    let categories = CategoryMap::new(&labels, &dataset).unwrap();
    assert_eq!(categories.matching, Matching::ById);
    let mut detections: BTreeMap<u64, Detections> = BTreeMap::new();
    for (image, label, x1, y1, x2, y2, score) in fixture.detections {
        let bbox = Xyxy::new(x1, y1, x2, y2);
        detections.entry(image).or_default().push(Detection { bbox, score, label });
    }
    Loaded { dataset, categories, labels, detections, expected: fixture.expected }
}

fn shapes() -> Loaded {
    load(include_str!("../fixtures/coco/shapes.json"))
}

#[test]
fn all_numbers_equal_pycocotools() {
    for (name, loaded) in [("shapes", shapes()), ("edges", load(include_str!("../fixtures/coco/edges.json")))]
    {
        let Loaded { dataset, categories, labels, detections, expected } = loaded;
        let found = evaluate(&dataset, &categories, &labels, &detections).unwrap();
        println!("{name}: {:.6?}", found.scores.to_stats());
        for (found, expected) in found.scores.to_stats().iter().zip(expected.stats) {
            assert!((found - expected).abs() < 1e-4, "{name}: {found} is not {expected}");
        }
        assert_eq!(found.classes.len(), expected.classes.len(), "{name}");
        for class in &found.classes {
            let category = u64::from(class.label);
            let (map, ap50) = expected.classes[&category];
            assert!((class.map - map).abs() < 1e-4, "{name}, {}: {} is not {map}", class.name, class.map);
            assert!((class.ap50 - ap50).abs() < 1e-4, "{name}, {}: {} is not {ap50}", class.name, class.ap50);
            let tenths: Vec<f64> = class.precision.iter().step_by(10).copied().collect();
            let curve: Vec<f64> = expected.curves[&category].iter().copied().filter(|p| *p >= 0.0).collect();
            assert_eq!(tenths.len(), curve.len(), "{name}, {}", class.name);
            assert!(tenths.iter().zip(&curve).all(|(a, b)| (a - b).abs() < 1e-4), "{name}, {}", class.name);
        }
        assert_eq!(found.precision.len(), 101);
        let area: f64 = found.precision.iter().sum::<f64>() / 101.0;
        assert!((area - found.scores.ap50).abs() < 1e-9, "the mean curve's mean is AP50");
    }
}

#[test]
fn the_order_of_annotations_and_their_ids_does_not_matter() {
    let Loaded { mut dataset, categories, labels, detections, expected } = shapes();
    // Annotation ids are numbered from 1 by us: without that, one object would never be matched.
    dataset.annotations.rotate_left(100);
    let found = evaluate(&dataset, &categories, &labels, &detections).unwrap();
    assert!((found.scores.map - expected.stats[0]).abs() < 1e-4);
}

#[test]
fn nothing_found_and_nothing_to_find() {
    let Loaded { mut dataset, categories, labels, detections, .. } = shapes();
    let none = evaluate(&dataset, &categories, &labels, &BTreeMap::new()).unwrap();
    assert_eq!((none.scores.map, none.scores.ar100, none.objects), (0.0, 0.0, 623));

    dataset.annotations.clear();
    let nothing = evaluate(&dataset, &categories, &labels, &detections).unwrap();
    assert_eq!((nothing.scores.map, nothing.objects, nothing.precision.len()), (-1.0, 0, 0));

    dataset.images.clear();
    assert!(evaluate(&dataset, &categories, &labels, &detections).is_err(), "detections of unknown images");
    let empty = evaluate(&dataset, &categories, &labels, &BTreeMap::new()).unwrap();
    assert_eq!((empty.scores.map, empty.images), (-1.0, 0));
}

#[test]
fn undefined_detections_change_nothing() {
    let Loaded { dataset, categories, labels, mut detections, expected } = shapes();
    for found in detections.values_mut() {
        let odd = found[0];
        found.push(Detection { score: f32::NAN, ..odd });
        found.push(Detection { bbox: Xyxy { x1: f32::NAN, ..odd.bbox }, ..odd });
        found.push(Detection { label: 999, ..odd });
    }
    let found = evaluate(&dataset, &categories, &labels, &detections).unwrap();
    assert!((found.scores.map - expected.stats[0]).abs() < 1e-4);
}

#[test]
fn a_difference_comes_with_its_interval() {
    let Loaded { dataset, categories, labels, detections, .. } = shapes();
    let same = compare(&dataset, &categories, &detections, &detections, 100).unwrap();
    assert_eq!((same.map, same.low, same.high), (0.0, 0.0, 0.0));

    let mut worse = detections.clone();
    for (image, found) in &mut worse {
        // Every third image loses its best detections.
        if image % 3 == 0 {
            found.drain(..found.len().min(3));
        }
    }
    let change = compare(&dataset, &categories, &detections, &worse, 100).unwrap();
    let map = |found| evaluate(&dataset, &categories, &labels, found).unwrap().scores.map;
    assert!((change.map - (map(&worse) - map(&detections))).abs() < 1e-9);
    assert!(
        change.map < -0.05 && change.low < change.map && change.map < change.high && change.high < 0.0,
        "{change:?}"
    );
}
