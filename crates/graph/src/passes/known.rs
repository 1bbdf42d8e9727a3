//! What a pass may rely on: types, shapes and small integer values that hold for every input that the graph takes.

use std::collections::HashMap;

use rten_shape_inference::{SymExpr, SymTensor};

use crate::{Attribute, DataType, Graph, Model, Node, Tensor};

/// Operators whose outputs all have the type of their first input.
const SAME_TYPE: &[&str] = &[
    "Abs",
    "Acos",
    "Add",
    "Asin",
    "Atan",
    "AveragePool",
    "BatchNormalization",
    "Ceil",
    "Celu",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Cos",
    "CumSum",
    "DepthToSpace",
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
    "GlobalMaxPool",
    "GridSample",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "Mean",
    "Min",
    "Mish",
    "Mod",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Pow",
    "Range",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "RoiAlign",
    "Round",
    "ScatterElements",
    "ScatterND",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
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

/// The facts on the values of a model's main graph.
pub(super) struct Known {
    values: HashMap<String, SymTensor>,
    dtypes: HashMap<String, DataType>,
}

impl Known {
    pub(super) fn of(model: &Model) -> Self {
        Self { values: crate::shapes::symbolic(model), dtypes: dtypes(&model.graph) }
    }

    pub(super) fn dtype(&self, name: &str) -> Option<DataType> {
        self.dtypes.get(name).copied()
    }

    pub(super) fn rank(&self, name: &str) -> Option<usize> {
        self.values.get(name)?.ndim()
    }

    /// The sizes, numbers or not.
    pub(super) fn shape(&self, name: &str) -> Option<Vec<SymExpr>> {
        Some(self.values.get(name)?.shape()?.collect())
    }

    /// The sizes, when every one is a number.
    pub(super) fn fixed_shape(&self, name: &str) -> Option<Vec<usize>> {
        self.shape(name)?
            .into_iter()
            .map(|size| number(&size))
            .map(|size| usize::try_from(size?).ok())
            .collect()
    }

    /// The elements of a short vector (or scalar) of integers, numbers or not.
    pub(super) fn elements(&self, name: &str) -> Option<&[SymExpr]> {
        self.values.get(name)?.values()
    }

    /// A vector or scalar of integers as a constant, when every element is a number whatever the input.
    pub(super) fn constant(&self, name: &str) -> Option<Tensor> {
        let value = self.values.get(name)?;
        let numbers: Vec<i64> = value.values()?.iter().map(number).collect::<Option<_>>()?;
        let shape = match value.ndim()? {
            0 => vec![],
            1 => vec![numbers.len()],
            _ => return None,
        };
        match self.dtype(name)? {
            DataType::I64 => Tensor::from_i64(shape, numbers).ok(),
            DataType::I32 => {
                let narrow: Option<Vec<i32>> =
                    numbers.iter().map(|value| i32::try_from(*value).ok()).collect();
                Tensor::from_i32(shape, narrow?).ok()
            }
            _ => None,
        }
    }
}

/// The number that an expression is. The ends of the range stand for larger numbers that were cut and are no facts.
pub(super) fn number(expression: &SymExpr) -> Option<i64> {
    match expression {
        SymExpr::Value(value) if value.unsigned_abs() < i32::MAX.unsigned_abs() => Some(i64::from(*value)),
        _ => None,
    }
}

fn dtypes(graph: &Graph) -> HashMap<String, DataType> {
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
        ("CastLike" | "Where", _) => input(1),
        ("OneHot", _) => input(2),
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
