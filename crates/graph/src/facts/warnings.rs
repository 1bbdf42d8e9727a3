//! What may go wrong with a model on the way to a deployment.
//!
//! Every warning states the fact, how often it occurs and what it means; it is no verdict: a model with warnings may
//! run well on the target at hand.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{ExternalFile, TENSORRT_OPSETS, TENSORRT_VERSION, supported_by_tensorrt};
use crate::{DataType, Dim, Graph, Model, Node, Tensor};

/// One warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// The fact and its consequence.
    pub message: String,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WarningKind {
    /// The graph breaks a rule that every graph obeys.
    Invalid,
    /// External data were not loaded.
    ExternalData,
    /// Runtimes refuse the container or operator set version.
    Version,
    /// Operators that are not ONNX's own.
    CustomOperators,
    /// TensorRT's parser lacks operators.
    TensorRtOperators,
    /// Quantized in a way that TensorRT does not run.
    Quantization,
    /// 64-bit integers.
    Int64,
    /// The size of the image is not fixed.
    DynamicSize,
}

/// Constants larger than this are weights, whose values are not looked at.
const LARGEST_INDEX_BYTES: usize = 1 << 16;

/// All warnings, the gravest first.
pub(super) fn of(
    model: &Model,
    operators: &BTreeMap<String, usize>,
    external: &[ExternalFile],
) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut warn = |kind, message: String| found.push(Warning { kind, message });
    if let Err(error) = model.check() {
        warn(WarningKind::Invalid, error.to_string());
    }
    for file in external {
        let message = format!(
            "external data `{}` was not loaded: {} tensors, {} bytes",
            file.location, file.tensors, file.bytes
        );
        warn(WarningKind::ExternalData, message);
    }
    for message in versions(model) {
        warn(WarningKind::Version, message);
    }
    let own = |operator: &str| !operator.contains('.');
    let custom = listed(operators, |operator| !own(operator));
    if !custom.is_empty() {
        let message = format!("operators outside ONNX, known to single runtimes only: {custom}");
        warn(WarningKind::CustomOperators, message);
    }
    let dynamic = listed(operators, is_integer_arithmetic);
    if !dynamic.is_empty() {
        let message =
            format!("quantized with integer operators, which TensorRT lacks (it takes Q/DQ): {dynamic}");
        warn(WarningKind::Quantization, message);
    }
    let lacking = listed(operators, |operator| {
        own(operator) && !supported_by_tensorrt(operator) && !is_integer_arithmetic(operator)
    });
    if !lacking.is_empty() {
        let message = format!("operators that TensorRT {TENSORRT_VERSION} lacks: {lacking}");
        warn(WarningKind::TensorRtOperators, message);
    }
    let asymmetric = graphs(&model.graph).into_iter().map(asymmetric_nodes).sum::<usize>();
    if asymmetric > 0 {
        let message = format!(
            "{asymmetric} Q/DQ nodes whose zero point is unsigned, absent or not 0: TensorRT takes symmetric int8 only"
        );
        warn(WarningKind::Quantization, message);
    }
    for message in integers(model) {
        warn(WarningKind::Int64, message);
    }
    for input in &model.graph.inputs {
        let shape = input.shape.as_deref().unwrap_or_default();
        if shape.len() == 4 && shape[1..].iter().any(|dim| dim.fixed().is_none()) {
            let sizes: Vec<String> = shape.iter().map(Dim::to_string).collect();
            let message = format!(
                "input `{}` [{}] leaves the image's size open: engines need a range for it",
                input.name,
                sizes.join(", ")
            );
            warn(WarningKind::DynamicSize, message);
        }
    }
    found
}

/// `Unique (2), Det (1)`: the operators that meet `condition`.
fn listed(operators: &BTreeMap<String, usize>, condition: impl Fn(&str) -> bool) -> String {
    let found = operators.iter().filter(|(operator, _)| condition(operator));
    found.map(|(operator, count)| format!("{operator} ({count})")).collect::<Vec<_>>().join(", ")
}

/// Operators that compute in integers instead of stating scales around float operators.
fn is_integer_arithmetic(operator: &str) -> bool {
    matches!(
        operator,
        "ConvInteger" | "MatMulInteger" | "DynamicQuantizeLinear" | "QLinearConv" | "QLinearMatMul"
    )
}

