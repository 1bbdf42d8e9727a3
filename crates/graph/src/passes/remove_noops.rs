//! Nodes that give what they were given are taken out.
//!
//! ```text
//! input x float32[n,4]
//! const shape int64[2] = 0 4
//! const start int64[1] = 0
//! const end int64[1] = 9223372036854775807
//! const axis int64[1] = 1
//! a = Identity(x)
//! b = Reshape(a, shape)
//! c = Slice(b, start, end, axis)
//! d = Transpose(c) {perm=[0,1]}
//! e = Cast(d) {to=1}
//! f = Dropout(e)
//! g = Relu(f)
//! y = Identity(g)
//! output y float32[n,4]
//! ```
//!
//! ```text
//! input x float32[n,4]
//! y = Relu(x)
//! output y float32[n,4]
//! ```

use super::edit::{Bypass, integers, is, is_standard};
use super::known::Known;
use crate::{DataType, Graph, Model, Node};

/// Takes them out; gives their number.
pub(super) fn apply(model: &mut Model, known: &Known) -> usize {
    let graph = &mut model.graph;
    let mut bypass = Bypass::of(graph);
    for (at, node) in graph.nodes.iter().enumerate() {
        let (Some(input), Some(output)) = (node.inputs.first(), node.outputs.first()) else { continue };
        let further = node.outputs.iter().skip(1).any(|output| !output.is_empty());
        if !input.is_empty() && !further && is_standard(node) && gives_its_input(graph, node, known) {
            bypass.take(at, output, input);
        }
    }
    bypass.apply(graph)
}

fn gives_its_input(graph: &Graph, node: &Node, known: &Known) -> bool {
    let constant = |at: usize| node.inputs.get(at).and_then(|name| integers(graph, name));
    match node.op_type.as_str() {
        "Identity" => true,
        // Training is asked for by the third input.
        "Dropout" => node.inputs.get(2).is_none_or(String::is_empty),
        "Cast" => {
            let to = node.int("to").and_then(|to| DataType::from_onnx(i32::try_from(to).ok()?));
            to.is_some() && node.inputs.first().and_then(|input| known.dtype(input)) == to
        }
        "Transpose" => node
            .ints("perm")
            .is_some_and(|perm| perm.iter().enumerate().all(|(at, from)| usize::try_from(*from) == Ok(at))),
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Expand" => same_shape(node, known),
        "Slice" => {
            let steps = match node.inputs.get(4).filter(|name| !name.is_empty()) {
                Some(_) => constant(4),
                None => Some(Vec::new()),
            };
            // With whole steps forward only the full slice keeps every size; an empty one has nothing to keep.
            steps.is_some_and(|steps| steps.iter().all(|step| *step == 1)) && same_shape(node, known)
        }
        "Pad" => {
            let pads = node.ints("pads").map(<[i64]>::to_vec).or_else(|| constant(1));
            pads.is_some_and(|pads| pads.iter().all(|pad| *pad == 0))
        }
        "Tile" => constant(1).is_some_and(|repeats| repeats.iter().all(|count| *count == 1)),
        "Concat" | "Sum" | "Max" | "Min" | "Mean" => node.inputs.len() == 1,
        "Split" => node.outputs.len() == 1,
        "Mul" | "Div" => neutral(graph, node, known, 1.0),
        "Add" | "Sub" => neutral(graph, node, known, 0.0),
        _ => false,
    }
}

fn same_shape(node: &Node, known: &Known) -> bool {
    let shape = |name: Option<&String>| name.and_then(|name| known.shape(name));
    shape(node.inputs.first()).is_some_and(|before| shape(node.outputs.first()) == Some(before))
}

/// Whether the second operand is a number that changes nothing, in floats.
fn neutral(graph: &Graph, node: &Node, known: &Known, value: f32) -> bool {
    let [first, second] = node.inputs.as_slice() else { return false };
    let Some(tensor) = graph.initializers.get(second).filter(|tensor| tensor.shape().len() <= 1) else {
        return false;
    };
    tensor.len() == 1
        && tensor.as_f32().is_ok_and(|values| values.first() == Some(&value))
        && known.rank(first).is_some_and(|rank| rank >= tensor.shape().len())
}

/// `Constant` nodes become initializers, so that every pass sees constants in one place.
pub(super) fn lift_constants(model: &mut Model, _: &Known) -> usize {
    let graph = &mut model.graph;
    let outputs = super::edit::pinned(graph);
    let (mut nodes, before) = (Vec::with_capacity(graph.nodes.len()), graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        let lifted = match node.outputs.first() {
            Some(output) if is(&node, "Constant") && !outputs.contains(output) => {
                super::element_types::constant(&node)
            }
            _ => None,
        };
        match (lifted, node.outputs.first()) {
            (Some(tensor), Some(output)) => {
                graph.values.shift_remove(output);
                graph.initializers.insert(output.clone(), tensor);
            }
            _ => nodes.push(node),
        }
    }
    graph.nodes = nodes;
    before - graph.nodes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::example;

    #[test]
    fn the_example_holds() {
        example::check(include_str!("remove_noops.rs"), 17, |model| apply(model, &Known::of(model)));
    }

    #[test]
    fn what_only_looks_like_nothing_stays() {
        let stays = [
            // A batch that is a symbol is not the traced 1.
            "input x float32[n,4]\nconst s int64[2] = 1 4\ny = Reshape(x, s)\noutput y float32[n,4]",
            "input x float32[2,4]\nconst a int64[1] = -1\nconst e int64[1] = -9\nconst s int64[1] = -1\nconst d int64[1] = 1\ny = Slice(x, a, e, d, s)\noutput y float32[2,4]",
            "input x float32[2,4]\nconst p int64[4] = 0 1 0 -1\ny = Pad(x, p)\noutput y float32[2,4]",
            "input x float32[2,4]\ny = Identity(x)\noutput y float32[2,4]",
            "input x float32[4]\nconst o float32[1,1] = 1\ny = Mul(x, o)\noutput y float32[1,4]",
        ];
        for text in stays {
            let mut model = example::parse(text, 17);
            assert_eq!(apply(&mut model, &Known::of(&example::parse(text, 17))), 0, "{text}");
        }
    }
}
