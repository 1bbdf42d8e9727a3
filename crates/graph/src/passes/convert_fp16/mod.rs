//! Computes in `float16` where that keeps the numbers, and in `float32` where it does not.
//!
//! ```text
//! x [float32] ─ Conv(w) ─ Relu ─ MatMul(v) ─ Softmax ─ y
//!
//! x [float32] ─ Cast ─ Conv(w [float16]) ─ Relu ─ MatMul(v [float16]) ─ Cast ─ Softmax ─ y [float32]
//! ```
//!
//! Which nodes stay in `float32` is decided by three things: the operator (what adds up many values or leaves the range of
//! eleven bits quickly), the place (what decides a box or a ranking without a layer after it), and the values that were
//! seen on real images. Every node's floating-point inputs have one type, as strongly typed TensorRT networks want it, and a
//! value is cast at most once in each direction.

mod islands;
mod rewrite;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::element_types;
use crate::quantize::Histogram;
use crate::{Error, Model};

/// What the caller decides.
#[derive(Debug, Clone)]
pub struct HalfOptions {
    /// Whether what goes in and comes out stays in `float32`.
    pub keep_io: bool,
    /// Nodes that stay in `float32`, by a value that they make.
    pub pinned: BTreeSet<String>,
}

impl Default for HalfOptions {
    fn default() -> Self {
        Self { keep_io: true, pinned: BTreeSet::new() }
    }
}

/// Why a node stays in `float32`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Full {
    /// Its operator adds up many values, or leaves the range of `float16` quickly, or knows no `float16`.
    Operator,
    /// It places or ranks something without a layer after it.
    Decides,
    /// A value that goes in or comes out was larger than `float16` holds with a margin.
    Overflow,
    /// A value that goes in or comes out was never larger than what `float16` rounds coarsely.
    Underflow,
    /// A constant that it reads does not survive the rounding.
    Constant,
    /// A rounding of what it makes changes a softmax.
    Scores,
    /// A graph inside a node reads what it makes.
    Subgraph,
    /// The caller wants it so.
    Pinned,
    /// Everything around it is in `float32`.
    Between,
}

/// What was done to a graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Halved {
    /// Nodes that compute in `float16`.
    pub half: usize,
    /// Nodes that stay in `float32`, by the first value that they make, and why.
    pub full: Vec<(String, Full)>,
    /// Casts between the two.
    pub casts: usize,
}

/// Converts the main graph. `seen` are the magnitudes of its values on real images, as far as they were watched.
///
/// # Errors
/// [`Error::Invalid`] for a graph that has `float16` or 8-bit roundings already, or nothing in `float32`.
pub fn convert_fp16(
    model: &mut Model,
    seen: &BTreeMap<String, Histogram>,
    options: &HalfOptions,
) -> Result<Halved, Error> {
    rewrite::constants_become_initializers(&mut model.graph)?;
    let types = element_types::of(&model.graph);
    if let Some(node) = model.graph.nodes.iter().find(|node| node.op_type.ends_with("QuantizeLinear")) {
        let name = node.outputs.first().map_or("", String::as_str);
        return Err(Error::Invalid(format!("`{name}` is rounded to 8 bits: convert the graph before that")));
    }
    let full = islands::find(&model.graph, &types, seen, options);
    let half = full.iter().filter(|why| **why == Some(None)).count();
    if half == 0 {
        return Err(Error::Invalid("no node computes in float32 and could compute in float16".into()));
    }
    let names = model.graph.nodes.iter().zip(&full);
    let kept = names.filter_map(|(node, why)| Some((node.outputs.first()?.clone(), (*why)??)));
    let kept = kept.collect();
    let casts = rewrite::apply(&mut model.graph, &types, &full, options.keep_io)?;
    Ok(Halved { half, full: kept, casts })
}
