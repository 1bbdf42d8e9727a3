//! The graphs in the documentation of passes, read for their tests.
//!
//! One line a thing: `input x float32[n,4]`, `const c int64[2] = 0 4`, `y = Reshape(x, c) {axis=1, perm=[0,1]}`,
//! `output y float32[n,4]`.

use crate::{Attribute, DataType, Dim, Model, Node, Tensor, ValueInfo};

/// Runs a pass over the first graph in a file's documentation and compares with the second. Both have the operator set
/// `opset`.
pub(super) fn check(source: &str, opset: i64, pass: impl Fn(&mut Model) -> usize) {
    let graphs = graphs(source, opset);
    assert!(graphs.len() >= 2 && graphs.len().is_multiple_of(2), "{} graphs", graphs.len());
    for pair in graphs.chunks(2) {
        let mut model = pair[0].clone();
        model.check().unwrap();
        assert!(pass(&mut model) > 0, "nothing changed");
        model.graph.drop_dead_parts();
        model.check().unwrap();
        pair[1].check().unwrap();
        assert_eq!(model.graph.nodes, pair[1].graph.nodes);
        assert_eq!(model.graph.outputs, pair[0].graph.outputs);
        for (name, tensor) in &pair[1].graph.initializers {
            assert_eq!(model.graph.initializers.get(name), Some(tensor), "{name}");
        }
        assert_eq!(model.graph.initializers.len(), pair[1].graph.initializers.len());
        assert_eq!(pass(&mut model), 0, "a second run changes something");
    }
}

/// All graphs in a file's documentation.
pub(super) fn graphs(source: &str, opset: i64) -> Vec<Model> {
    blocks(source).iter().map(|text| parse(text, opset)).collect()
}

fn blocks(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in source.lines().filter_map(|line| line.trim_start().strip_prefix("//!")) {
        match (line.trim(), &mut open) {
            ("```text", None) => open = Some(String::new()),
            ("```", Some(_)) => found.extend(open.take()),
            (line, Some(text)) => {
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    found
}

/// A graph from its text.
pub(super) fn parse(text: &str, opset: i64) -> Model {
    let mut model = Model { ir_version: 8, opsets: [(String::new(), opset)].into(), ..Model::default() };
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "input" => model.graph.inputs.push(value(words[1], words[2])),
            "output" => model.graph.outputs.push(value(words[1], words[2])),
            "const" => {
                let info = value(words[1], words[2]);
                let shape = info.fixed_shape().unwrap();
                let numbers = &words[4..];
                let tensor = match info.dtype.unwrap() {
                    DataType::I64 => {
                        Tensor::from_i64(shape, numbers.iter().map(|n| n.parse().unwrap()).collect())
                    }
                    _ => Tensor::from_f32(shape, numbers.iter().map(|n| n.parse().unwrap()).collect()),
                };
                model.graph.initializers.insert(words[1].into(), tensor.unwrap());
            }
            _ => model.graph.nodes.push(node(line)),
        }
    }
    model
}

fn value(name: &str, kind: &str) -> ValueInfo {
    let (dtype, dims) = kind.trim_end_matches(']').split_once('[').unwrap();
    let dim = |text: &str| text.parse().map_or_else(|_| Dim::Symbol(text.into()), Dim::Fixed);
    let dims = dims.split(',').filter(|text| !text.is_empty()).map(dim).collect();
    ValueInfo::tensor(name, DataType::try_from(dtype.to_owned()).unwrap(), dims)
}

fn node(line: &str) -> Node {
    let names = |text: &str| -> Vec<String> {
        text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    };
    let (outputs, call) = line.split_once(" = ").unwrap();
    let (op, rest) = call.split_once('(').unwrap();
    let (inputs, rest) = rest.split_once(')').unwrap();
    let mut node =
        Node { op_type: op.into(), inputs: names(inputs), outputs: names(outputs), ..Node::default() };
    let attributes = rest.trim().trim_start_matches('{').trim_end_matches('}');
    for pair in attributes.split("; ").filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap();
        let value: Attribute = if let Some(list) = value.strip_prefix('[') {
            let numbers = list.trim_end_matches(']').split(',').map(|number| number.trim().parse().unwrap());
            numbers.collect::<Vec<i64>>().into()
        } else if let Ok(number) = value.parse::<i64>() {
            number.into()
        } else if let Ok(number) = value.parse::<f32>() {
            number.into()
        } else {
            value.into()
        };
        node.attributes.insert(name.into(), value);
    }
    node
}
