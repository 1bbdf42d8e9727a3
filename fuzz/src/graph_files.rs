//! Targets for the readers of the `graph` crate.
//!
//! What is read has to be writable, and what was written has to be read back to the same bytes: a reader that silently
//! changes a model is as wrong as one that panics.

use bytes::Bytes;
use graph::passes::{self, Batch, Outcome};
use graph::{CalibrationCache, EngineLayers, Facts, Model, Plan, Shapes, onnx};

/// Reads an ONNX file, judges it, describes it, writes it and reads it again.
///
/// # Panics
/// When a model that was read cannot be written, or comes back changed.
pub fn onnx_read(data: &[u8]) {
    let file = Bytes::copy_from_slice(data);
    let external = |name: &str| {
        assert_eq!(onnx::check_location(name), Ok(()), "a file outside the model's folder was asked for");
        Ok(Bytes::from_static(&[1; 256]))
    };
    let _ = onnx::external_locations(file.clone());
    if let Ok(structure) = onnx::read_structure(file.clone()) {
        let _ = structure.check();
        let _ = Facts::of(&structure);
    }
    let Ok(model) = onnx::read(file, &external) else {
        return;
    };
    let _ = Shapes::infer(&model, 7);
    let written = write(&model);
    let again = onnx::read(written.clone(), &|_| Err("external data are folded in".into()))
        .expect("what was written can be read");
    assert!(write(&again) == written, "a round trip changes the model");
}

fn write(model: &Model) -> Bytes {
    let mut bytes = Vec::new();
    let count = onnx::write(model, &mut bytes).expect("what was read can be written");
    assert_eq!(count, bytes.len() as u64, "the length is added up beforehand");
    bytes.into()
}

/// Reads an ONNX file and runs every pass over it.
///
/// # Panics
/// When a graph that obeyed the rules breaks one after a pass that succeeded.
pub fn passes(data: &[u8]) {
    let read = onnx::read(Bytes::copy_from_slice(data), &|_| Err("no further file".into()));
    let Ok(model) = read else { return };
    if model.check().is_err() {
        return;
    }
    let work = |name: &str, pass: &dyn Fn(&mut Model) -> Result<Outcome, graph::Error>| {
        let mut changed = model.clone();
        if pass(&mut changed).is_ok() {
            assert!(changed.check().is_ok(), "{name} breaks a rule");
        }
    };
    work("simplify", &|model| passes::simplify(model, &|_| Err("no evaluator".into())));
    work("set-opset down", &|model| passes::set_opset(model, 16));
    work("set-opset up", &|model| passes::set_opset(model, 22));
    work("set-batch", &|model| passes::set_batch(model, Batch::Dynamic));
    work("set-batch to 3", &|model| passes::set_batch(model, Batch::Fixed(3)));
    for node in model.graph.nodes.iter().take(4) {
        work("extract", &|model| passes::extract(model, &[], &node.outputs));
    }
}

/// Reads the header of a TensorRT plan.
///
/// # Panics
/// When the header is said to lie outside the file.
pub fn plan(data: &[u8]) {
    if let Ok(plan) = Plan::read(data) {
        assert_eq!(plan.offset + plan.bytes, data.len(), "the plan ends with the file");
    }
}

/// Reads what the layers of a TensorRT engine are.
///
/// # Panics
/// When the shares of the types are no shares.
pub fn engine_layers(data: &[u8]) {
    if let Ok(layers) = EngineLayers::read(data) {
        let shares = layers.shares();
        let sum: f64 = shares.iter().map(|share| share.share).sum();
        assert!(shares.is_empty() || (sum - 1.0).abs() < 1e-9, "the shares make {sum}");
    }
}

/// Reads the header of an `.etlt` file.
///
/// # Panics
/// When the name is not in the file.
pub fn etlt(data: &[u8]) {
    if let Ok(Some(name)) = graph::etlt_input(data) {
        assert!(data[4..].starts_with(name.as_bytes()), "a name that is not there");
    }
}

/// Reads a calibration cache and writes it again.
///
/// # Panics
/// When a cache that was read comes back changed.
pub fn calibration_cache(data: &[u8]) {
    if let Ok(cache) = CalibrationCache::read(data) {
        let again = CalibrationCache::read(cache.to_text().as_bytes()).expect("what was written can be read");
        assert_eq!(again, cache, "a round trip changes the cache");
        let _ = cache.tensorrt_version();
    }
}
