//! The operator set of a graph, up and down between 16 and 22.
//!
//! One version at a time. Operators whose form did not change between 16 and 22 are listed; those that did are converted;
//! any other is an error that names the node. From 17 to 18 (and back):
//!
//! ```text
//! input x float32[n,4]
//! m = ReduceMean(x) {axes=[-1]}
//! a, b = Split(x) {axis=1}
//! c = Concat(a, b, m) {axis=1}
//! output c float32[n,5]
//! ```
//!
//! ```text
//! input x float32[n,4]
//! const m.axes int64[1] = -1
//! m = ReduceMean(x, m.axes)
//! a, b = Split(x) {axis=1; num_outputs=2}
//! c = Concat(a, b, m) {axis=1}
//! output c float32[n,5]
//! ```

use super::Outcome;
use super::edit::{add_constant, fresh, integers, is_standard};
use super::known::{Known, number};
use crate::{Attribute, DataType, Error, Graph, Model, Node, Tensor};

/// The operator sets that are converted between.
pub const OPSETS: std::ops::RangeInclusive<i64> = 16..=22;

/// Operators that read the same in all of them, for the types that detectors use.
const UNCHANGED: &[&str] = &[
    "Abs",
    "Acos",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "Asin",
    "Atan",
    "BatchNormalization",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvTranspose",
    "Cos",
    "CumSum",
    "DepthToSpace",
    "Div",
    "Dropout",
    "Einsum",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "If",
    "InstanceNormalization",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "Loop",
    "MatMul",
    "Max",
    "MaxPool",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "NonMaxSuppression",
    "NonZero",
    "Not",
    "OneHot",
    "Or",
    "PRelu",
    "Pow",
    "Range",
    "Reciprocal",
    "ReduceSum",
    "Relu",
    "Reshape",
    "RoiAlign",
    "Round",
    "Selu",
    "Shape",
    "Sigmoid",
    "Sign",
    "Sin",
    "Size",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "SpaceToDepth",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tan",
    "Tanh",
    "Tile",
    "TopK",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
    "Xor",
];
/// Reductions whose axes became an input at 18 (that of `ReduceSum` is older).
const REDUCTIONS: &[&str] = &[
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
];

/// Converts to operator set `wanted`.
///
/// # Errors
/// [`Error::Invalid`] outside [`OPSETS`] and for models with functions of their own; [`Error::BadNode`] for the node that
/// cannot be converted.
pub fn set_opset(model: &mut Model, wanted: i64) -> Result<Outcome, Error> {
    let mut outcome = Outcome { nodes_before: model.graph.nodes.len(), ..Outcome::default() };
    let mut now = model.opset();
    if now != wanted {
        for version in [now, wanted] {
            if !OPSETS.contains(&version) {
                let known = format!("{} to {}", OPSETS.start(), OPSETS.end());
                return Err(Error::Invalid(format!("operator set {version} is not converted, {known} are")));
            }
        }
        if !model.functions.is_empty() {
            return Err(Error::Invalid("the model has functions of its own, which are not converted".into()));
        }
    }
    let mut converted = model.clone();
    while now != wanted {
        let next = if wanted > now { now + 1 } else { now - 1 };
        outcome.count("set-opset", step(&mut converted, now, next)?);
        converted.opsets.remove("ai.onnx");
        converted.opsets.insert(String::new(), next);
        now = next;
    }
    let least = match wanted {
        ..=18 => 8,
        19 | 20 => 9,
        _ => 10,
    };
    converted.ir_version = converted.ir_version.max(least);
    converted.graph.drop_dead_parts();
    converted.check()?;
    outcome.nodes_after = converted.graph.nodes.len();
    *model = converted;
    Ok(outcome)
}

/// One version up or down; gives the number of nodes that changed.
fn step(model: &mut Model, from: i64, to: i64) -> Result<usize, Error> {
    let known = Known::of(model);
    let mut changed = 0;
    let mut nodes = Vec::with_capacity(model.graph.nodes.len());
    for node in std::mem::take(&mut model.graph.nodes) {
        inner(&node)?;
        if !is_standard(&node) || UNCHANGED.contains(&node.op_type.as_str()) {
            nodes.push(node);
            continue;
        }
        let new = convert(&mut model.graph, &known, &node, from, to)
            .map_err(|reason| bad(&node, format!("from operator set {from} to {to}: {reason}")))?;
        changed += usize::from(new.len() != 1 || new.first() != Some(&node));
        nodes.extend(new);
    }
    model.graph.nodes = nodes;
    Ok(changed)
}

fn bad(node: &Node, reason: String) -> Error {
    let name = if node.name.is_empty() {
        node.outputs.first().cloned().unwrap_or_default()
    } else {
        node.name.clone()
    };
    Error::BadNode { node: name, op: node.operator(), reason }
}

