//! `MatMul` of a matrix with constant weights and `Add` of a constant row become `Gemm`.
//!
//! ```text
//! input x float32[n,2]
//! const w float32[2,3] = 1 2 3 4 5 6
//! const b float32[3] = 1 2 3
//! a = MatMul(x, w)
//! y = Add(b, a)
//! output y float32[n,3]
//! ```
//!
//! ```text
//! input x float32[n,2]
//! const w float32[2,3] = 1 2 3 4 5 6
//! const b float32[3] = 1 2 3
//! y = Gemm(x, w, b)
//! output y float32[n,3]
//! ```

use super::edit::{Index, is};
use super::known::Known;
use crate::{DataType, Model};

/// Joins them; gives their number.
pub(super) fn apply(model: &mut Model, known: &Known) -> usize {
    let graph = &mut model.graph;
    let index = Index::of(graph);
    let mut gone = vec![false; graph.nodes.len()];
    for at in 0..graph.nodes.len() {
        let product = &graph.nodes[at];
        let ([data, weight], [output]) = (product.inputs.as_slice(), product.outputs.as_slice()) else {
            continue;
        };
        let Some(after) = index.only_reader(output).filter(|_| is(product, "MatMul")) else { continue };
        let sum = &graph.nodes[after];
        let [first, second] = sum.inputs.as_slice() else { continue };
        let bias = if first == output { second } else { first };
        let (Some(weights), Some(row)) = (graph.initializers.get(weight), graph.initializers.get(bias))
        else {
            continue;
        };
        let width = weights.shape().get(1).copied();
        let is_row = matches!(row.shape(), [size] | [1, size] if Some(*size) == width);
        let floats = weights.dtype() == DataType::F32 && row.dtype() == DataType::F32;
        if !is(sum, "Add") || weights.shape().len() != 2 || known.rank(data) != Some(2) || !is_row || !floats
        {
            continue;
        }
        let (inputs, outputs) = (vec![data.clone(), weight.clone(), bias.clone()], sum.outputs.clone());
        let node = &mut graph.nodes[at];
        node.op_type = "Gemm".into();
        (node.inputs, node.outputs) = (inputs, outputs);
        gone[after] = true;
    }
    let mut each = gone.iter();
    graph.nodes.retain(|_| !each.next().copied().unwrap_or(false));
    gone.iter().filter(|gone| **gone).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::example;

    fn run(model: &mut Model) -> usize {
        let known = Known::of(model);
        apply(model, &known)
    }

    #[test]
    fn the_example_holds() {
        example::check(include_str!("fuse_gemm.rs"), 17, run);
    }

    #[test]
    fn three_dimensions_stay() {
        let text = "input x float32[n,5,2]\nconst w float32[2,1] = 1 2\nconst b float32[1] = 1\na = MatMul(x, w)\ny = Add(a, b)\noutput y float32[n,5,1]";
        assert_eq!(run(&mut example::parse(text, 17)), 0);
    }
}
