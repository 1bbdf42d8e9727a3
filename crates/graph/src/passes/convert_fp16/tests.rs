//! Each rule on the smallest graph that shows it.

use std::collections::BTreeMap;

use super::*;
use crate::quantize::Histogram;
use crate::{Attribute, DataType, Dim, Graph, Model, Node, Tensor, ValueInfo};

fn node(op: &str, inputs: &[&str], output: &str) -> Node {
    Node {
        name: output.into(),
        op_type: op.into(),
        inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
        outputs: vec![output.into()],
        ..Node::default()
    }
}

fn value(name: &str) -> ValueInfo {
    ValueInfo::tensor(name, DataType::F32, vec![Dim::batch(), Dim::Fixed(2)])
}

/// From `x` to `y`, with a matrix `w` of two by two.
fn model(nodes: Vec<Node>) -> Model {
    let mut graph = Graph { inputs: vec![value("x")], outputs: vec![value("y")], nodes, ..Graph::default() };
    let matrix = Tensor::from_f32([2, 2], vec![1.0, 0.1, -3.0, 4.0]).unwrap();
    graph.initializers.insert("w".into(), matrix);
    Model { ir_version: 8, opsets: [(String::new(), 17)].into(), graph, ..Model::default() }
}

fn convert(model: &mut Model, seen: &[(&str, f32)], options: &HalfOptions) -> Halved {
    let seen: BTreeMap<String, Histogram> = seen
        .iter()
        .map(|(name, most)| {
            let mut histogram = Histogram::default();
            histogram.observe(&[*most]);
            ((*name).to_owned(), histogram)
        })
        .collect();
    let halved = convert_fp16(model, &seen, options).unwrap();
    model.check().unwrap();
    one_type_a_node(model);
    halved
}

/// What a strongly typed network wants: the floating-point inputs of a node have one type.
fn one_type_a_node(model: &Model) {
    let mut types = element_types::of(&model.graph);
    for info in model.graph.inputs.iter().chain(&model.graph.outputs) {
        types.insert(info.name.clone(), info.dtype.unwrap());
    }
    for node in &model.graph.nodes {
        let read = node.inputs.iter().enumerate().filter(|(at, _)| !islands::is_apart(node, *at));
        let floats: BTreeSet<&str> = read
            .filter_map(|(_, name)| types.get(name))
            .filter(|dtype| dtype.is_float())
            .map(|dtype| dtype.name())
            .collect();
        assert!(floats.len() <= 1, "`{}` reads {floats:?}", node.name);
    }
}

fn why(halved: &Halved, name: &str) -> Option<Full> {
    halved.full.iter().find(|(value, _)| value == name).map(|(_, why)| *why)
}

fn of<'m>(model: &'m Model, output: &str) -> &'m Node {
    model.graph.nodes.iter().find(|node| node.outputs[0] == output).unwrap()
}

#[test]
fn layers_become_half_and_what_decides_stays() {
    let mut model = model(vec![
        node("MatMul", &["x", "w"], "a"),
        node("Relu", &["a"], "b"),
        node("MatMul", &["b", "w"], "c"),
        node("Sigmoid", &["c"], "d"),
        node("Mul", &["d", "d"], "y"),
    ]);
    let halved = convert(&mut model, &[], &HalfOptions::default());
    assert_eq!((halved.half, halved.casts), (3, 2), "in at the image, out before the head's arithmetic");
    assert_eq!(why(&halved, "y"), Some(Full::Decides));
    assert_eq!(of(&model, "a").inputs, ["x/fp16", "w/fp16"]);
    assert_eq!(of(&model, "d").inputs, ["c/fp32"]);
    assert_eq!(model.graph.initializers["w/fp16"].dtype(), DataType::F16);
    assert!(!model.graph.initializers.contains_key("w"), "nothing reads the old weights");
    assert_eq!(model.graph.outputs[0].dtype, Some(DataType::F32));
}

