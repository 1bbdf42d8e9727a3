//! Floating-point operations of convolutions and matrix products, for one image.
//!
//! Everything else (activations, normalization, resampling) is left out, as the papers' tables do. A product is
//! counted under the type of its weight: in a Q/DQ graph that is the quantized type behind the `DequantizeLinear`.

use std::collections::{BTreeMap, HashMap};

use crate::{DataType, Graph, Model, Node, Shapes};

/// Operators that are counted.
const COUNTED: &[&str] = &[
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DeformConv",
    "Einsum",
    "FusedConv",
    "FusedMatMul",
    "Gemm",
    "MatMul",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
];

/// How far back the type of a value is looked for.
const LONGEST_CHAIN: usize = 64;

/// The operations found.
pub(super) struct Flops {
    /// Operations by the type of the weights.
    pub(super) by_dtype: BTreeMap<DataType, u64>,
    /// Nodes whose shapes are not known.
    pub(super) unknown_nodes: usize,
}

impl Flops {
    /// The sum, unless something could not be counted.
    pub(super) fn total(&self) -> Option<u64> {
        let sum = self.by_dtype.values().fold(0_u64, |sum, flops| sum.saturating_add(*flops));
        (self.unknown_nodes == 0).then_some(sum)
    }
}

/// Counts the operations of the main graph at batch 1.
pub(super) fn count(model: &Model) -> Flops {
    let mut found = Flops { by_dtype: BTreeMap::new(), unknown_nodes: 0 };
    let graph = &model.graph;
    let counted: Vec<&Node> = graph.nodes.iter().filter(|node| is_counted(node)).collect();
    found.unknown_nodes = graph.nodes.iter().map(counted_inside).fold(0, usize::saturating_add);
    if counted.is_empty() {
        return found;
    }
    let shapes = Shapes::infer(model, 1);
    let makers =
        graph.nodes.iter().flat_map(|node| node.outputs.iter().map(move |name| (name.as_str(), node)));
    let types = Types { graph, makers: makers.collect() };
    for node in counted {
        match flops_of(node, &shapes) {
            Some(flops) => {
                let entry = found.by_dtype.entry(types.of_weights(node)).or_default();
                *entry = entry.saturating_add(flops);
            }
            None => found.unknown_nodes += 1,
        }
    }
    found
}

fn is_counted(node: &Node) -> bool {
    COUNTED.contains(&node.op_type.as_str())
}

/// Counted operators in the subgraphs of a node: how often they run is not known.
fn counted_inside(node: &Node) -> usize {
    let inside = |graph: &Graph| {
        graph
            .nodes
            .iter()
            .map(|node| usize::from(is_counted(node)) + counted_inside(node))
            .fold(0, usize::saturating_add)
    };
    node.subgraphs().map(inside).fold(0, usize::saturating_add)
}

/// Twice the multiplications of a node.
fn flops_of(node: &Node, shapes: &Shapes) -> Option<u64> {
    let input = |at: usize| shapes.of(node.inputs.get(at)?);
    let output = || shapes.of(node.outputs.first()?);
    let multiplications = match node.op_type.as_str() {
        // Every output element sums over its group's channels and the kernel.
        "Conv" | "ConvInteger" | "FusedConv" | "DeformConv" => product(output()?, input(1)?.get(1..)?),
        "QLinearConv" => product(output()?, input(3)?.get(1..)?),
        // Every input element is spread over its group's output channels and the kernel.
        "ConvTranspose" => product(input(0)?, input(1)?.get(1..)?),
        "MatMul" | "MatMulInteger" | "QLinearMatMul" => product(output()?, &[*input(0)?.last()?]),
        "Gemm" | "FusedMatMul" => product(output()?, &[inner(input(0)?, node.int("transA") == Some(1))?]),
        "Einsum" => einsum(node, shapes)?,
        _ => return None,
    };
    Some(multiplications.saturating_mul(2))
}

