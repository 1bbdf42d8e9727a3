//! Exported graphs give the numbers of the original (fixtures: `tests/fixtures/make.py`) on every backend of this machine.
//!
//! Queries are chosen by their scores, so two cells whose scores differ by rounding only may change places; rows are
//! therefore matched over all outputs before they are compared. Every reference row must find a row of its own.

use std::collections::BTreeMap;

use detect::{BoxFormat, Head};
use models::{DeformableForm, ExportOptions, Exported, Files, architectures, export};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, Tensor};
use runtime::{LoadOptions, OnnxSource, Session};
use safetensors::SafeTensors;

use crate::sources::{Folder, fixture, fixtures, options, trained};
use crate::usable;

/// Largest difference of a class score; relative to the largest one where that is above 10.
const SCORES: f32 = 2e-4;
/// Largest difference of a box, relative to the image.
const BOXES: f32 = 5e-5;

/// Outputs by name.
type Outputs = BTreeMap<String, Tensor<f32>>;

struct Reference {
    /// What is fed, `[n, 3, height, width]`.
    images: NdTensor<f32, 4>,
    /// The original's outputs by batch.
    outputs: BTreeMap<usize, Outputs>,
}

fn reference(folder: &Folder) -> Reference {
    let bytes = folder.read("reference.safetensors").unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut outputs: BTreeMap<usize, Outputs> = BTreeMap::new();
    for (name, view) in file.tensors() {
        let Some((output, batch)) = name.rsplit_once('.') else { continue };
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap())).collect();
        let tensor = Tensor::from_data(view.shape(), values);
        outputs.entry(batch.parse().unwrap()).or_default().insert(output.to_owned(), tensor);
    }
    let size: Vec<usize> = whole_numbers(file.tensor("size").unwrap().data());
    let bytes = fixture("scenes").read(&format!("{}x{}.safetensors", size[0], size[1])).unwrap();
    let scenes = SafeTensors::deserialize(&bytes).unwrap();
    let images = scenes.tensor("images").unwrap();
    let shape: [usize; 4] = images.shape().try_into().unwrap();
    let mut pixels: Vec<f32> = images.data().iter().map(|byte| f32::from(*byte) * (1.0 / 255.0)).collect();
    if let Ok(valid) = file.tensor("valid") {
        clear_padding(&mut pixels, shape, valid.data());
    }
    Reference { images: NdTensor::from_data(shape, pixels), outputs }
}

/// The values of an `int64` tensor.
fn whole_numbers(data: &[u8]) -> Vec<usize> {
    data.chunks_exact(8).map(|chunk| i64::from_le_bytes(chunk.try_into().unwrap()) as usize).collect()
}

/// Sets to zero what lies right of or below the part of each image that `valid` (height and width, `int64`) names.
fn clear_padding(pixels: &mut [f32], [_, channels, height, width]: [usize; 4], valid: &[u8]) {
    let sizes = whole_numbers(valid);
    for (plane, values) in pixels.chunks_exact_mut(height * width).enumerate() {
        let image = plane / channels;
        for (at, value) in values.iter_mut().enumerate() {
            if at / width >= sizes[2 * image] || at % width >= sizes[2 * image + 1] {
                *value = 0.0;
            }
        }
    }
}

fn onnx(exported: &Exported) -> Vec<u8> {
    exported.model.check().unwrap();
    let mut bytes = Vec::new();
    graph::onnx::write(&exported.model, &mut bytes).unwrap();
    bytes
}

/// Runs the graph on `count` images, beginning anew after the last.
fn run(
    session: &mut dyn Session,
    input: &str,
    images: &NdTensor<f32, 4>,
    count: usize,
    names: &Outputs,
) -> Outputs {
    let [stored, channels, height, width] = images.shape();
    let size = channels * height * width;
    let data = images.data().unwrap();
    let batch: Vec<f32> = (0..count).flat_map(|at| data[(at % stored) * size..][..size].to_vec()).collect();
    let batch = graph::Tensor::from_f32([count, channels, height, width], batch).unwrap();
    let outputs: BTreeMap<_, _> = session.run(&[(input, &batch)]).unwrap().into_iter().collect();
    let tensor = |name: &String| {
        let output = &outputs[name];
        Tensor::from_data(output.shape(), output.to_f32().unwrap())
    };
    names.keys().map(|name| (name.clone(), tensor(name))).collect()
}

#[expect(clippy::float_cmp, reason = "equal infinities are no distance apart")]
fn difference(a: f32, b: f32) -> f32 {
    if a == b { 0.0 } else { (a - b).abs() }
}