/// Inside subgraphs only what did not change is taken.
fn inner(node: &Node) -> Result<(), Error> {
    for graph in node.subgraphs() {
        for inside in &graph.nodes {
            if is_standard(inside)
                && !UNCHANGED.contains(&inside.op_type.as_str())
                && inside.op_type != "Cast"
            {
                return Err(bad(inside, "inside a subgraph it is not converted".into()));
            }
            inner(inside)?;
        }
    }
    Ok(())
}

/// What a node becomes.
fn convert(graph: &mut Graph, known: &Known, node: &Node, from: i64, to: i64) -> Result<Vec<Node>, String> {
    let mut new = node.clone();
    let refuse = |what: &str| Err(what.to_owned());
    let has = |name: &str| node.attributes.contains_key(name);
    match (node.op_type.as_str(), from, to) {
        (op, 17, 18) if REDUCTIONS.contains(&op) => axes_to_input(graph, &mut new),
        (op, 18, 17) if REDUCTIONS.contains(&op) => axes_to_attribute(graph, &mut new)?,
        ("ReduceMax" | "ReduceMin", 20, 19) => {
            if node.inputs.first().is_none_or(|input| known.dtype(input) == Some(DataType::Bool)) {
                return refuse("booleans are reduced");
            }
        }
        (op, _, _) if REDUCTIONS.contains(&op) => {}
        ("Split", 17, 18) if node.inputs.get(1).is_none_or(String::is_empty) => {
            let count = i64::try_from(node.outputs.len()).map_err(|_| "too many outputs")?;
            new.attributes.insert("num_outputs".into(), count.into());
        }
        ("Split", 18, 17) => {
            if new.attributes.remove("num_outputs").is_some() && !splits_evenly(known, node) {
                return refuse("it does not split into equal parts");
            }
        }
        ("GridSample", 19, 20) => sampling(&mut new, &[("bilinear", "linear"), ("bicubic", "cubic")]),
        ("GridSample", 20, 19) => {
            if node.inputs.first().and_then(|input| known.rank(input)).is_some_and(|rank| rank != 4) {
                return refuse("only images are sampled there");
            }
            sampling(&mut new, &[("linear", "bilinear"), ("cubic", "bicubic")]);
        }
        ("Gelu", 20, 19) => return gelu(graph, known, node),
        ("LayerNormalization", 17, 16) => return layer_norm(graph, known, node),
        ("Mish", 18, 17) => return mish(graph, node),
        ("GroupNormalization", 20, 21)
        | ("GroupNormalization", 21, 20)
        | ("GroupNormalization", ..=18, _) => {
            return refuse("its scale means something else");
        }
        ("AveragePool", 19, 18) if has("dilations") => return refuse("it has dilations"),
        ("Cast" | "CastLike", 19, 18) => {
            new.attributes.remove("saturate");
        }
        ("Pad", 19, 18) if node.text("mode") == Some("wrap") => return refuse("it wraps around"),
        ("Pad", 18, 17) if node.inputs.get(3).is_some_and(|axes| !axes.is_empty()) => {
            pad_all(graph, known, &mut new)?;
        }
        ("Resize", 19, 18) if node.text("coordinate_transformation_mode") == Some("half_pixel_symmetric") => {
            return refuse("its coordinates are half_pixel_symmetric");
        }
        ("Resize", 18, 17) => {
            let keeps = node.text("keep_aspect_ratio_policy").is_some_and(|policy| policy != "stretch");
            if keeps || has("axes") || node.int("antialias").unwrap_or(0) != 0 {
                return refuse("it names axes, smooths or keeps the aspect ratio");
            }
            new.attributes.retain(|name, _| name != "keep_aspect_ratio_policy" && name != "antialias");
        }
        ("ScatterND" | "ScatterElements", 18, 17)
            if node.text("reduction").is_some_and(|reduction| matches!(reduction, "max" | "min")) =>
        {
            return refuse("it reduces by maximum or minimum");
        }
        ("QuantizeLinear" | "DequantizeLinear", 21, 20)
            if node.int("block_size").unwrap_or(0) != 0 || has("output_dtype") =>
        {
            return refuse("it quantizes by blocks or names a type");
        }
        (
            "AveragePool" | "Cast" | "CastLike" | "Pad" | "Resize" | "ScatterND" | "ScatterElements"
            | "Split" | "GridSample" | "GroupNormalization" | "QuantizeLinear" | "DequantizeLinear",
            _,
            _,
        )
        | ("Gelu", 20.., 20..)
        | ("LayerNormalization", 17.., 17..)
        | ("Mish", 18.., 18..) => {}
        _ => return refuse("this operator is not converted"),
    }
    Ok(vec![new])
}

