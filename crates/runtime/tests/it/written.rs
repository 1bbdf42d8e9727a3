//! Graphs of the builder as what a backend takes: ONNX bytes.

use graph::Model;
use runtime::OnnxSource;

/// The model as an ONNX file in memory.
pub(crate) fn bytes(model: &Model) -> Vec<u8> {
    let mut bytes = Vec::new();
    graph::onnx::write(model, &mut bytes).unwrap();
    bytes
}

pub(crate) fn source(model: &Model) -> OnnxSource<'static> {
    OnnxSource::Bytes(bytes(model))
}
