//! The block of a vision transformer: attention, then an MLP, each behind a normalization and added to what came in.
//!
//! Papers: <https://arxiv.org/abs/2010.11929>, layer scale <https://arxiv.org/abs/2103.17239>, gated MLP
//! <https://arxiv.org/abs/2002.05202>. Unless the graph has to be exact, queries, keys and values are one product, and
//! the factors of scores and of layer scale are folded into the projections.

use graph::{Builder, Value};

use super::attention::{attend, attend_heads, head_factor};
use super::linear::{linear, scaled_linear, unbiased_linear};
use super::stored::{RowScale, beside, end_to_end, floats, transposed, widened};
use super::{Activation, layer_norm};
use crate::weights::Weights;

/// The factor of `quick_gelu`.
const QUICK: f32 = 1.702;

/// The names and sizes of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VitBlock<'a> {
    /// Normalizations before the attention and before the MLP.
    pub(crate) norms: [&'a str; 2],
    /// Their ε.
    pub(crate) epsilon: f32,
    pub(crate) attention: VitAttention<'a>,
    pub(crate) mlp: VitMlp<'a>,
    /// Vectors that scale what the attention and the MLP add.
    pub(crate) scales: Option<[&'a str; 2]>,
}

/// The attention of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VitAttention<'a> {
    /// Projections of queries, keys, values and of the result, which always has a bias.
    pub(crate) names: [&'a str; 4],
    /// Whether queries, keys and values have a bias.
    pub(crate) biased: [bool; 3],
    pub(crate) heads: usize,
    /// Width of one head.
    pub(crate) head: usize,
    /// How many neighbours in the batch (windows of one image) attend to each other; 1 for each to itself.
    pub(crate) merged: usize,
}

/// What follows the attention.
#[derive(Debug, Clone, Copy)]
pub(crate) enum VitMlp<'a> {
    /// Two linear layers with an activation between them.
    Plain { names: [&'a str; 2], hidden: usize, activation: Activation },
    /// `down(activation(gate(x)) × up(x))`; the names in that order: gate, up, down.
    Gated { names: [&'a str; 3], hidden: usize, activation: Activation },
}

/// The block of `x` `[batch, tokens, width]`; its parts lie directly below `w`.
pub(crate) fn vit_block(b: &mut Builder, w: &Weights, x: &Value, spec: &VitBlock<'_>) -> Value {
    let [scale1, scale2] = spec.scales.map_or([None; 2], |names| names.map(Some));
    let normal = layer_norm(b, w, spec.norms[0], x, spec.epsilon);
    let attended = attention(b, w, &normal, spec.attention, scale1);
    let x = b.add(x, &attended);
    let normal = layer_norm(b, w, spec.norms[1], &x, spec.epsilon);
    let fed = mlp(b, w, &normal, spec.mlp, scale2);
    b.add(&x, &fed)
}

fn attention(b: &mut Builder, w: &Weights, x: &Value, spec: VitAttention<'_>, scale: Option<&str>) -> Value {
    let inner = spec.heads * spec.head;
    let tokens = x.size(1);
    let mixed = if w.exact() {
        let x = b.reshape(x, &[-1, (spec.merged * tokens) as i64, x.size(-1) as i64]);
        let [q, k, v] = [0, 1, 2].map(|at| {
            let project = if spec.biased[at] { linear } else { unbiased_linear };
            project(b, w, spec.names[at], &x, inner)
        });
        attend(b, [&q, &k, &v], None, spec.heads, false)
    } else {
        let projected = projections(b, w, x, spec);
        let sizes = [-1, (spec.merged * tokens) as i64, 3 * spec.heads as i64, spec.head as i64];
        let apart = b.reshape(&projected, &sizes);
        attend_joined(b, &apart, spec.heads)
    };
    let mixed = b.reshape(&mixed, &[-1, tokens as i64, inner as i64]);
    added(b, w, spec.names[3], &mixed, x.size(-1), scale)
}

/// Queries (divided by the root of their width), keys and values of all heads, side by side.
pub(super) fn projections(b: &mut Builder, w: &Weights, x: &Value, spec: VitAttention<'_>) -> Value {
    let inner = spec.heads * spec.head;
    let factor = head_factor(inner, spec.heads);
    let (mut matrices, mut biases) = (Vec::new(), Vec::new());
    for ((name, biased), factor) in spec.names.iter().zip(spec.biased).zip([factor, 1.0, 1.0]) {
        let w = w.child(name);
        matrices.push((w.tensor("weight", &[inner, x.size(-1)]), factor));
        biases.push((biased.then(|| w.tensor("bias", &[inner])), factor));
    }
    let weight = b.weight(&w.full("qkv.weight"), beside(matrices));
    b.scoped("qkv", |b| {
        let product = b.matmul(x, &weight);
        if !spec.biased.contains(&true) {
            return product;
        }
        let bias = b.weight(&w.full("qkv.bias"), end_to_end(biases, inner));
        b.add(&product, &bias)
    })
}

/// `softmax(q kᵀ) v` of `[batch, tokens, 3 × heads, head]`: `[batch, tokens, heads, head]`.
fn attend_joined(b: &mut Builder, joined: &Value, heads: usize) -> Value {
    let by_head = b.transpose(joined, &[0, 2, 1, 3]);
    let parts = b.split(&by_head, &[heads; 3], 1);
    let [q, k, v] = &parts[..] else { return by_head };
    let k = b.transpose(k, &[0, 1, 3, 2]);
    attend_heads(b, [q, &k, v], &[], None)
}

fn mlp(b: &mut Builder, w: &Weights, x: &Value, spec: VitMlp<'_>, scale: Option<&str>) -> Value {
    match spec {
        VitMlp::Plain { names, hidden, activation: Activation::QuickGelu }
            if !w.exact() && scale.is_none() =>
        {
            quick_mlp(b, w, x, names, hidden)
        }
        VitMlp::Plain { names: [fc1, fc2], hidden, activation } => {
            let inner = linear(b, w, fc1, x, hidden);
            let inner = activation.apply(b, &inner);
            added(b, w, fc2, &inner, x.size(-1), scale)
        }
        VitMlp::Gated { names: [gate, up, down], hidden, activation } => {
            let gated = linear(b, w, gate, x, hidden);
            let gated = activation.apply(b, &gated);
            let upper = linear(b, w, up, x, hidden);
            let inner = b.mul(&gated, &upper);
            added(b, w, down, &inner, x.size(-1), scale)
        }
    }
}

/// `x σ(1.702 x)` is `silu(1.702 x) / 1.702`: the factor is in the layer before and the divisor in the one behind.
fn quick_mlp(b: &mut Builder, w: &Weights, x: &Value, [fc1, fc2]: [&str; 2], hidden: usize) -> Value {
    let width = x.size(-1);
    let inner = scaled_linear(b, w, fc1, x, hidden, Some(RowScale::all(QUICK)));
    let inner = b.silu(&inner);
    w.scope(b, fc2, |b, w| {
        let divided = |weight| transposed(weight, Some(RowScale::all(1.0 / QUICK)));
        let weight = w.constant(b, "weight", &[width, hidden], divided);
        let bias = w.constant(b, "bias", &[width], widened);
        let product = b.matmul(&inner, &weight);
        b.add(&product, &bias)
    })
}

/// A linear layer whose result the vector called `scale` multiplies.
fn added(b: &mut Builder, w: &Weights, name: &str, x: &Value, width: usize, scale: Option<&str>) -> Value {
    let Some(scale) = scale else { return linear(b, w, name, x, width) };
    if w.exact() {
        let sum = linear(b, w, name, x, width);
        let scale = w.constant(b, scale, &[width], widened);
        return b.mul(&sum, &scale);
    }
    let scale = floats(&w.tensor(scale, &[width])).into_owned();
    scaled_linear(b, w, name, x, width, Some(RowScale::each(scale)))
}