#[test]
fn ranges_and_constants_keep_nodes_in_float32() {
    let chain = || {
        let mut model = model(vec![
            node("MatMul", &["x", "w"], "a"),
            node("Mul", &["a", "s"], "b"),
            node("MatMul", &["b", "w"], "c"),
            node("MatMul", &["c", "w"], "y"),
        ]);
        model.graph.initializers.insert("s".into(), Tensor::from_f32([1], vec![2.0]).unwrap());
        model
    };
    let default = HalfOptions::default();
    assert_eq!(why(&convert(&mut chain(), &[("b", 100.0)], &default), "b"), None);
    assert_eq!(why(&convert(&mut chain(), &[("b", 60_000.0)], &default), "b"), Some(Full::Overflow));
    assert_eq!(why(&convert(&mut chain(), &[("b", 60_000.0)], &default), "c"), Some(Full::Overflow));
    assert_eq!(why(&convert(&mut chain(), &[("b", f32::INFINITY)], &default), "b"), Some(Full::Overflow));
    assert_eq!(why(&convert(&mut chain(), &[("b", 1e-6)], &default), "b"), Some(Full::Underflow));
    for constant in [1e-12, -1e9] {
        let mut model = chain();
        model.graph.initializers.insert("s".into(), Tensor::from_f32([1], vec![constant]).unwrap());
        assert_eq!(why(&convert(&mut model, &[], &default), "b"), Some(Full::Constant), "{constant}");
    }
    let pinned = HalfOptions { pinned: ["b".to_owned()].into(), ..HalfOptions::default() };
    assert_eq!(why(&convert(&mut chain(), &[], &pinned), "b"), Some(Full::Pinned));
}

#[test]
fn large_scores_of_a_softmax_are_made_in_float32() {
    let attention = || {
        model(vec![
            node("MatMul", &["x", "w"], "q"),
            node("MatMul", &["x", "w"], "k"),
            node("MatMul", &["q", "k"], "scores"),
            node("Softmax", &["scores"], "p"),
            node("MatMul", &["p", "w"], "v"),
            node("MatMul", &["v", "w"], "y"),
        ])
    };
    let small = convert(&mut attention(), &[("scores", 5.0)], &HalfOptions::default());
    assert_eq!((why(&small, "scores"), why(&small, "p")), (None, Some(Full::Operator)));
    let large = convert(&mut attention(), &[("scores", 500.0)], &HalfOptions::default());
    assert_eq!((why(&large, "scores"), why(&large, "q")), (Some(Full::Scores), None));
}

#[test]
fn positions_rankings_and_normalizations_stay() {
    let mut model = model(vec![
        node("MatMul", &["x", "w"], "a"),
        node("LayerNormalization", &["a", "g"], "n"),
        node("MatMul", &["n", "w"], "o"),
        node("Sigmoid", &["o"], "positions"),
        node("GridSample", &["n", "positions"], "s"),
        node("MatMul", &["s", "w"], "y"),
    ]);
    model.graph.initializers.insert("g".into(), Tensor::from_f32([2], vec![1.0, 1.0]).unwrap());
    let halved = convert(&mut model, &[], &HalfOptions::default());
    assert_eq!(why(&halved, "n"), Some(Full::Operator));
    assert_eq!(why(&halved, "positions"), Some(Full::Decides));
    assert_eq!((why(&halved, "s"), why(&halved, "o")), (Some(Full::Operator), None));
}

#[test]
fn a_value_is_cast_once_and_small_gaps_are_closed() {
    let mut model = model(vec![
        node("MatMul", &["x", "w"], "a"),
        node("Exp", &["a"], "e"),
        node("Neg", &["e"], "gap"),
        node("Transpose", &["gap"], "moved"),
        node("Log", &["moved"], "l"),
        node("Exp", &["a"], "again"),
        node("Add", &["l", "again"], "sum"),
        node("MatMul", &["sum", "w"], "y"),
    ]);
    let halved = convert(&mut model, &[], &HalfOptions::default());
    assert_eq!((why(&halved, "gap"), why(&halved, "moved")), (Some(Full::Between), Some(Full::Between)));
    let casts = |name: &str| model.graph.nodes.iter().filter(|node| node.outputs[0] == name).count();
    assert_eq!(casts("a/fp32"), 1, "both readers share it");
    assert_eq!(why(&halved, "sum"), None, "a sum of two float32 values before a layer is read in half");
}

