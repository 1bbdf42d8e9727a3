//! Tests of the graph crate through its public interface.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod builder;
mod facts;
mod files;
mod hostile;
mod streaming;

use std::path::PathBuf;

use bytes::Bytes;
use graph::Model;

/// The content of a fixture.
fn fixture(name: &str) -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

/// A fixture as a model, with its external files.
fn read(name: &str) -> Model {
    graph::onnx::read(fixture(name), &|location| Ok(fixture(location))).unwrap()
}

/// What is written for a model.
fn written(model: &Model) -> Bytes {
    let mut bytes = Vec::new();
    let count = graph::onnx::write(model, &mut bytes).unwrap();
    assert_eq!(count, bytes.len() as u64);
    assert_eq!(count, graph::onnx::encoded_len(model).unwrap());
    bytes.into()
}

/// The model read from what was written for it.
fn again(model: &Model) -> Model {
    graph::onnx::read(written(model), &|location| Err(format!("{location} should be inside"))).unwrap()
}
