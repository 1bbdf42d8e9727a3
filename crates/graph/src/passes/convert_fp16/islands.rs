//! Which nodes stay in `float32`.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Full, HalfOptions};
use crate::quantize::Histogram;
use crate::{DataType, Graph, Node};

/// The largest magnitude that is left to `float16`: half of what it holds, because calibration images do not show all.
const LARGEST: f32 = 65504.0 / 2.0;
/// The smallest normal number of `float16`: below it, fewer than eleven bits are left.
const SMALLEST: f32 = 6.103_515_6e-5;
/// Scores up to this magnitude are rounded by less than a hundredth.
const LARGEST_SCORE: f32 = 32.0;
/// Constants of more numbers are weights: of them, a few that vanish change nothing.
const MOST_SINGLE: usize = 16;

/// Operators that stay: sums over many values, steep functions, rankings, and what has no `float16` form.
const FULL: &[&str] = &[
    "BatchNormalization",
    "CumSum",
    "Det",
    "Exp",
    "EyeLike",
    "GridSample",
    "GroupNormalization",
    "If",
    "InstanceNormalization",
    "LayerNormalization",
    "Log",
    "LogSoftmax",
    "Loop",
    "NonMaxSuppression",
    "Pow",
    "Range",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMean",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "RoiAlign",
    "Scan",
    "Softmax",
    "Sqrt",
    "TopK",
];
/// Operators with weights.
const LAYERS: &[&str] = &["Conv", "ConvTranspose", "Gemm", "MatMul"];
/// Normalizations: what lies before one is another block.
const NORMALIZING: &[&str] = &["LayerNormalization", "InstanceNormalization", "GroupNormalization"];
/// Operators whose results are values of their inputs.
const MOVING: &[&str] = &[
    "Concat",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "MaxPool",
    "Pad",
    "Relu",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// For each node `None` when it has nothing to do with `float32`, else why it stays there, if it does.
pub(super) type Decision = Option<Option<Full>>;

/// Float inputs of an operator whose type does not follow the others.
pub(super) fn is_apart(node: &Node, input: usize) -> bool {
    match node.op_type.as_str() {
        "Resize" => matches!(input, 1 | 2),
        "Upsample" | "Dropout" => input == 1,
        _ => false,
    }
}

/// Decides for every node.
pub(super) fn find(
    graph: &Graph,
    types: &HashMap<String, DataType>,
    seen: &BTreeMap<String, Histogram>,
    options: &HalfOptions,
) -> Vec<Decision> {
    let search = Search { graph, types, seen, makers: makers(graph) };
    let (deciding, scoring, captured) = (search.deciding(), search.scoring(), captured(graph));
    let mut decisions: Vec<Decision> = Vec::with_capacity(graph.nodes.len());
    for (at, node) in graph.nodes.iter().enumerate() {
        if !search.is_float(node) {
            decisions.push(None);
            continue;
        }
        let makes = |names: &dyn Fn(&str) -> bool| node.outputs.iter().any(|output| names(output));
        let is_standard = matches!(node.domain.as_str(), "" | "ai.onnx");
        let why = if makes(&|name| options.pinned.contains(name)) {
            Some(Full::Pinned)
        } else if makes(&|name| captured.contains(name)) {
            Some(Full::Subgraph)
        } else if search.has_unknown(node)
            || !is_standard
            || FULL.contains(&node.op_type.as_str())
            || node.op_type.starts_with("Random")
        {
            Some(Full::Operator)
        } else if deciding.contains(&at) {
            Some(Full::Decides)
        } else if scoring.contains(&at) {
            Some(Full::Scores)
        } else {
            search.out_of_range(node).or_else(|| search.odd_constant(node))
        };
        let follows = why.is_none() && MOVING.contains(&node.op_type.as_str());
        let why = if follows && search.comes_from_full(node, &decisions) { Some(Full::Between) } else { why };
        decisions.push(Some(why));
    }
    search.close_gaps(&mut decisions);
    decisions
}

struct Search<'g> {
    graph: &'g Graph,
    types: &'g HashMap<String, DataType>,
    seen: &'g BTreeMap<String, Histogram>,
    makers: HashMap<&'g str, usize>,
}