#[test]
fn casts_and_constants_that_are_there_change_their_type() {
    let mut model = model(vec![
        node("Shape", &["x"], "shape"),
        node("Cast", &["shape"], "number"),
        node("ConstantOfShape", &["shape"], "filled"),
        node("Constant", &[], "one"),
        node("MatMul", &["x", "w"], "a"),
        node("Add", &["a", "number"], "b"),
        node("Add", &["b", "filled"], "c"),
        node("Add", &["c", "one"], "d"),
        node("MatMul", &["d", "w"], "y"),
    ]);
    model.graph.nodes[1].attributes.insert("to".into(), 1.into());
    let one = Tensor::from_f32([1], vec![1.0]).unwrap();
    model.graph.nodes[3].attributes.insert("value".into(), Attribute::Tensor(one));
    let halved = convert(&mut model, &[], &HalfOptions::default());
    assert_eq!((&halved.full[..], halved.casts), (&[("shape".to_owned(), Full::Between)][..], 2));
    assert_eq!(of(&model, "number").int("to"), Some(10));
    assert_eq!(of(&model, "filled").tensor("value").unwrap().dtype(), DataType::F16);
    assert_eq!(of(&model, "d").inputs, ["c", "one/fp16"]);
    assert_eq!(of(&model, "y").inputs, ["y/half"], "an output keeps its name and its type");
}

#[test]
fn inputs_and_outputs_become_half_on_request() {
    let mut model = model(vec![node("MatMul", &["x", "w"], "a"), node("Exp", &["a"], "y")]);
    let options = HalfOptions { keep_io: false, ..HalfOptions::default() };
    convert(&mut model, &[], &options);
    assert_eq!(model.graph.inputs[0].dtype, Some(DataType::F16));
    assert_eq!(model.graph.outputs[0].dtype, Some(DataType::F16));
    assert_eq!(of(&model, "a").inputs[0], "x");
    assert_eq!(of(&model, "y").op_type, "Cast");
}

#[test]
fn a_resize_keeps_its_scales_and_subgraphs_what_they_read() {
    let mut resized = model(vec![
        node("MatMul", &["x", "w"], "a"),
        node("Resize", &["a", "", "scales"], "b"),
        node("MatMul", &["b", "w"], "y"),
    ]);
    resized.graph.initializers.insert("scales".into(), Tensor::from_f32([2], vec![1.0, 2.0]).unwrap());
    convert(&mut resized, &[], &HalfOptions::default());
    assert_eq!(of(&resized, "b").inputs, ["a", "", "scales"]);

    let inner = Graph {
        outputs: vec![value("inner")],
        nodes: vec![node("Relu", &["a"], "inner")],
        ..Graph::default()
    };
    let mut branching = model(vec![
        node("MatMul", &["x", "w"], "a"),
        node("If", &["flag"], "b"),
        node("MatMul", &["a", "w"], "c"),
        node("MatMul", &["c", "w"], "y"),
    ]);
    branching
        .graph
        .initializers
        .insert("flag".into(), Tensor::new(DataType::Bool, [], vec![1].into()).unwrap());
    let branch = Attribute::Graph(Box::new(inner));
    branching.graph.nodes[1].attributes = [("then_branch".to_owned(), branch)].into();
    branching.graph.outputs.push(value("b"));
    let halved = convert(&mut branching, &[], &HalfOptions::default());
    assert_eq!((why(&halved, "a"), why(&halved, "c")), (Some(Full::Subgraph), None));
}

#[test]
fn what_cannot_be_converted_is_refused() {
    let refused = |mut model: Model| {
        convert_fp16(&mut model, &BTreeMap::new(), &HalfOptions::default()).unwrap_err().to_string()
    };
    assert!(refused(model(vec![node("Exp", &["x"], "y")])).contains("no node computes"));
    let rounded =
        model(vec![node("QuantizeLinear", &["x", "w", "w"], "q"), node("MatMul", &["q", "w"], "y")]);
    assert!(refused(rounded).contains("8 bits"));
    let mut taken = model(vec![node("MatMul", &["x", "w"], "x/fp16"), node("MatMul", &["x/fp16", "w"], "y")]);
    taken.graph.initializers.insert("w/fp16".into(), Tensor::from_f32([1], vec![0.0]).unwrap());
    assert!(refused(taken).contains("already"));
    let mut foreign = model(vec![
        node("Strange", &["x"], "s"),
        node("MatMul", &["s", "w"], "a"),
        node("MatMul", &["a", "w"], "y"),
    ]);
    foreign.graph.nodes[0].domain = "com.example".into();
    let mut seen = foreign.clone();
    let halved = convert_fp16(&mut seen, &BTreeMap::new(), &HalfOptions::default()).unwrap_err();
    assert!(halved.to_string().contains("no node"), "types behind an unknown operator are unknown: {halved}");
}
