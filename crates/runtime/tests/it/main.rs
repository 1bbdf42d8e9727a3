//! Tests through the public interface, on every backend that this machine has.

mod conformance;
mod embedded;
mod foreign;

use graph::Model;
use runtime::OnnxSource;

/// The model as an ONNX file in memory.
fn bytes(model: &Model) -> Vec<u8> {
    let mut bytes = Vec::new();
    graph::onnx::write(model, &mut bytes).unwrap();
    bytes
}

fn source(model: &Model) -> OnnxSource<'static> {
    OnnxSource::Bytes(bytes(model))
}
