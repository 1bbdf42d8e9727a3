//! Every ONNX file that the repository stores, on every backend of this machine, against the embedded one.

use std::path::{Path, PathBuf};

use graph::{DataType, Tensor, ValueInfo};
use runtime::backends::embedded::Embedded;
use runtime::{Backend, LoadOptions, OnnxSource, compare_outputs};

use crate::usable;

/// Folders with graphs of detectors, from the repository's root.
const FOLDERS: &[&str] = &["examples/shapes-dense", "crates/deploy/tests/fixtures/onnxruntime"];

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let entries = FOLDERS.iter().flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "onnx")).collect()
}

/// Numbers from 0 to 1 that differ from place to place, two images where the batch is free.
fn input(info: &ValueInfo) -> Tensor {
    let dims = info.shape.as_ref().unwrap();
    let shape: Vec<usize> = dims.iter().map(|dim| dim.fixed().unwrap_or(2)).collect();
    let count = shape.iter().product::<usize>();
    let values = (0..count).map(|at| (at * 2_654_435_761 % 997) as f32 / 997.0);
    match info.dtype.unwrap() {
        DataType::F32 => Tensor::from_f32(shape, values.collect()).unwrap(),
        DataType::F16 => {
            let bytes: Vec<u8> = values.flat_map(|value| half::f16::from_f32(value).to_le_bytes()).collect();
            Tensor::new(DataType::F16, shape, bytes.into()).unwrap()
        }
        DataType::I64 => Tensor::from_i64(shape, vec![64; count]).unwrap(),
        other => panic!("an input of {other}"),
    }
}

#[test]
fn stored_models_give_the_same_everywhere() {
    let files = files();
    assert!(files.len() > 5, "{files:?}");
    for file in &files {
        let load = |backend: &dyn Backend| {
            let loaded = backend.load(OnnxSource::File(file), &LoadOptions::default());
            loaded.unwrap_or_else(|error| panic!("{} on {}: {error}", file.display(), backend.name()))
        };
        let mut embedded = load(&Embedded);
        let inputs: Vec<(String, Tensor)> =
            embedded.inputs().iter().map(|info| (info.name.clone(), input(info))).collect();
        let given: Vec<(&str, &Tensor)> =
            inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let reference = embedded.run(&given).unwrap();
        for backend in usable::backends() {
            let mut session = load(backend);
            assert_eq!(session.inputs(), embedded.inputs());
            assert_eq!(session.outputs(), embedded.outputs());
            // Twice: what a first run leaves behind may not show in the second.
            for _ in 0..2 {
                let outputs = session.run(&given).unwrap();
                for found in compare_outputs(&reference, &outputs).unwrap() {
                    let scale = reference.iter().find(|(name, _)| *name == found.name).map(|(_, tensor)| {
                        let values = tensor.to_f32().unwrap();
                        values.iter().fold(1.0_f32, |most, value| most.max(value.abs()))
                    });
                    // The embedded backend computes `float16` graphs in `float32`.
                    let half = inputs.iter().any(|(_, tensor)| tensor.dtype() == DataType::F16);
                    let bound = if half { 2e-3 } else { 1e-4 } * f64::from(scale.unwrap());
                    let what = format!("{} on {}: {found:?}", file.display(), backend.name());
                    assert!(found.comparison.within(bound), "{what}");
                }
            }
        }
    }
}