impl<'g> Search<'g> {
    fn is_float_value(&self, name: &str) -> bool {
        self.types.get(name) == Some(&DataType::F32)
    }

    /// Whether a node reads or makes `float32` that could be something else.
    fn is_float(&self, node: &Node) -> bool {
        let reads =
            node.inputs.iter().enumerate().any(|(at, name)| self.is_float_value(name) && !is_apart(node, at));
        reads || node.outputs.iter().any(|name| self.is_float_value(name))
    }

    /// Whether the type of something that it reads or makes cannot be told.
    fn has_unknown(&self, node: &Node) -> bool {
        let names = node.inputs.iter().chain(&node.outputs).filter(|name| !name.is_empty());
        names.into_iter().any(|name| !self.types.contains_key(name))
    }

    fn is_layer(&self, node: &Node) -> bool {
        let weight = node.inputs.get(1).is_some_and(|name| self.graph.initializers.contains_key(name));
        LAYERS.contains(&node.op_type.as_str()) && weight
    }

    /// Walks back from values through everything that `stop` does not hold up; gives the nodes passed.
    fn back(&self, from: Vec<&'g str>, stop: impl Fn(&Node) -> bool) -> HashSet<usize> {
        let (mut open, mut passed) = (from, HashSet::new());
        while let Some(value) = open.pop() {
            let Some(&at) = self.makers.get(value) else { continue };
            let node = &self.graph.nodes[at];
            if !self.is_float_value(value) || stop(node) || !passed.insert(at) {
                continue;
            }
            open.extend(node.inputs.iter().map(String::as_str));
        }
        passed
    }

    /// What comes out, a sampling position or a ranking, back to the layers that it comes from.
    fn deciding(&self) -> HashSet<usize> {
        let mut from: Vec<&str> = self.graph.outputs.iter().map(|output| output.name.as_str()).collect();
        from.extend(self.graph.nodes.iter().filter_map(decided_by));
        self.back(from, |node| self.is_layer(node) || NORMALIZING.contains(&node.op_type.as_str()))
    }

    /// What makes the large scores of a softmax, back to the product that they come from.
    fn scoring(&self) -> HashSet<usize> {
        let is_large = |name: &str| self.seen.get(name).is_some_and(|seen| seen.max_abs() > LARGEST_SCORE);
        let softmaxes = self.graph.nodes.iter().filter(|node| node.op_type == "Softmax");
        let from = softmaxes.filter_map(|node| node.inputs.first()).map(String::as_str);
        let from: Vec<&str> = from.filter(|name| is_large(name)).collect();
        // The product itself is made in float32; what it multiplies is not.
        let is_before = |node: &Node| {
            node.inputs.iter().any(|input| {
                self.makers.get(input.as_str()).is_some_and(|at| self.graph.nodes[*at].op_type == "MatMul")
            }) || matches!(
                node.op_type.as_str(),
                "MatMul" | "Add" | "Mul" | "Div" | "Where" | "Reshape" | "Transpose"
            )
        };
        let mut passed = HashSet::new();
        let mut open = from;
        while let Some(value) = open.pop() {
            let Some(&at) = self.makers.get(value) else { continue };
            let node = &self.graph.nodes[at];
            if !is_before(node) || self.is_layer(node) || !passed.insert(at) {
                continue;
            }
            if node.op_type != "MatMul" {
                open.extend(node.inputs.iter().map(String::as_str));
            }
        }
        passed
    }

    fn out_of_range(&self, node: &Node) -> Option<Full> {
        let mut watched = node.inputs.iter().chain(&node.outputs).filter_map(|name| self.seen.get(name));
        watched.find_map(|seen| match seen.max_abs() {
            _ if seen.not_finite() > 0 => Some(Full::Overflow),
            most if most > LARGEST => Some(Full::Overflow),
            most if most > 0.0 && most < SMALLEST => Some(Full::Underflow),
            _ => None,
        })
    }