fn axes_to_input(graph: &mut Graph, node: &mut Node) {
    if let Some(Attribute::Ints(axes)) = node.attributes.remove("axes")
        && let Ok(tensor) = Tensor::from_i64([axes.len()], axes)
    {
        let base = format!("{}.axes", node.outputs.first().map_or("", String::as_str));
        let name = add_constant(graph, &base, tensor);
        node.inputs.push(name);
    }
}

fn axes_to_attribute(graph: &Graph, node: &mut Node) -> Result<(), String> {
    let noop = matches!(node.attributes.remove("noop_with_empty_axes"), Some(Attribute::Int(1)));
    let axes = match node.inputs.get(1).filter(|name| !name.is_empty()) {
        Some(name) => integers(graph, name).ok_or("its axes are computed")?,
        None => Vec::new(),
    };
    node.inputs.truncate(1);
    match (axes.is_empty(), noop) {
        (true, true) => return Err("it reduces nothing".into()),
        (true, false) => {}
        (false, _) => {
            node.attributes.insert("axes".into(), axes.into());
        }
    }
    Ok(())
}

fn splits_evenly(known: &Known, node: &Node) -> bool {
    let Some(sizes) = node.inputs.first().and_then(|input| known.shape(input)) else { return false };
    let axis = node.int("axis").unwrap_or(0);
    let axis = if axis < 0 { axis.checked_add(sizes.len() as i64) } else { Some(axis) };
    let size = axis.and_then(|axis| sizes.get(usize::try_from(axis).ok()?)).and_then(number);
    size.and_then(|size| usize::try_from(size).ok())
        .is_some_and(|size| size.is_multiple_of(node.outputs.len()))
}

fn sampling(node: &mut Node, names: &[(&str, &str)]) {
    let mode = node.text("mode").unwrap_or(names[0].0);
    if let Some((_, new)) = names.iter().find(|(old, _)| *old == mode) {
        node.attributes.insert("mode".into(), (*new).into());
    }
}

/// Pads of some axes as pads of all.
fn pad_all(graph: &mut Graph, known: &Known, node: &mut Node) -> Result<(), String> {
    let rank = node.inputs.first().and_then(|input| known.rank(input)).ok_or("the rank is not known")?;
    let list =
        |at: usize| node.inputs.get(at).and_then(|name| integers(graph, name)).ok_or("its pads are computed");
    let (pads, axes) = (list(1)?, list(3)?);
    if pads.len() != axes.len() * 2 {
        return Err("its pads do not fit its axes".into());
    }
    let mut all = vec![0; rank * 2];
    for (at, axis) in axes.iter().enumerate() {
        let place = if *axis < 0 { axis.checked_add(rank as i64) } else { Some(*axis) };
        let place = place.and_then(|axis| usize::try_from(axis).ok()).filter(|axis| *axis < rank);
        let place = place.ok_or("an axis that there is not")?;
        (all[place], all[rank + place]) = (pads[at], pads[axes.len() + at]);
    }
    let tensor = Tensor::from_i64([all.len()], all).map_err(|error| error.to_string())?;
    let base = format!("{}.pads", node.outputs.first().map_or("", String::as_str));
    node.inputs[1] = add_constant(graph, &base, tensor);
    node.inputs.truncate(3);
    Ok(())
}

/// Nodes that take the place of one, named after its output.
struct Chain<'a> {
    graph: &'a mut Graph,
    base: String,
    nodes: Vec<Node>,
}

impl<'a> Chain<'a> {
    fn new(graph: &'a mut Graph, node: &Node) -> Result<Self, String> {
        let [base] = node.outputs.as_slice() else { return Err("it has further outputs".into()) };
        Ok(Self { base: base.clone(), graph, nodes: Vec::new() })
    }

    fn number(&mut self, value: f32) -> Result<String, String> {
        let tensor = Tensor::from_f32([], vec![value]).map_err(|error| error.to_string())?;
        let base = format!("{}.number", self.base);
        Ok(add_constant(self.graph, &base, tensor))
    }

    fn push(&mut self, op: &str, inputs: &[&str]) -> String {
        // Earlier names of the chain are not in the graph yet.
        let name = fresh(self.graph, &format!("{}.{}{}", self.base, op.to_lowercase(), self.nodes.len()));
        let node = Node {
            op_type: op.into(),
            inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
            outputs: vec![name.clone()],
            ..Node::default()
        };
        self.nodes.push(node);
        name
    }

    /// The last node makes what the replaced one made.
    fn finish(mut self) -> Vec<Node> {
        if let Some(last) = self.nodes.last_mut() {
            last.outputs = vec![self.base];
        }
        self.nodes
    }
}

fn only_f32(known: &Known, name: &str) -> Result<(), String> {
    if known.dtype(name) == Some(DataType::F32) {
        Ok(())
    } else {
        Err("its input is not known to be float32".into())
    }
}

