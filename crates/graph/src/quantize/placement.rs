//! Which values and weights are rounded to eight bits.
//!
//! TensorRT's rules for explicit quantization ("Working with Quantized Types", the placement recommendations): every
//! input of a convolution or linear layer is rounded and no output; of a residual sum the branch that does not come from
//! the convolution; what is concatenated, pooled or only moved keeps one scale. Layers that decide are left in floating
//! point: those behind which only arithmetic lies before an output of the graph, a sampling position or a ranking.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::wiring::Wiring;
use crate::{DataType, Model, Node};

/// Operators with weights.
const LAYERS: &[&str] = &["Conv", "ConvTranspose", "Gemm", "MatMul"];
/// Operators whose results are values of their inputs: a rounding before and one after are the same.
const MOVING: &[&str] = &[
    "Concat",
    "Flatten",
    "Identity",
    "MaxPool",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];
/// Functions of one value that TensorRT runs within the layer before them.
const ACTIVATIONS: &[&str] = &["Clip", "HardSwish", "LeakyRelu", "Relu", "Sigmoid"];

/// Why a layer stays in floating point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Float {
    /// Its result decides: an output, a sampling position or a ranking follows without another layer between.
    Decides,
    /// It has one input or output channel: a matrix times a vector gains nothing.
    Vector,
    /// The caller wants it so.
    Pinned,
    /// Nothing is known of the range of what goes in.
    NoRange,
}

/// A convolution or linear layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Its place among the graph's nodes.
    pub(super) node: usize,
    /// The value that it makes, which names it: nodes of foreign files may have no name.
    pub output: String,
    /// The value that goes in.
    pub(super) input: String,
    /// The weights.
    pub(super) weight: String,
    /// The dimension of the weights that counts output channels.
    pub(super) axis: usize,
    /// Why it is not rounded; `None` when it is.
    pub float: Option<Float>,
}

/// What the caller decides.
#[derive(Debug, Clone, Default)]
pub struct PlacementOptions {
    /// Layers that stay in floating point, by the value that they make.
    pub pinned: BTreeSet<String>,
    /// The values whose range is known; `None` when that of every value will be.
    pub ranged: Option<BTreeSet<String>>,
}

impl PlacementOptions {
    fn has_range(&self, value: &str) -> bool {
        self.ranged.as_ref().is_none_or(|ranged| ranged.contains(value))
    }
}

/// What is rounded in a graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Placement {
    /// Every layer with constant weights, in the graph's order.
    pub layers: Vec<Layer>,
    /// The values that are rounded, each with its group: values of a group have one scale.
    pub values: BTreeMap<String, usize>,
    /// Residual sums whose input of this number is rounded.
    pub(super) sums: Vec<(usize, usize)>,
}

impl Placement {
    /// Looks for what can be rounded in the main graph of a model in `float32`.
    pub fn new(model: &Model, options: &PlacementOptions) -> Self {
        let wiring = Wiring::new(&model.graph);
        let mut layers: Vec<Layer> =
            (0..model.graph.nodes.len()).filter_map(|at| layer(&wiring, at)).collect();
        let deciding = deciding(&wiring, &layers);
        for layer in &mut layers {
            layer.float = layer.float.or_else(|| {
                let pinned = options.pinned.contains(&layer.output).then_some(Float::Pinned);
                let unknown = (!options.has_range(&layer.input)).then_some(Float::NoRange);
                pinned.or_else(|| deciding.contains(&layer.node).then_some(Float::Decides)).or(unknown)
            });
        }
        let rounded: HashMap<usize, &Layer> =
            layers.iter().filter(|layer| layer.float.is_none()).map(|layer| (layer.node, layer)).collect();
        let mut sums = sums(&wiring, &rounded);
        sums.retain(|(node, input)| options.has_range(&wiring.node(*node).inputs[*input]));
        let mut values: BTreeSet<String> =
            layers.iter().filter(|layer| layer.float.is_none()).map(|layer| layer.input.clone()).collect();
        values.extend(sums.iter().map(|(node, input)| wiring.node(*node).inputs[*input].clone()));
        let mut groups = Groups::of(&wiring);
        let values = values.into_iter().map(|value| (groups.root(&value), value));
        Self { values: values.map(|(group, value)| (value, group)).collect(), sums, layers }
    }

