//! Element types of the values of a graph: what the file states, else what its operators make of their inputs.
//!
//! An operator that is not listed says nothing: a type that is guessed wrong would make a wrong graph.

use std::collections::HashMap;

use crate::{Attribute, DataType, Graph, Model, Node, Tensor};

/// Operators whose outputs all have the type of their first input.
const SAME_TYPE: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Add",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "AveragePool",
    "BatchNormalization",
    "Ceil",
    "Celu",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Cos",
    "Cosh",
    "CumSum",
    "DepthToSpace",
    "Det",
    "Div",
    "Einsum",
    "Elu",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalLpPool",
    "GlobalMaxPool",
    "GridSample",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "Identity",
    "InstanceNormalization",
    "LRN",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "LpPool",
    "MatMul",
    "Max",
    "MaxRoiPool",
    "Mean",
    "MeanVarianceNormalization",
    "Min",
    "Mish",
    "Mod",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Pow",
    "RMSNormalization",
    "Range",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "Resize",
    "ReverseSequence",
    "RoiAlign",
    "RotaryEmbedding",
    "Round",
    "Scatter",
    "ScatterElements",
    "ScatterND",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "SpaceToDepth",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Tile",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Upsample",
];
const INDICES: &[&str] = &["Shape", "Size", "NonZero", "ArgMax", "ArgMin", "NonMaxSuppression"];
const COMPARISONS: &[&str] = &[
    "Equal",
    "Greater",
    "Less",
    "GreaterOrEqual",
    "LessOrEqual",
    "And",
    "Or",
    "Xor",
    "Not",
    "IsNaN",
    "IsInf",
];

/// The types of all values of the main graph, as far as they can be told.
pub(super) fn of(graph: &Graph) -> HashMap<String, DataType> {
    let stated = graph.inputs.iter().chain(&graph.outputs).chain(graph.values.values());
    let mut known: HashMap<String, DataType> =
        stated.filter_map(|info| Some((info.name.clone(), info.dtype?))).collect();
    known.extend(graph.initializers.iter().map(|(name, tensor)| (name.clone(), tensor.dtype())));
    for node in &graph.nodes {
        for (at, output) in node.outputs.iter().enumerate() {
            if !known.contains_key(output)
                && let Some(dtype) = output_type(node, at, &known)
            {
                known.insert(output.clone(), dtype);
            }
        }
    }
    known
}

fn output_type(node: &Node, at: usize, known: &HashMap<String, DataType>) -> Option<DataType> {
    if !super::edit::is_standard(node) {
        return None;
    }
    let input = |at: usize| known.get(node.inputs.get(at)?).copied();
    let op = node.op_type.as_str();
    match (op, at) {
        ("Cast", _) => DataType::from_onnx(i32::try_from(node.int("to")?).ok()?),
        ("CastLike" | "Where" | "DequantizeLinear", _) => input(1),
        ("OneHot" | "QuantizeLinear", _) => input(2),
        ("TopK" | "MaxPool", 1) => Some(DataType::I64),
        ("TopK" | "MaxPool" | "Dropout", 0) => input(0),
        ("Dropout", 1) => Some(DataType::Bool),
        ("LayerNormalization" | "BatchNormalization", 1..) => None,
        ("ConstantOfShape", _) => Some(node.tensor("value").map_or(DataType::F32, Tensor::dtype)),
        ("Constant", _) => constant(node).map(|tensor| tensor.dtype()),
        _ if INDICES.contains(&op) => Some(DataType::I64),
        _ if COMPARISONS.contains(&op) => Some(DataType::Bool),
        _ if SAME_TYPE.contains(&op) => input(0),
        _ => None,
    }
}

/// What a `Constant` node holds.
pub(super) fn constant(node: &Node) -> Option<Tensor> {
    let (name, value) = node.attributes.iter().find(|(name, _)| name.starts_with("value"))?;
    match (name.as_str(), value) {
        ("value", Attribute::Tensor(tensor)) => Some(tensor.clone()),
        ("value_int", Attribute::Int(value)) => Tensor::from_i64([], vec![*value]).ok(),
        ("value_ints", Attribute::Ints(values)) => Tensor::from_i64([values.len()], values.clone()).ok(),
        ("value_float", Attribute::Float(value)) => Tensor::from_f32([], vec![*value]).ok(),
        ("value_floats", Attribute::Floats(values)) => Tensor::from_f32([values.len()], values.clone()).ok(),
        _ => None,
    }
}

/// The values that nodes of the main graph make in `float32`, in order.
pub fn float_values(model: &Model) -> Vec<String> {
    let types = of(&model.graph);
    let made = model.graph.nodes.iter().flat_map(|node| &node.outputs);
    made.filter(|name| types.get(*name) == Some(&DataType::F32)).cloned().collect()
}