fn gelu(graph: &mut Graph, known: &Known, node: &Node) -> Result<Vec<Node>, String> {
    let x = node.inputs.first().ok_or("it has no input")?;
    only_f32(known, x)?;
    if node.text("approximate").unwrap_or("none") != "none" {
        return Err("it is approximated".into());
    }
    let mut chain = Chain::new(graph, node)?;
    let (root, one, half) = (chain.number(std::f32::consts::SQRT_2)?, chain.number(1.0)?, chain.number(0.5)?);
    let inside = chain.push("Div", &[x, &root]);
    let erf = chain.push("Erf", &[&inside]);
    let gate = chain.push("Add", &[&erf, &one]);
    let product = chain.push("Mul", &[x, &gate]);
    chain.push("Mul", &[&product, &half]);
    Ok(chain.finish())
}

fn mish(graph: &mut Graph, node: &Node) -> Result<Vec<Node>, String> {
    let x = node.inputs.first().ok_or("it has no input")?;
    let mut chain = Chain::new(graph, node)?;
    let plus = chain.push("Softplus", &[x]);
    let gate = chain.push("Tanh", &[&plus]);
    chain.push("Mul", &[x, &gate]);
    Ok(chain.finish())
}

fn layer_norm(graph: &mut Graph, known: &Known, node: &Node) -> Result<Vec<Node>, String> {
    let (x, scale) =
        (node.inputs.first().ok_or("it has no input")?, node.inputs.get(1).ok_or("it has no scale")?);
    only_f32(known, x)?;
    let rank = known.rank(x).and_then(|rank| i64::try_from(rank).ok()).ok_or("the rank is not known")?;
    let axis = node.int("axis").unwrap_or(-1);
    let first = if axis < 0 { axis.saturating_add(rank) } else { axis };
    if !(0..rank).contains(&first) {
        return Err("an axis that there is not".into());
    }
    let axes: Vec<i64> = (first..rank).collect();
    let epsilon = match node.attributes.get("epsilon") {
        Some(Attribute::Float(epsilon)) => *epsilon,
        _ => 1e-5,
    };
    let mut chain = Chain::new(graph, node)?;
    let epsilon = chain.number(epsilon)?;
    let mean = chain.push("ReduceMean", &[x]);
    let difference = chain.push("Sub", &[x, &mean]);
    let square = chain.push("Mul", &[&difference, &difference]);
    let variance = chain.push("ReduceMean", &[&square]);
    for reduction in chain.nodes.iter_mut().filter(|node| node.op_type == "ReduceMean") {
        reduction.attributes.insert("axes".into(), axes.clone().into());
    }
    let shifted = chain.push("Add", &[&variance, &epsilon]);
    let deviation = chain.push("Sqrt", &[&shifted]);
    let normal = chain.push("Div", &[&difference, &deviation]);
    let scaled = chain.push("Mul", &[&normal, scale]);
    if let Some(bias) = node.inputs.get(2).filter(|name| !name.is_empty()) {
        chain.push("Add", &[&scaled, bias]);
    }
    Ok(chain.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::example;

    #[test]
    fn the_example_holds_both_ways() {
        let graphs = example::graphs(include_str!("set_opset.rs"), 17);
        let mut model = graphs[0].clone();
        set_opset(&mut model, 18).unwrap();
        assert_eq!((&model.graph, model.opset()), (&graphs[1].graph, 18));
        set_opset(&mut model, 17).unwrap();
        assert_eq!(model.graph, graphs[0].graph);
    }

    #[test]
    fn newer_operators_come_apart() {
        let text = "input x float32[n,4]\nconst g float32[4] = 1 1 1 1\na = Gelu(x)\nb = LayerNormalization(a, g)\ny = GridSample(b, b) {mode=linear}\noutput y float32[n,4]";
        let mut model =
            example::parse(&text.replace("y = GridSample(b, b) {mode=linear}", "y = Relu(b)"), 20);
        set_opset(&mut model, 16).unwrap();
        assert_eq!((model.graph.nodes.len(), model.opset()), (14, 16));
        set_opset(&mut model, 22).unwrap();
        assert_eq!((model.opset(), model.ir_version), (22, 10));
    }

    #[test]
    fn an_unknown_operator_is_named_and_nothing_changes() {
        let text = "input x float32[n,4]\nwindow = STFT(x)\noutput window float32[n,4]";
        let before = example::parse(text, 17);
        let mut model = before.clone();
        let error = set_opset(&mut model, 18).unwrap_err().to_string();
        assert!(error.contains("`window` (STFT)"), "{error}");
        assert_eq!(model, before);
        assert!(set_opset(&mut model, 23).is_err());
        set_opset(&mut model, 17).unwrap();
    }
}
