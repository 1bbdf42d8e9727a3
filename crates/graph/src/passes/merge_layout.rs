//! `Transpose` after `Transpose` becomes one, `Reshape` (and its relatives) after `Reshape` too.
//!
//! ```text
//! input x float32[n,8,4,4]
//! const s1 int64[3] = 0 8 16
//! const s2 int64[4] = 0 2 4 16
//! a = Reshape(x, s1)
//! b = Reshape(a, s2)
//! c = Transpose(b) {perm=[0,2,1,3]}
//! y = Transpose(c) {perm=[0,1,3,2]}
//! output y float32[n,4,16,2]
//! ```
//!
//! ```text
//! input x float32[n,8,4,4]
//! const b.shape int64[4] = 0 2 4 16
//! b = Reshape(x, b.shape)
//! y = Transpose(b) {perm=[0,2,3,1]}
//! output y float32[n,4,16,2]
//! ```

use super::edit::{Index, add_constant, is, is_standard};
use super::fold_shapes::target_of;
use super::known::Known;
use crate::{Attribute, Graph, Model, Node, Tensor};

const RESHAPING: &[&str] = &["Reshape", "Flatten", "Squeeze", "Unsqueeze"];

/// Merges them; gives the number of merged pairs.
pub(super) fn apply(model: &mut Model, known: &Known) -> usize {
    let graph = &mut model.graph;
    let index = Index::of(graph);
    let mut merged = 0;
    for at in 0..graph.nodes.len() {
        let Some(before) = graph.nodes[at].inputs.first().and_then(|input| index.maker(input)) else {
            continue;
        };
        if transposes(graph, before, at) || reshapes(graph, &index, known, before, at) {
            merged += 1;
        }
    }
    if merged > 0 {
        graph.drop_dead_parts();
    }
    merged
}

fn transposes(graph: &mut Graph, before: usize, at: usize) -> bool {
    let (first, second) = (&graph.nodes[before], &graph.nodes[at]);
    if !is(first, "Transpose") || !is(second, "Transpose") {
        return false;
    }
    let (Some(inner), Some(outer)) = (first.ints("perm"), second.ints("perm")) else { return false };
    let perm = outer.iter().map(|axis| inner.get(usize::try_from(*axis).ok()?).copied());
    let Some(perm) = perm.collect::<Option<Vec<i64>>>().filter(|perm| perm.len() == inner.len()) else {
        return false;
    };
    let data = first.inputs.clone();
    graph.nodes[at].inputs = data;
    graph.nodes[at].attributes.insert("perm".into(), perm.into());
    true
}

fn reshaping(node: &Node) -> bool {
    is_standard(node)
        && RESHAPING.contains(&node.op_type.as_str())
        && node.int("allowzero").unwrap_or(0) == 0
        && node.outputs.len() == 1
}

fn reshapes(graph: &mut Graph, index: &Index, known: &Known, before: usize, at: usize) -> bool {
    let (first, second) = (&graph.nodes[before], &graph.nodes[at]);
    if !reshaping(first) || !reshaping(second) {
        return false;
    }
    let (Some(data), Some(middle), Some(output)) =
        (first.inputs.first(), first.outputs.first(), second.outputs.first())
    else {
        return false;
    };
    // Two views of one value stay two nodes either way: nothing is won then, but the shorter chain.
    if !is(second, "Reshape") && index.only_reader(middle) != Some(at) {
        return false;
    }
    let (Some(from), Some(to)) = (known.shape(data), known.shape(output)) else { return false };
    let Some(target) = target_of(&from, &to) else { return false };
    let (data, base) = (data.clone(), format!("{output}.shape"));
    let Ok(constant) = Tensor::from_i64([target.len()], target) else { return false };
    let name = add_constant(graph, &base, constant);
    let node = &mut graph.nodes[at];
    node.op_type = "Reshape".into();
    node.attributes.retain(|name, value| name == "allowzero" && *value == Attribute::Int(0));
    node.inputs = vec![data, name];
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::example;

    #[test]
    fn the_example_holds() {
        let run = |model: &mut Model| {
            let known = Known::of(model);
            apply(model, &known)
        };
        example::check(include_str!("merge_layout.rs"), 17, run);
    }
}
