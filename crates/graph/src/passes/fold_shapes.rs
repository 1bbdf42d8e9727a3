//! Shapes that are known before the graph runs become constants, those that hold a symbol a `Reshape` with 0 or -1.
//!
//! ```text
//! input x float32[n,8,4,4]
//! const first int64[] = 0
//! const zero int64[1] = 0
//! const rest int64[2] = 8 16
//! s = Shape(x)
//! b = Gather(s, first)
//! u = Unsqueeze(b, zero)
//! t = Concat(u, rest) {axis=0}
//! y = Reshape(x, t)
//! output y float32[n,8,16]
//! ```
//!
//! ```text
//! input x float32[n,8,4,4]
//! const y.shape int64[3] = 0 8 16
//! y = Reshape(x, y.shape)
//! output y float32[n,8,16]
//! ```

use rten_shape_inference::SymExpr;

use super::edit::{add_constant, integers, is, is_standard, pinned};
use super::known::{Known, number};
use crate::{Model, Tensor};

/// Nodes that make shapes, and may be computed from what is known.
const MAKERS: &[&str] = &[
    "Shape",
    "Size",
    "Gather",
    "Concat",
    "Slice",
    "Squeeze",
    "Unsqueeze",
    "Cast",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Mod",
    "Where",
    "Min",
    "Max",
    "Reshape",
    "Identity",
    "ConstantOfShape",
    "Neg",
    "ReduceProd",
    "Range",
    "Expand",
    "Split",
    "Transpose",
    "Abs",
];

/// Replaces them; gives the number of nodes that went or changed.
pub(super) fn apply(model: &mut Model, known: &Known) -> usize {
    constants(model, known) + targets(model, known)
}

/// Integers that are the same whatever comes in.
fn constants(model: &mut Model, known: &Known) -> usize {
    let graph = &mut model.graph;
    let pinned = pinned(graph);
    let mut found = Vec::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        let [output] = node.outputs.as_slice() else { continue };
        let makes = is_standard(node) && MAKERS.contains(&node.op_type.as_str()) && !pinned.contains(output);
        if let Some(tensor) = Some(output).filter(|_| makes).and_then(|output| known.constant(output)) {
            found.push((at, output.clone(), tensor));
        }
    }
    let count = found.len();
    for (at, output, tensor) in found.into_iter().rev() {
        graph.nodes.remove(at);
        graph.values.shift_remove(&output);
        graph.initializers.insert(output, tensor);
    }
    count
}

/// Targets of `Reshape` that are made while the graph runs.
fn targets(model: &mut Model, known: &Known) -> usize {
    let graph = &mut model.graph;
    let mut changed = 0;
    for at in 0..graph.nodes.len() {
        let node = &graph.nodes[at];
        let [data, target] = node.inputs.as_slice() else { continue };
        if !is(node, "Reshape")
            || node.int("allowzero").unwrap_or(0) != 0
            || integers(graph, target).is_some()
        {
            continue;
        }
        let (Some(from), Some(to)) = (known.shape(data), known.elements(target)) else { continue };
        let Some(constant) =
            target_of(&from, to).and_then(|sizes| Tensor::from_i64([sizes.len()], sizes).ok())
        else {
            continue;
        };
        let base = format!("{}.shape", node.outputs.first().map_or("", String::as_str));
        let name = add_constant(graph, &base, constant);
        graph.nodes[at].inputs[1] = name;
        changed += 1;
    }
    changed
}

/// What a `Reshape` from `from` has to be given to make `to`: numbers, 0 where a size stays in its place, at most one -1.
/// `None` when that cannot be said exactly.
pub(super) fn target_of(from: &[SymExpr], to: &[SymExpr]) -> Option<Vec<i64>> {
    let mut target = Vec::with_capacity(to.len());
    for (at, size) in to.iter().enumerate() {
        target.push(match number(size) {
            Some(size) if size > 0 || size == -1 => size,
            // A size of nothing, or one that is copied: only where it is known what is copied.
            Some(_) => return None,
            None if from.get(at) == Some(size) => 0,
            None if matches!(size, SymExpr::Value(_)) => return None,
            None => -1,
        });
    }
    let inferred = target.iter().filter(|size| **size == -1).count();
    (inferred <= 1).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::example;

    #[test]
    fn the_example_holds() {
        let run = |model: &mut Model| apply(model, &Known::of(model));
        example::check(include_str!("fold_shapes.rs"), 17, run);
    }

    #[test]
    fn two_unknown_sizes_stay() {
        let text = "input x float32[n,m]\ninput t float32[k,l]\ns = Shape(t)\ny = Reshape(x, s)\noutput y float32[k,l]";
        let mut model = example::parse(text, 17);
        let known = Known::of(&model);
        assert_eq!(apply(&mut model, &known), 0);
    }
}
