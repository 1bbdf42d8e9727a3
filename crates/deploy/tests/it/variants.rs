//! The tiny models of `tests/fixtures/onnxruntime`: what they are, and what they must find in an image.

use std::path::{Path, PathBuf};

use deploy::targets::{Deployment, Graphs, USUAL_FRAME, target};
use deploy::{Content, FileTree, Precision};
use detect::{Detection, Detector, Image, Thresholds};
use graph::Tensor;
use serde::Deserialize;

pub(crate) const NAMES: [&str; 6] = ["queries", "softmax", "dense", "objectness", "end_to_end", "parts"];

pub(crate) fn fixture(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnxruntime").join(file)
}

pub(crate) fn detector(name: &str) -> Detector {
    Detector::from_json(&std::fs::read_to_string(fixture(&format!("{name}.json"))).unwrap()).unwrap()
}

pub(crate) fn tree(name: &str) -> FileTree {
    tree_of(name, &detector(name))
}

/// The target's folder of any detector.
pub(crate) fn tree_of(name: &str, detector: &Detector) -> FileTree {
    deployed_as(name, detector, |deployment| target("onnxruntime").unwrap().render(deployment).unwrap())
}

/// Gives what targets render one of the models from.
pub(crate) fn deployed<T>(name: &str, use_it: impl FnOnce(&Deployment<'_>) -> T) -> T {
    deployed_as(name, &detector(name), use_it)
}

fn deployed_as<T>(name: &str, detector: &Detector, use_it: impl FnOnce(&Deployment<'_>) -> T) -> T {
    let model = format!("model/{name}.onnx");
    // Not every detector here has a graph.
    let onnx = std::fs::read(fixture(&format!("{name}.onnx"))).ok();
    let outputs = onnx.map(|bytes| graph::onnx::read_structure(bytes.into()).unwrap().graph.outputs);
    let outputs = outputs.unwrap_or_default();
    use_it(&Deployment {
        name: &name.parse().unwrap(),
        detector,
        model: &model,
        outputs: &outputs,
        precisions: if name == "queries" { &Precision::ALL } else { &[Precision::Fp32] },
        max_batch: 4,
        frame: USUAL_FRAME,
        graphs: Graphs::NONE,
        engine: None,
    })
}

/// Writes the target's folder, the model included.
pub(crate) fn write(name: &str, root: &Path) {
    for (path, content) in tree(name) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content {
            Content::Bytes(bytes) => std::fs::write(path, bytes).unwrap(),
            Content::SameAs(original) => {
                assert_eq!(original, format!("model/{name}.onnx"));
                std::fs::copy(fixture(&format!("{name}.onnx")), path).unwrap();
            }
        }
    }
}

/// Pictures of several shapes, without a compression of their own.
pub(crate) fn pictures() -> Vec<(&'static str, image::RgbImage)> {
    let picture = |width, height| {
        image::RgbImage::from_fn(width, height, |x, y| {
            let disc =
                (x as f32 - width as f32 * 0.4).hypot(y as f32 - height as f32 * 0.6) < height as f32 * 0.3;
            if disc {
                image::Rgb([230, 40, 60])
            } else {
                image::Rgb([(x * 2 % 256) as u8, (y % 256) as u8, 90])
            }
        })
    };
    vec![("wide.png", picture(201, 97)), ("tall.png", picture(61, 143)), ("small.png", picture(40, 31))]
}

#[derive(Deserialize)]
struct Output {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
    weights: Option<Vec<f32>>,
    times_size: bool,
}

/// The output tensors of a model for an image that adds nothing to its scores.
pub(crate) fn outputs(name: &str) -> Vec<(String, Tensor)> {
    let text = std::fs::read_to_string(fixture("outputs.json")).unwrap();
    let mut all: std::collections::BTreeMap<String, Vec<Output>> = serde_json::from_str(&text).unwrap();
    let outputs = all.remove(name).unwrap().into_iter();
    outputs.map(|output| (output.name, Tensor::from_f32(output.shape, output.values).unwrap())).collect()
}

/// What the model must find, by this project's own preprocessing and decoding.
pub(crate) fn expected(name: &str, picture: &image::RgbImage) -> Vec<Detection> {
    let detector = detector(name);
    let (width, height) = picture.dimensions();
    let image = Image::new(width, height, picture.as_raw().clone()).unwrap();
    let made = detect::preprocess(&detector.input, &[image]).unwrap();
    let signal = signal(&detector, &made.inputs);
    let text = std::fs::read_to_string(fixture("outputs.json")).unwrap();
    let mut all: std::collections::BTreeMap<String, Vec<Output>> = serde_json::from_str(&text).unwrap();
    let outputs: Vec<(String, Tensor)> = all
        .remove(name)
        .unwrap()
        .into_iter()
        .map(|output| {
            let mut values = output.values;
            for (at, value) in values.iter_mut().enumerate() {
                *value += output.weights.as_ref().map_or(0.0, |weights| weights[at] * signal);
                if output.times_size {
                    *value *= if at % 2 == 0 { width as f32 } else { height as f32 };
                }
            }
            (output.name, Tensor::from_f32(output.shape, values).unwrap())
        })
        .collect();
    let thresholds = Thresholds::for_head(&detector.head);
    detector.decode(&outputs, &made.geometries, &thresholds).unwrap().remove(0)
}

/// The number that the models add to their scores; see `make_models.py`.
fn signal(detector: &Detector, inputs: &[(String, Tensor)]) -> f32 {
    let (width, height) = (detector.input.width as usize, detector.input.height as usize);
    let ramp =
        |from: f64, to: f64, at: usize, count: usize| from + (to - from) * at as f64 / (count - 1) as f64;
    let values = inputs[0].1.to_f32().unwrap();
    let mut sum = 0.0;
    for (at, value) in values.iter().enumerate() {
        let (channel, y, x) = (at / (width * height), at / width % height, at % width);
        sum += f64::from(*value)
            * [1.0, -2.0, 3.0][channel]
            * ramp(0.2, 1.0, y, height)
            * ramp(1.0, 0.1, x, width);
    }
    let mut signal = sum / values.len() as f64;
    if let Some(mask) = &detector.input.mask {
        let (_, tensor) = inputs.iter().find(|(name, _)| *name == mask.tensor).unwrap();
        let ones: i64 = tensor.to_i64().unwrap().iter().sum();
        signal += ones as f64 / tensor.len() as f64;
    }
    signal as f32
}
