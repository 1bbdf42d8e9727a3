//! Exported graphs give the numbers of PyTorch (fixtures: `tests/fixtures/make.py`).
//!
//! Queries are chosen by their scores, so two cells whose scores differ by rounding only may change places; rows are
//! therefore matched by their boxes before they are compared. Every reference row must find a row of its own.

use models::{ExportOptions, Exported, Files, export};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, Tensor};
use safetensors::SafeTensors;

use crate::sources::{Folder, fixture, trained};

/// Largest difference of a class logit.
const LOGITS: f32 = 1e-4;
/// Largest difference of a box, relative to the image.
const BOXES: f32 = 1e-5;

/// The outputs of one batch.
struct Outputs {
    logits: Tensor<f32>,
    boxes: Tensor<f32>,
}

struct Reference {
    images: NdTensor<f32, 4>,
    one: Outputs,
    three: Outputs,
}

fn reference(folder: &Folder) -> Reference {
    let bytes = folder.read("reference.safetensors").unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: &str| {
        let view = file.tensor(name).unwrap();
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap())).collect();
        Tensor::from_data(view.shape(), values)
    };
    let images = file.tensor("images").unwrap();
    let pixels: Vec<f32> = images.data().iter().map(|byte| f32::from(*byte) * (1.0 / 255.0)).collect();
    let shape: [usize; 4] = images.shape().try_into().unwrap();
    Reference {
        images: NdTensor::from_data(shape, pixels),
        one: Outputs { logits: floats("logits1"), boxes: floats("boxes1") },
        three: Outputs { logits: floats("logits3"), boxes: floats("boxes3") },
    }
}

fn onnx(exported: &Exported) -> Vec<u8> {
    exported.model.check().unwrap();
    let mut bytes = Vec::new();
    graph::onnx::write(&exported.model, &mut bytes).unwrap();
    bytes
}

/// Runs the graph on `count` images, beginning anew after the last.
fn run(model: &rten::Model, images: &NdTensor<f32, 4>, count: usize) -> Outputs {
    let [stored, channels, height, width] = images.shape();
    let size = channels * height * width;
    let data = images.data().unwrap();
    let batch: Vec<f32> = (0..count).flat_map(|at| data[(at % stored) * size..][..size].to_vec()).collect();
    let batch = NdTensor::from_data([count, channels, height, width], batch);
    let input = model.node_id("pixel_values").unwrap();
    let outputs = ["logits", "pred_boxes"].map(|name| model.node_id(name).unwrap());
    let [logits, boxes] = model.run_n(vec![(input, batch.into())], outputs, None).unwrap();
    Outputs { logits: logits.try_into().unwrap(), boxes: boxes.try_into().unwrap() }
}

/// The largest differences of logits and boxes, each reference row compared with the nearest free row.
fn differences(actual: &Outputs, expected: &Outputs) -> (f32, f32) {
    assert_eq!(actual.logits.shape(), expected.logits.shape());
    assert_eq!(actual.boxes.shape(), expected.boxes.shape());
    let [batch, queries, classes]: [usize; 3] = actual.logits.shape().try_into().unwrap();
    let rows = |outputs: &Outputs, image: usize| -> Vec<(Vec<f32>, Vec<f32>)> {
        let row = |tensor: &Tensor<f32>, row: usize, width: usize| {
            tensor.data().unwrap()[(image * queries + row) * width..][..width].to_vec()
        };
        (0..queries)
            .map(|query| (row(&outputs.boxes, query, 4), row(&outputs.logits, query, classes)))
            .collect()
    };
    let largest = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let mut worst = (0.0_f32, 0.0_f32);
    for image in 0..batch {
        let mut free = rows(actual, image);
        for (at, (boxes, logits)) in rows(expected, image).iter().enumerate() {
            let distance = |row: &(Vec<f32>, Vec<f32>)| largest(&row.0, boxes) + largest(&row.1, logits);
            // The row at the same place first: only a swap needs a search.
            let same = at - (queries - free.len());
            let nearest = if distance(&free[same]) < LOGITS {
                same
            } else {
                (0..free.len()).min_by(|a, b| distance(&free[*a]).total_cmp(&distance(&free[*b]))).unwrap()
            };
            let row = free.remove(nearest);
            worst = (worst.0.max(largest(&row.1, logits)), worst.1.max(largest(&row.0, boxes)));
        }
    }
    worst
}

#[expect(clippy::print_stdout, reason = "the differences are worth seeing when a test fails")]
fn assert_parity(name: &str, folder: &Folder) {
    let reference = reference(folder);
    for (opset, exact) in [(17, false), (17, true), (16, false), (20, false)] {
        let exported = export(folder, &ExportOptions { opset, exact, ..ExportOptions::default() }).unwrap();
        let model = rten::Model::load(onnx(&exported)).unwrap();
        for (count, expected) in [(1, &reference.one), (3, &reference.three)] {
            let (logits, boxes) = differences(&run(&model, &reference.images, count), expected);
            let case = format!("{name}, opset {opset}, exact {exact}, batch {count}");
            println!(
                "{case}: logits {logits:.1e}, boxes {boxes:.1e}, {} nodes",
                exported.model.graph.nodes.len()
            );
            assert!(logits <= LOGITS, "{case}: logits differ by {logits}");
            assert!(boxes <= BOXES, "{case}: boxes differ by {boxes}");
        }
    }
}

#[test]
fn small_random_checkpoints_give_the_numbers_of_pytorch() {
    for name in ["rt_detr", "rt_detr_odd", "rt_detr_v2", "rt_detr_v2_discrete"] {
        assert_parity(name, &fixture(name));
    }
}

#[test]
fn the_trained_detector_gives_the_numbers_of_pytorch() {
    let (images, source) = (reference(&fixture("shapes")), trained());
    let exported = export(&source, &ExportOptions::default()).unwrap();
    let model = rten::Model::load(onnx(&exported)).unwrap();
    for (count, expected) in [(1, &images.one), (3, &images.three)] {
        let (logits, boxes) = differences(&run(&model, &images.images, count), expected);
        println!("trained, batch {count}: logits {logits:.1e}, boxes {boxes:.1e}");
        assert!(logits <= LOGITS && boxes <= BOXES, "logits {logits}, boxes {boxes}");
    }
}
