//! Preprocessing and suppression inside the graph against the code around it, on the embedded backend's library.

mod frames;
mod models;
mod scaled;
mod suppression;

use detect::in_graph::SuppressionNode;
use graph::{DataType, Model, Tensor};
use rten_tensor::prelude::*;

pub(super) type Named = Vec<(String, Tensor)>;

/// Runs a model; `Err` holds the library's words.
pub(super) fn try_run(model: &Model, inputs: &[(String, Tensor)]) -> Result<Named, String> {
    let mut bytes = Vec::new();
    graph::onnx::write(model, &mut bytes).map_err(|error| error.to_string())?;
    let loaded = rten::Model::load(bytes).map_err(|error| format!("{error:?}"))?;
    let id = |name: &str| loaded.node_id(name).map_err(|error| error.to_string());
    let mut fed = Vec::new();
    for (name, tensor) in inputs {
        fed.push((id(name)?, value(tensor).into()));
    }
    let outputs = model.graph.outputs.iter().map(|output| id(&output.name)).collect::<Result<Vec<_>, _>>()?;
    let made = loaded.run(fed, &outputs, None).map_err(|error| error.to_string())?;
    let named = model.graph.outputs.iter().zip(made);
    Ok(named.map(|(info, value)| (info.name.clone(), tensor(value, info.dtype))).collect())
}

pub(super) fn run(model: &Model, inputs: &[(String, Tensor)]) -> Named {
    try_run(model, inputs).unwrap()
}

/// Runs a model whose suppression this library computes otherwise than ONNX says, or not at all: in two runs, with what the
/// specification says in between.
pub(super) fn run_suppressed(model: &Model, inputs: &[(String, Tensor)]) -> Named {
    let Some(cut) = SuppressionNode::cut(model).unwrap() else { return run(model, inputs) };
    let before = run(&cut.before, inputs);
    let made = cut.run(&before[0].1, &before[1].1).unwrap();
    match &cut.after {
        None => made,
        Some(after) => run(after, &[inputs, &made].concat()),
    }
}

fn value(tensor: &Tensor) -> rten::Value {
    let shape = tensor.shape();
    match tensor.dtype() {
        DataType::U8 => rten_tensor::Tensor::from_data(shape, tensor.bytes().to_vec()).into(),
        DataType::F32 => rten_tensor::Tensor::from_data(shape, tensor.to_f32().unwrap()).into(),
        _ => {
            let values = tensor.to_i64().unwrap().into_iter().map(|value| value as i32).collect::<Vec<_>>();
            rten_tensor::Tensor::from_data(shape, values).into()
        }
    }
}

fn tensor(value: rten::Value, dtype: Option<DataType>) -> Tensor {
    match value {
        rten::Value::FloatTensor(values) => {
            Tensor::from_f32(values.shape().to_vec(), values.to_vec()).unwrap()
        }
        rten::Value::Int32Tensor(values) if dtype == Some(DataType::I64) => {
            Tensor::from_i64(values.shape().to_vec(), values.iter().map(|value| i64::from(*value)).collect())
                .unwrap()
        }
        rten::Value::Int32Tensor(values) => {
            Tensor::from_i32(values.shape().to_vec(), values.to_vec()).unwrap()
        }
        rten::Value::UInt8Tensor(values) => {
            Tensor::from_u8(values.shape().to_vec(), values.to_vec()).unwrap()
        }
        other => panic!("{:?}", other.dtype()),
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
