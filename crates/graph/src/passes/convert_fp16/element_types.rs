//! Element types of the values of a graph: what the file states, else what its operators make of their inputs.

use std::collections::HashMap;

use crate::{Attribute, DataType, Graph, Model, Node};

/// Results that are truth values whatever goes in.
const TRUTHS: &[&str] = &[
    "And",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "Not",
    "Or",
    "Xor",
];
/// Results that are integers whatever goes in.
const INTEGERS: &[&str] = &["ArgMax", "ArgMin", "NonMaxSuppression", "NonZero", "Shape", "Size"];

/// The type of a result, where it does not depend on what goes in.
fn fixed(node: &Node, output: usize) -> Option<DataType> {
    match (node.op_type.as_str(), output) {
        ("TopK" | "MaxPool", 1) => Some(DataType::I64),
        ("Dropout", 1) => Some(DataType::Bool),
        (op, _) if INTEGERS.contains(&op) => Some(DataType::I64),
        (op, _) if TRUTHS.contains(&op) => Some(DataType::Bool),
        _ => None,
    }
}

/// The types of all values, as far as they can be told.
pub(super) fn of(graph: &Graph) -> HashMap<String, DataType> {
    let mut types: HashMap<String, DataType> =
        graph.initializers.iter().map(|(name, tensor)| (name.clone(), tensor.dtype())).collect();
    let stated = graph.inputs.iter().chain(&graph.outputs).chain(graph.values.values());
    types.extend(stated.filter_map(|info| Some((info.name.clone(), info.dtype?))));
    for node in &graph.nodes {
        for (at, output) in node.outputs.iter().enumerate() {
            if !types.contains_key(output)
                && let Some(dtype) = made(node, at, &types)
            {
                types.insert(output.clone(), dtype);
            }
        }
    }
    types
}

fn made(node: &Node, output: usize, types: &HashMap<String, DataType>) -> Option<DataType> {
    if !matches!(node.domain.as_str(), "" | "ai.onnx") {
        return None;
    }
    let input = |at: usize| types.get(node.inputs.get(at)?).copied();
    match node.op_type.as_str() {
        "Cast" => DataType::from_onnx(i32::try_from(node.int("to")?).ok()?),
        "Constant" | "ConstantOfShape" => match node.attributes.get("value") {
            Some(Attribute::Tensor(tensor)) => Some(tensor.dtype()),
            _ => Some(DataType::F32),
        },
        "Where" | "DequantizeLinear" | "CastLike" => input(1),
        "QuantizeLinear" | "OneHot" => input(2),
        "If" | "Loop" | "Scan" | "EyeLike" | "SequenceEmpty" => None,
        _ => fixed(node, output).or_else(|| input(0)),
    }
}

/// The values that nodes of the main graph make in `float32`, in order.
pub fn float_values(model: &Model) -> Vec<String> {
    let types = of(&model.graph);
    let made = model.graph.nodes.iter().flat_map(|node| &node.outputs);
    made.filter(|name| types.get(*name) == Some(&DataType::F32)).cloned().collect()
}
