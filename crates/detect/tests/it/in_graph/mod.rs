//! Preprocessing and suppression inside the graph against the code around it, on the embedded backend.

mod frames;
mod models;
mod scaled;
mod suppression;

use detect::in_graph::PluginCut;
use graph::{Model, Tensor};
use runtime::backends::embedded::Embedded;
use runtime::{Backend, LoadOptions, OnnxSource};

pub(super) type Named = Vec<(String, Tensor)>;

pub(super) fn run(model: &Model, inputs: &[(String, Tensor)]) -> Named {
    let mut bytes = Vec::new();
    graph::onnx::write(model, &mut bytes).unwrap();
    let mut session = Embedded.load(OnnxSource::Bytes(bytes), &LoadOptions::default()).unwrap();
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    session.run(&inputs).unwrap()
}

/// Runs a model that may hold TensorRT's plug-in: in two runs then, with what its documentation says in between.
pub(super) fn run_suppressed(model: &Model, inputs: &[(String, Tensor)]) -> Named {
    let Some(cut) = PluginCut::new(model).unwrap() else { return run(model, inputs) };
    let before = run(&cut.before, inputs);
    let made = cut.run(&before[0].1, &before[1].1).unwrap();
    match &cut.after {
        None => made,
        Some(after) => run(after, &[inputs, &made].concat()),
    }
}

/// Repeatable numbers of 0–1.
pub(super) fn noise(seed: u32) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 24) as f32
    })
}
