//! Multi-head attention.

use graph::{Builder, Value};

use super::linear::scaled_linear;
use super::{linear, stored::RowScale};
use crate::weights::Weights;

/// The names and sizes of an attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) heads: usize,
    /// Projections of queries, keys, values and of the result.
    pub(crate) names: [&'a str; 4],
}

/// What an attention is made from, `[batch, tokens, width]` each.
#[derive(Clone, Copy)]
pub(crate) struct Attended<'a> {
    pub(crate) queries: &'a Value,
    pub(crate) keys: &'a Value,
    pub(crate) values: &'a Value,
    /// Added to the scores `[batch, heads, queries, keys]`, broadcast: 0 where a key counts, very small where not.
    pub(crate) bias: Option<&'a Value>,
}

/// Attention of `x` `[batch, tokens, width]` to itself; `position` is added to what queries and keys are made of, not to
/// the values.
pub(crate) fn self_attention(
    b: &mut Builder,
    w: &Weights,
    name: &str,
    x: &Value,
    position: Option<&Value>,
    spec: Attention<'_>,
) -> Value {
    let placed = position.map(|position| b.scoped(name, |b| b.add(x, position)));
    let placed = placed.as_ref().unwrap_or(x);
    attention(b, w, name, Attended { queries: placed, keys: placed, values: x, bias: None }, spec)
}

/// Attention with four projections, as wide as the queries.
pub(crate) fn attention(
    b: &mut Builder,
    w: &Weights,
    name: &str,
    of: Attended<'_>,
    spec: Attention<'_>,
) -> Value {
    w.scope(b, name, |b, w| {
        let width = of.queries.size(-1);
        let [q_proj, k_proj, v_proj, out_proj] = spec.names;
        let scale = (!w.exact()).then(|| RowScale::all(head_factor(width, spec.heads)));
        let q = scaled_linear(b, w, q_proj, of.queries, width, scale);
        let k = linear(b, w, k_proj, of.keys, width);
        let v = linear(b, w, v_proj, of.values, width);
        let scaled = !w.exact();
        let mixed = attend(b, [&q, &k, &v], of.bias, spec.heads, scaled);
        linear(b, w, out_proj, &mixed, width)
    })
}

/// What scores are multiplied by: the inverse square root of the width of a head.
pub(crate) fn head_factor(width: usize, heads: usize) -> f32 {
    ((width / heads.max(1)) as f64).powf(-0.5) as f32
}

/// `softmax(q kᵀ / √d + bias) v` by heads, from projected queries, keys and values `[batch, …, tokens, width]`; values may
/// be of another width, which is the result's. With `scaled` the factor is in the queries already.
pub(crate) fn attend(
    b: &mut Builder,
    [q, k, v]: [&Value; 3],
    bias: Option<&Value>,
    heads: usize,
    scaled: bool,
) -> Value {
    let factor = (!scaled).then(|| head_factor(q.size(-1), heads));
    // Axes before the tokens; after the split they are followed by tokens, heads and elements.
    let front = q.rank().saturating_sub(2);
    let [q, k, v] = [q, k, v].map(|value| {
        let head = value.size(-1) / heads.max(1);
        let mut sizes = vec![0; front + 1];
        sizes.extend([heads as i64, head as i64]);
        b.reshape(value, &sizes)
    });
    let order = |last: [usize; 3]| -> Vec<usize> { (0..front).chain(last.map(|at| front + at)).collect() };
    let q = b.transpose(&q, &order([1, 0, 2]));
    let k = b.transpose(&k, &order([1, 2, 0]));
    let v = b.transpose(&v, &order([1, 0, 2]));
    let mixed = attend_heads(b, [&q, &k, &v], bias.as_slice(), factor);
    b.flatten_from(&mixed, front + 1)
}

/// [`attend`] for heads that lie apart: queries and values `[batch, …, heads, tokens, head]`, keys
/// `[batch, …, heads, head, tokens]`. Scores are multiplied by `factor` and every bias is added to them. The result is
/// `[batch, …, tokens, heads, head]`.
pub(crate) fn attend_heads(
    b: &mut Builder,
    [q, k, v]: [&Value; 3],
    biases: &[&Value],
    factor: Option<f32>,
) -> Value {
    let mut scores = b.matmul(q, k);
    if let Some(factor) = factor {
        let factor = b.scalar(factor);
        scores = b.mul(&scores, &factor);
    }
    for bias in biases {
        scores = b.add(&scores, bias);
    }
    let shares = b.softmax(&scores, -1);
    let mixed = b.matmul(&shares, v);
    let rank = mixed.rank();
    let mut order: Vec<usize> = (0..rank).collect();
    if rank >= 3 {
        order.swap(rank - 3, rank - 2);
    }
    b.transpose(&mixed, &order)
}