    /// The layers that are rounded.
    pub fn rounded(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| layer.float.is_none())
    }
}

/// The node as a layer with constant weights.
fn layer(wiring: &Wiring<'_>, at: usize) -> Option<Layer> {
    let node = wiring.node(at);
    if !matches!(node.domain.as_str(), "" | "ai.onnx") || !LAYERS.contains(&node.op_type.as_str()) {
        return None;
    }
    let (input, weight) = (node.inputs.first()?, node.inputs.get(1)?);
    let tensor = wiring.graph.initializers.get(weight)?;
    let rank = tensor.shape().len();
    if wiring.is_constant(input) || tensor.dtype() != DataType::F32 || tensor.is_empty() || rank < 2 {
        return None;
    }
    let is_unscaled = match node.attributes.get("alpha") {
        Some(crate::Attribute::Float(alpha)) => (alpha - 1.0).abs() < f32::EPSILON,
        _ => true,
    };
    let axis = match node.op_type.as_str() {
        "Conv" => 0,
        "ConvTranspose" => 1,
        "Gemm" if rank == 2 && node.int("transA").unwrap_or(0) == 0 && is_unscaled => {
            usize::from(node.int("transB").unwrap_or(0) == 0)
        }
        "MatMul" if rank == 2 => 1,
        _ => return None,
    };
    // A grouped convolution counts its channels otherwise: a depthwise one has one input channel a group.
    let grouped = node.int("group").unwrap_or(1) > 1;
    let is_vector = !grouped && tensor.shape()[..2].contains(&1);
    Some(Layer {
        node: at,
        output: node.outputs.first()?.clone(),
        input: input.clone(),
        weight: weight.clone(),
        axis,
        float: is_vector.then_some(Float::Vector),
    })
}

/// The layers whose results decide: the first ones met on the way back from what decides.
fn deciding(wiring: &Wiring<'_>, layers: &[Layer]) -> HashSet<usize> {
    let stops: HashSet<usize> =
        layers.iter().filter(|layer| layer.float != Some(Float::Vector)).map(|layer| layer.node).collect();
    let mut found = HashSet::new();
    let mut seen: HashSet<&str> = HashSet::new();
    let mut open: Vec<&str> = wiring.graph.outputs.iter().map(|output| output.name.as_str()).collect();
    open.extend(wiring.graph.nodes.iter().filter_map(decided_by));
    while let Some(value) = open.pop() {
        if !seen.insert(value) {
            continue;
        }
        let Some(at) = wiring.maker(value) else { continue };
        if stops.contains(&at) {
            found.insert(at);
        } else if !is_normalizing(wiring.node(at)) {
            open.extend(wiring.node(at).inputs.iter().map(String::as_str));
        }
    }
    found
}

/// A normalization within a network is no arithmetic of a head: what lies before it is another block.
fn is_normalizing(node: &Node) -> bool {
    matches!(node.op_type.as_str(), "LayerNormalization" | "InstanceNormalization" | "GroupNormalization")
}

/// The input of a node that places or ranks something.
fn decided_by(node: &Node) -> Option<&str> {
    const INTEGERS: [i64; 2] = [6, 7];
    let at = match node.op_type.as_str() {
        "GridSample" => 1,
        "TopK" | "NonMaxSuppression" | "ArgMax" => 0,
        "Cast" if node.int("to").is_some_and(|to| INTEGERS.contains(&to)) => 0,
        _ => return None,
    };
    node.inputs.get(at).map(String::as_str)
}

