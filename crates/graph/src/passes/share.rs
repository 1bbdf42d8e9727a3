//! What is computed or stored twice is computed and stored once.
//!
//! ```text
//! input x float32[n,4]
//! const w float32[2] = 1 2
//! const v float32[2] = 1 2
//! a = Softmax(x) {axis=-1}
//! b = Softmax(x) {axis=-1}
//! c = Softmax(x) {axis=0}
//! d = Concat(a, b, c) {axis=1}
//! e = MatMul(d, w)
//! f = MatMul(d, v)
//! y = Add(e, f)
//! output y float32[n,4]
//! ```
//!
//! ```text
//! input x float32[n,4]
//! const w float32[2] = 1 2
//! a = Softmax(x) {axis=-1}
//! c = Softmax(x) {axis=0}
//! d = Concat(a, a, c) {axis=1}
//! e = MatMul(d, w)
//! y = Add(e, e)
//! output y float32[n,4]
//! ```

use std::collections::HashMap;

use super::edit::{Bypass, is_standard, pinned};
use super::known::Known;
use crate::{Model, Node, Tensor};

/// Operators that give another result each time.
const RANDOM: &[&str] = &[
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
    "Dropout",
];
/// So much of a tensor's beginning tells it from most others.
const PREFIX: usize = 64;

/// Nodes with the same operator, inputs and attributes become one; gives the number that went.
pub(super) fn nodes(model: &mut Model, _: &Known) -> usize {
    let graph = &mut model.graph;
    let mut bypass = Bypass::of(graph);
    let mut seen: HashMap<(String, Vec<String>), Vec<usize>> = HashMap::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        let random = RANDOM.contains(&node.op_type.as_str());
        if !is_standard(node) || random || node.subgraphs().next().is_some() {
            continue;
        }
        let inputs: Vec<String> = node.inputs.iter().map(|input| bypass.name(input).to_owned()).collect();
        let alike = seen.entry((node.op_type.clone(), inputs)).or_default();
        let twin = alike.iter().map(|at| &graph.nodes[*at]).find(|twin| same(twin, node));
        match twin {
            Some(twin) => {
                let pairs =
                    || node.outputs.iter().zip(&twin.outputs).filter(|(output, _)| !output.is_empty());
                // All names or none: a node with one name that has to stay, stays.
                if node.outputs.len() == 1 || pairs().all(|(output, _)| !bypass.must_stay(output)) {
                    let joined = pairs().filter(|(output, twin)| bypass.join(output, twin)).count();
                    if joined == pairs().count() {
                        bypass.remove(at);
                    }
                }
            }
            None => alike.push(at),
        }
    }
    bypass.apply(graph)
}

fn same(twin: &Node, node: &Node) -> bool {
    twin.attributes == node.attributes
        && twin.outputs.len() == node.outputs.len()
        && twin.outputs.iter().zip(&node.outputs).all(|(twin, output)| output.is_empty() || !twin.is_empty())
}

/// Type, shape and the ends of the content: what equal constants have in common.
type Likeness = (i32, Vec<usize>, Vec<u8>);

/// Constants with the same type, shape and content become one; gives the number that went.
pub(super) fn constants(model: &mut Model, _: &Known) -> usize {
    let graph = &mut model.graph;
    let pinned = pinned(graph);
    let mut alike: HashMap<Likeness, Vec<(&String, &Tensor)>> = HashMap::new();
    let mut alias: HashMap<String, String> = HashMap::new();
    for (name, tensor) in &graph.initializers {
        if tensor.is_deferred() || tensor.external().is_some() || tensor.as_strings().is_some() {
            continue;
        }
        let bytes = tensor.bytes();
        let mut prefix = bytes[..bytes.len().min(PREFIX)].to_vec();
        prefix.extend_from_slice(&bytes[bytes.len().saturating_sub(PREFIX)..]);
        let known = alike.entry((tensor.dtype().to_onnx(), tensor.shape().to_vec(), prefix)).or_default();
        match known.iter().find(|(_, other)| *other == tensor) {
            Some((kept, _)) if !pinned.contains(name) => {
                alias.insert(name.clone(), (*kept).clone());
            }
            Some(_) => {}
            None => known.push((name, tensor)),
        }
    }
    for input in graph.nodes.iter_mut().flat_map(|node| &mut node.inputs) {
        if let Some(kept) = alias.get(input) {
            *input = kept.clone();
        }
    }
    graph.initializers.retain(|name, _| !alias.contains_key(name));
    graph.values.retain(|name, _| !alias.contains_key(name));
    alias.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::example;

    #[test]
    fn the_example_holds() {
        example::check(include_str!("share.rs"), 17, |model| {
            let known = Known::of(model);
            constants(model, &known) + nodes(model, &known)
        });
    }

    #[test]
    fn two_outputs_keep_their_names() {
        let text = "input x float32[n]\na = Relu(x)\nb = Relu(x)\noutput a float32[n]\noutput b float32[n]";
        let mut model = example::parse(text, 17);
        let known = Known::of(&model);
        assert_eq!(nodes(&mut model, &known), 0);
    }
}