fn product(a: &[usize], b: &[usize]) -> u64 {
    a.iter().chain(b).fold(1_u64, |product, size| product.saturating_mul(*size as u64))
}

/// The size that a matrix product sums over.
fn inner(shape: &[usize], transposed: bool) -> Option<usize> {
    let from_the_back = if transposed { 2 } else { 1 };
    shape.get(shape.len().checked_sub(from_the_back)?).copied()
}

/// One multiplication for every combination of the labels, as if nothing were shared.
fn einsum(node: &Node, shapes: &Shapes) -> Option<u64> {
    let equation: String = node.text("equation")?.chars().filter(|c| !c.is_whitespace()).collect();
    let terms = equation.split("->").next()?;
    let mut sizes = BTreeMap::new();
    for (term, name) in terms.split(',').zip(&node.inputs) {
        let shape = shapes.of(name)?;
        if term.contains('.') || term.chars().count() != shape.len() {
            return None;
        }
        sizes.extend(term.chars().zip(shape.iter().copied()));
    }
    Some(product(&sizes.into_values().collect::<Vec<_>>(), &[]))
}

/// Finds the types of values, which a graph need not state.
struct Types<'a> {
    graph: &'a Graph,
    makers: HashMap<&'a str, &'a Node>,
}

impl Types<'_> {
    /// The type that a node's weights have: its constant side, or its second input when both are computed.
    fn of_weights(&self, node: &Node) -> DataType {
        let at = match node.op_type.as_str() {
            "QLinearConv" | "QLinearMatMul" => 3,
            "MatMul" | "Gemm" | "Einsum" if self.is_constant(node.inputs.first()) => 0,
            _ => 1,
        };
        node.inputs.get(at).and_then(|name| self.of(name)).unwrap_or(DataType::F32)
    }

    fn is_constant(&self, name: Option<&String>) -> bool {
        name.is_some_and(|name| self.graph.initializers.contains_key(name))
    }

    /// The type that a value is computed with: that of the quantized data behind a `DequantizeLinear` when nothing but
    /// moves of elements lies between.
    fn of(&self, name: &str) -> Option<DataType> {
        let mut name = name;
        let mut only_moved = true;
        for _ in 0..LONGEST_CHAIN {
            if let Some(tensor) = self.graph.initializers.get(name) {
                return Some(tensor.dtype());
            }
            if let Some(input) = self.graph.inputs.iter().find(|input| input.name == name) {
                return input.dtype;
            }
            let node = self.makers.get(name)?;
            let from = match node.op_type.as_str() {
                "Constant" => return node.tensor("value").map(crate::Tensor::dtype),
                "QuantizeLinear" => return self.quantized(node),
                "DequantizeLinear" => usize::from(!only_moved),
                "Cast" if only_moved && self.is_dequantized(node.inputs.first()) => 0,
                "Cast" => return DataType::from_onnx(i32::try_from(node.int("to")?).ok()?),
                "Transpose" | "Reshape" | "Identity" | "Squeeze" | "Unsqueeze" | "Flatten" => 0,
                op => {
                    if let Some(stated) = self.graph.values.get(name).and_then(|info| info.dtype) {
                        return Some(stated);
                    }
                    only_moved = false;
                    usize::from(op == "Where")
                }
            };
            name = node.inputs.get(from)?;
        }
        None
    }

    fn is_dequantized(&self, name: Option<&String>) -> bool {
        let maker = name.and_then(|name| self.makers.get(name.as_str()));
        maker.is_some_and(|node| node.op_type == "DequantizeLinear")
    }

    fn quantized(&self, node: &Node) -> Option<DataType> {
        match (node.inputs.get(2), node.int("output_dtype")) {
            (Some(zero_point), _) if !zero_point.is_empty() => self.of(zero_point),
            (_, Some(number)) if number != 0 => DataType::from_onnx(i32::try_from(number).ok()?),
            _ => Some(DataType::U8),
        }
    }
}