/// The residual sums between rounded layers, each with the input that does not come from a convolution.
fn sums(wiring: &Wiring<'_>, rounded: &HashMap<usize, &Layer>) -> Vec<(usize, usize)> {
    let (convolved, feeding) = (convolved(wiring, rounded), feeding(wiring, rounded));
    let mut sums = Vec::new();
    for (at, node) in wiring.graph.nodes.iter().enumerate() {
        let [a, b] = node.inputs.as_slice() else { continue };
        let feeds_a_layer = node.outputs.first().is_some_and(|sum| feeding.contains(sum.as_str()));
        if node.op_type != "Add" || wiring.is_constant(a) || wiring.is_constant(b) || !feeds_a_layer {
            continue;
        }
        // The convolution can only be run together with the sum when nothing else reads its result.
        let convolved = |value: &str| wiring.readers(value) == 1 && convolved.contains(value);
        match (convolved(a), convolved(b)) {
            (true, _) => sums.push((at, 1)),
            (false, true) => sums.push((at, 0)),
            (false, false) => {}
        }
    }
    sums
}

/// The results of rounded convolutions, with and without their activations.
fn convolved<'g>(wiring: &Wiring<'g>, rounded: &HashMap<usize, &Layer>) -> HashSet<&'g str> {
    let mut found = HashSet::new();
    for (at, node) in wiring.graph.nodes.iter().enumerate() {
        let is_gate =
            |value: &String| wiring.maker(value).is_some_and(|gate| wiring.node(gate).op_type == "Sigmoid");
        let activates = ACTIVATIONS.contains(&node.op_type.as_str())
            || node.op_type == "Mul" && node.inputs.iter().any(is_gate);
        let is_convolved = node.op_type == "Conv" && rounded.contains_key(&at)
            || activates && node.inputs.iter().any(|input| found.contains(input.as_str()));
        if is_convolved {
            found.extend(node.outputs.iter().map(String::as_str));
        }
    }
    found
}

/// The values that a rounded layer reads, directly or behind what only activates or moves them.
fn feeding<'g>(wiring: &Wiring<'g>, rounded: &HashMap<usize, &Layer>) -> HashSet<&'g str> {
    let mut found = HashSet::new();
    for (at, node) in wiring.graph.nodes.iter().enumerate().rev() {
        let op = node.op_type.as_str();
        let passes_on = (ACTIVATIONS.contains(&op) || MOVING.contains(&op))
            && node.outputs.iter().any(|output| found.contains(output.as_str()));
        if rounded.contains_key(&at) || passes_on {
            found.extend(node.inputs.iter().map(String::as_str));
        }
    }
    found
}

/// Values that have one scale: a forest of the values that are only moved into each other.
struct Groups<'g> {
    numbers: HashMap<&'g str, usize>,
    parents: Vec<usize>,
}

impl<'g> Groups<'g> {
    fn of(wiring: &Wiring<'g>) -> Self {
        let mut groups = Self { numbers: HashMap::new(), parents: Vec::new() };
        for node in &wiring.graph.nodes {
            let nearest = node.op_type == "Resize" && node.text("mode").is_none_or(|mode| mode == "nearest");
            if !nearest && !MOVING.contains(&node.op_type.as_str()) {
                continue;
            }
            let data = if node.op_type == "Concat" { node.inputs.len() } else { 1 };
            let moved = node.inputs.iter().take(data).chain(&node.outputs);
            let moved: Vec<usize> =
                moved.filter(|value| !wiring.is_constant(value)).map(|value| groups.number(value)).collect();
            for pair in moved.windows(2) {
                let (a, b) = (groups.top(pair[0]), groups.top(pair[1]));
                groups.parents[a] = b;
            }
        }
        groups
    }

    fn number(&mut self, value: &'g str) -> usize {
        let next = self.parents.len();
        let number = *self.numbers.entry(value).or_insert(next);
        if number == next {
            self.parents.push(next);
        }
        number
    }

    /// The number that stands for the group. What was passed on the way is shortened, so that long chains stay fast.
    fn top(&mut self, mut number: usize) -> usize {
        while self.parents[number] != number {
            self.parents[number] = self.parents[self.parents[number]];
            number = self.parents[number];
        }
        number
    }

    /// The group of a value; one that is not moved has a group of its own.
    fn root(&mut self, value: &str) -> usize {
        if let Some(number) = self.numbers.get(value).copied() {
            return self.top(number);
        }
        self.parents.push(self.parents.len());
        self.parents.len() - 1
    }
}
