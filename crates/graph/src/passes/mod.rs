//! Passes: graph to graph, with the same outputs.
//!
//! A pass that has to compute something takes an evaluator from its caller: there is no operator kernel in this crate.
//! To add one: a file with the graphs before and after in its documentation, its `mod` line, its line in [`PASSES`].

mod convert_fp16;
mod edit;
mod element_types;
#[cfg(test)]
mod example;
mod fold_constants;
mod fold_shapes;
mod fuse_conv;
mod fuse_gemm;
mod interface;
mod known;
mod merge_layout;
mod recompose;
mod remove_noops;
mod set_batch;
mod set_opset;
mod share;
mod simplify;

use crate::Model;
use known::Known;

pub use convert_fp16::{Full, HalfOptions, Halved, convert_fp16};
pub use element_types::float_values;
pub use fold_constants::{Evaluate, fold_constants};
pub use interface::{extract, freeze_input, rename};
pub use set_batch::{Batch, set_batch};
pub use set_opset::{OPSETS, set_opset};
pub use simplify::{Outcome, simplify};

/// One rewriting of a graph.
pub struct Pass {
    /// What users call it.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Passes that [`simplify`] runs: how many nodes or constants went or changed.
    apply: Option<fn(&mut Model, &Known) -> usize>,
}

/// Every pass; [`simplify`] runs its own in this order.
pub static PASSES: &[Pass] = &[
    Pass {
        name: "simplify",
        about: "all of the following that keep the outputs, to a fixed point",
        apply: None,
    },
    Pass { name: "fold-constants", about: "compute what depends on constants only", apply: None },
    Pass {
        name: "lift-constants",
        about: "constant nodes become initializers",
        apply: Some(remove_noops::lift_constants),
    },
    Pass {
        name: "fold-shapes",
        about: "shapes that are known before the graph runs become constants",
        apply: Some(fold_shapes::apply),
    },
    Pass {
        name: "remove-noops",
        about: "nodes that give what they are given",
        apply: Some(remove_noops::apply),
    },
    Pass {
        name: "merge-layout",
        about: "one transpose for several, one reshape for several",
        apply: Some(merge_layout::apply),
    },
    Pass { name: "share-constants", about: "equal constants are stored once", apply: Some(share::constants) },
    Pass { name: "share-nodes", about: "equal nodes are computed once", apply: Some(share::nodes) },
    Pass {
        name: "fuse-conv",
        about: "batch norm and channel constants move into convolutions",
        apply: Some(fuse_conv::apply),
    },
    Pass {
        name: "recompose",
        about: "layer normalization (opset 17) and GELU (opset 20) as one node",
        apply: Some(recompose::apply),
    },
    Pass {
        name: "fuse-gemm",
        about: "matrix product and constant row become Gemm",
        apply: Some(fuse_gemm::apply),
    },
    Pass {
        name: "convert-fp16",
        about: "float16 but where the values seen on real images do not allow it",
        apply: None,
    },
    Pass { name: "set-batch", about: "the batch of the inputs: a number, or a symbol", apply: None },
    Pass { name: "set-opset", about: "operator sets 16 to 22, up and down", apply: None },
    Pass { name: "extract", about: "the part between some values", apply: None },
    Pass { name: "freeze-input", about: "an input becomes a constant", apply: None },
    Pass { name: "rename", about: "inputs and outputs under other names", apply: None },
    Pass { name: "external-data", about: "weights into the file or beside it", apply: None },
];