/// The largest differences of scores and boxes, in units of what is allowed.
fn differences(exported: &Exported, actual: &Outputs, expected: &Outputs) -> (f32, f32) {
    let input = &exported.detector.input;
    let pixels = input.width.min(input.height) as f32;
    let mut worst = (0.0_f32, 0.0_f32);
    let mut note = |name: &str, place: usize, row: usize, scale: f32, actual: f32, expected: f32| {
        let apart = difference(actual, expected);
        match &exported.detector.head {
            // PP-DocLayoutV4 gives boxes and, as `pred_boxes`, quadrilaterals.
            Head::Queries { boxes, .. } if [boxes, "pred_boxes"].contains(&name) => {
                worst.1 = worst.1.max(apart / BOXES);
            }
            Head::Dense { .. } if row < 4 => worst.1 = worst.1.max(apart / pixels / BOXES),
            Head::EndToEnd { format: BoxFormat::XyxyPixels, .. } if place < 4 => {
                worst.1 = worst.1.max(apart / pixels / BOXES);
            }
            Head::EndToEnd { .. } if place < 4 => worst.1 = worst.1.max(apart / BOXES),
            // Boxes lie beside the scores: how large they are says nothing about those.
            Head::EndToEnd { .. } => worst.0 = worst.0.max(apart / SCORES),
            _ => worst.0 = worst.0.max(apart / SCORES / scale),
        }
    };
    let scale = |tensor: &Tensor<f32>| {
        let finite = tensor.data().unwrap().iter().filter(|value| value.is_finite());
        (finite.fold(0.0_f32, |most, value| most.max(value.abs())) / 10.0).max(1.0)
    };
    for (name, expected) in expected {
        assert_eq!(actual[name].shape(), expected.shape(), "{name}");
    }
    if matches!(exported.detector.head, Head::Dense { .. }) {
        for (name, expected) in expected {
            let [_, rows, cells]: [usize; 3] = expected.shape().try_into().unwrap();
            let pairs = actual[name].data().unwrap().iter().zip(expected.data().unwrap());
            for (at, (actual, expected)) in pairs.enumerate() {
                note(name, 0, at / cells % rows, 1.0, *actual, *expected);
            }
        }
        return worst;
    }
    let first = expected.values().next().unwrap();
    let (batch, queries) = (first.shape()[0], first.shape()[1]);
    let row = |outputs: &Outputs, at: usize| -> Vec<Vec<f32>> {
        let of = |tensor: &Tensor<f32>| {
            let width = tensor.shape()[2];
            tensor.data().unwrap()[at * width..][..width].to_vec()
        };
        outputs.values().map(of).collect()
    };
    let distance = |a: &[Vec<f32>], b: &[Vec<f32>]| {
        let all = a.iter().flatten().zip(b.iter().flatten());
        all.map(|(a, b)| difference(*a, *b)).fold(0.0, f32::max)
    };
    let scales: Vec<f32> = expected.values().map(scale).collect();
    for image in 0..batch {
        let at = |query: usize| image * queries + query;
        let mut free: Vec<_> = (0..queries).map(|query| row(actual, at(query))).collect();
        for query in 0..queries {
            let wanted = row(expected, at(query));
            // The row at the same place first: only a swap needs a search.
            let same = query - (queries - free.len());
            let nearest = if distance(&free[same], &wanted) < BOXES {
                same
            } else {
                let apart = |row: &usize| distance(&free[*row], &wanted);
                (0..free.len()).min_by(|a, b| apart(a).total_cmp(&apart(b))).unwrap()
            };
            let found = free.remove(nearest);
            for ((name, scale), (found, wanted)) in
                expected.keys().zip(&scales).zip(found.iter().zip(&wanted))
            {
                for (place, (actual, expected)) in found.iter().zip(wanted).enumerate() {
                    note(name, place, place, *scale, *actual, *expected);
                }
            }
        }
    }
    worst
}

#[expect(clippy::print_stdout, reason = "the differences are worth seeing when a test fails")]
fn assert_parity(
    name: &str,
    folder: &Folder,
    reference: &Reference,
    variants: &[(i64, bool, DeformableForm)],
) {
    for (opset, exact, deformable) in variants.iter().copied() {
        let options = ExportOptions { opset, exact, deformable, ..options(folder) };
        let exported = export(folder, &options).unwrap();
        let sampled = exported.model.graph.nodes.iter().any(|node| node.op_type == "GridSample");
        assert!(!sampled || deformable == DeformableForm::GridSample, "{name}: GridSample in {deformable:?}");
        let bytes = onnx(&exported);
        for backend in usable::backends() {
            let case = format!("{name} on {}, opset {opset}, exact {exact}, {deformable:?}", backend.name());
            let loaded = backend.load(OnnxSource::Bytes(bytes.clone()), &LoadOptions::default());
            let mut session = loaded.unwrap_or_else(|error| panic!("{case}: {error}"));
            for (count, expected) in &reference.outputs {
                let input = &exported.detector.input.tensor;
                let actual = run(session.as_mut(), input, &reference.images, *count, expected);
                let (scores, boxes) = differences(&exported, &actual, expected);
                println!(
                    "{case}, batch {count}: scores {:.1e}, boxes {:.1e}, {} nodes",
                    scores * SCORES,
                    boxes * BOXES,
                    exported.model.graph.nodes.len()
                );
                assert!(scores <= 1.0, "{case}, batch {count}: scores differ by {}", scores * SCORES);
                assert!(boxes <= 1.0, "{case}, batch {count}: boxes differ by {}", boxes * BOXES);
            }
        }
    }
}

#[test]
fn small_random_checkpoints_give_the_numbers_of_the_original() {
    #[expect(clippy::disallowed_methods, reason = "a developer picks fixtures by it")]
    let wanted = std::env::var("FIXTURE").unwrap_or_default();
    for name in fixtures().into_iter().filter(|name| name.contains(&wanted)) {
        let folder = fixture(&name);
        let mut variants: Vec<_> = [(17, false), (17, true), (16, false), (22, false)]
            .map(|(a, b)| (a, b, DeformableForm::GridSample))
            .into();
        variants.push((17, false, DeformableForm::Gather));
        assert_parity(&name, &folder, &reference(&folder), &variants);
    }
}

#[test]
fn the_trained_detector_gives_the_numbers_of_pytorch() {
    let variants = [(17, false, DeformableForm::GridSample)];
    assert_parity("shapes", &trained(), &reference(&fixture("shapes")), &variants);
}

#[test]
fn every_architecture_has_a_fixture() {
    let names = fixtures();
    for architecture in architectures() {
        let mine = |name: &String| *name == architecture || name.starts_with(&format!("{architecture}-"));
        assert!(names.iter().any(mine), "no fixture for `{architecture}`");
    }
}