    /// Whether a constant becomes infinite, or one that stands alone becomes 0 or loses most of its bits.
    fn odd_constant(&self, node: &Node) -> Option<Full> {
        let read = node.inputs.iter().enumerate().filter(|(at, _)| !is_apart(node, *at));
        let mut constants = read.filter_map(|(_, name)| self.graph.initializers.get(name));
        let is_odd = constants.any(|tensor| {
            if tensor.dtype() != DataType::F32 {
                return false;
            }
            let Ok(values) = tensor.as_f32() else { return true };
            let is_single = values.len() <= MOST_SINGLE;
            values.iter().any(|value| {
                let magnitude = value.abs();
                value.is_finite() && magnitude > LARGEST
                    || is_single && magnitude > 0.0 && magnitude < SMALLEST
            })
        });
        is_odd.then_some(Full::Constant)
    }

    /// Whether all that a node moves was made in `float32`.
    fn comes_from_full(&self, node: &Node, decisions: &[Decision]) -> bool {
        let mut any = false;
        for name in node.inputs.iter().filter(|name| self.is_float_value(name)) {
            match self.makers.get(name.as_str()).map(|at| decisions.get(*at)) {
                Some(Some(Some(Some(_)))) => any = true,
                None if self.graph.initializers.contains_key(name) => {}
                _ => return false,
            }
        }
        any
    }

    /// Nodes between layers that have only `float32` around them stay there too: two casts would cost more than they do.
    /// What could stay is all that is no layer; whoever has a neighbour that cannot stay drops out, until nobody does.
    fn close_gaps(&self, decisions: &mut [Decision]) {
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, node) in self.graph.nodes.iter().enumerate() {
            for input in &node.inputs {
                readers.entry(input).or_default().push(at);
            }
        }
        let is_open = |at: usize| decisions[at] == Some(None) && !self.is_layer(&self.graph.nodes[at]);
        let mut stays: Vec<bool> = (0..decisions.len()).map(is_open).collect();
        let is_full = |at: &usize, stays: &[bool]| stays[*at] || matches!(decisions[*at], Some(Some(_)));
        let mut open: Vec<usize> = (0..decisions.len()).collect();
        while let Some(at) = open.pop() {
            let node = &self.graph.nodes[at];
            let floats = |names: &'g [String]| names.iter().filter(|name| self.is_float_value(name));
            let makers = || floats(&node.inputs).filter_map(|name| self.makers.get(name.as_str()));
            let readers = || floats(&node.outputs).filter_map(|name| readers.get(name.as_str())).flatten();
            if stays[at] && !makers().chain(readers()).all(|near| is_full(near, &stays)) {
                stays[at] = false;
                open.extend(makers().chain(readers()).filter(|near| stays[**near]));
            }
        }
        for (decision, stays) in decisions.iter_mut().zip(stays) {
            if stays {
                *decision = Some(Some(Full::Between));
            }
        }
    }
}

fn makers(graph: &Graph) -> HashMap<&str, usize> {
    let outputs =
        graph.nodes.iter().enumerate().flat_map(|(at, node)| node.outputs.iter().map(move |o| (o, at)));
    outputs.filter(|(name, _)| !name.is_empty()).map(|(name, at)| (name.as_str(), at)).collect()
}

/// The input of a node that places or ranks something.
fn decided_by(node: &Node) -> Option<&str> {
    let dtype = |to: i64| DataType::from_onnx(i32::try_from(to).ok()?);
    let is_integer = |to: i64| dtype(to).is_some_and(|dtype| !dtype.is_float());
    let at = match node.op_type.as_str() {
        "GridSample" => 1,
        "TopK" | "NonMaxSuppression" | "ArgMax" => 0,
        "Cast" if node.int("to").is_some_and(is_integer) => 0,
        _ => return None,
    };
    node.inputs.get(at).map(String::as_str)
}

/// The values that graphs inside nodes read from around them.
fn captured(graph: &Graph) -> HashSet<&str> {
    let mut read = HashSet::new();
    for inner in graph.nodes.iter().flat_map(Node::subgraphs) {
        inner.nodes.iter().for_each(|node| node.names_read(&mut read));
        read.extend(inner.outputs.iter().map(|output| output.name.as_str()));
    }
    read
}