/// Runtimes that refuse the versions; ONNX Runtime looks at the container before it looks at an operator.
fn versions(model: &Model) -> Vec<String> {
    let mut found = Vec::new();
    let refusing = match model.ir_version {
        ..=10 => None,
        11 => Some("ONNX Runtime before 1.23 refuses it"),
        12..=13 => Some("ONNX Runtime before 1.24 refuses it"),
        _ => Some("ONNX Runtime up to 1.31 refuses it"),
    };
    if let Some(consequence) = refusing {
        found.push(format!("IR version {}: {consequence}", model.ir_version));
    }
    if !TENSORRT_OPSETS.contains(&model.opset()) {
        let (lowest, highest) = (TENSORRT_OPSETS.start(), TENSORRT_OPSETS.end());
        found.push(format!(
            "opset {}: TensorRT {TENSORRT_VERSION} reads opsets {lowest} to {highest}",
            model.opset()
        ));
    }
    found
}

/// The graph and all graphs inside it.
fn graphs(graph: &Graph) -> Vec<&Graph> {
    let inside = graph.nodes.iter().flat_map(Node::subgraphs).flat_map(graphs);
    std::iter::once(graph).chain(inside).collect()
}

/// Q/DQ nodes that are not symmetric int8.
fn asymmetric_nodes(graph: &Graph) -> usize {
    let constants = constants(graph);
    let is_symmetric = |node: &&Node| {
        let zero_point = node.inputs.get(2).and_then(|name| constants.get(name.as_str()));
        let signed = zero_point
            .is_some_and(|tensor| !matches!(tensor.dtype(), DataType::U8 | DataType::U16 | DataType::U4));
        let zero = zero_point.is_some_and(|tensor| {
            tensor.byte_len() <= LARGEST_INDEX_BYTES && tensor.bytes().iter().all(|byte| *byte == 0)
        });
        // A bias is int32 with the zero point left out.
        let bias = node.op_type == "DequantizeLinear"
            && node
                .inputs
                .first()
                .and_then(|name| constants.get(name.as_str()))
                .is_some_and(|data| data.dtype() == DataType::I32);
        bias || (signed && zero)
    };
    let nodes = graph
        .nodes
        .iter()
        .filter(|node| matches!(node.op_type.as_str(), "QuantizeLinear" | "DequantizeLinear"));
    nodes.filter(|node| !is_symmetric(node)).count()
}

/// Initializers and the values of `Constant` nodes, by name.
fn constants(graph: &Graph) -> BTreeMap<&str, &Tensor> {
    let nodes = graph.nodes.iter().filter(|node| node.op_type == "Constant");
    let made = nodes.filter_map(|node| Some((node.outputs.first()?.as_str(), node.tensor("value")?)));
    graph.initializers.iter().map(|(name, tensor)| (name.as_str(), tensor)).chain(made).collect()
}

/// 64-bit integers that TensorRT before 10 narrows.
fn integers(model: &Model) -> Vec<String> {
    let mut found = Vec::new();
    let graphs = graphs(&model.graph);
    let all = graphs.iter().flat_map(|graph| constants(graph).into_values());
    let wide: Vec<&Tensor> = all.filter(|tensor| tensor.dtype() == DataType::I64).collect();
    if !wide.is_empty() {
        let beyond = wide.iter().filter(|tensor| exceeds_32_bits(tensor)).count();
        let values = if beyond > 0 {
            format!(", {beyond} of them hold numbers beyond 32 bits")
        } else {
            String::new()
        };
        found.push(format!(
            "{} int64 constants{values}: TensorRT before 10 narrows them to int32",
            wide.len()
        ));
    }
    let named = model.graph.inputs.iter().chain(&model.graph.outputs);
    let wide: Vec<String> = named
        .filter(|info| info.dtype == Some(DataType::I64))
        .map(|info| format!("`{}`", info.name))
        .collect();
    if !wide.is_empty() {
        found.push(format!("int64 goes in or out: {}; TensorRT before 10 makes it int32", wide.join(", ")));
    }
    found
}

/// Whether a small constant holds a number that 32 bits cannot; the largest and the smallest number of all only mean
/// "to the end" in a `Slice`.
fn exceeds_32_bits(tensor: &Tensor) -> bool {
    let small = tensor.byte_len() <= LARGEST_INDEX_BYTES && !tensor.is_deferred();
    let values = if small { tensor.to_i64().unwrap_or_default() } else { Vec::new() };
    values.iter().any(|value| !matches!(*value, i64::MAX | i64::MIN) && i32::try_from(*value).is_err())
}
