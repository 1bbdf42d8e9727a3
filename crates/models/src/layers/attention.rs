//! Multi-head self-attention with the position added to queries and keys, not to values.

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

/// Attention of `x` `[batch, tokens, width]` to itself; `position` is added to what queries and keys are made of.
pub(crate) fn self_attention(
    b: &mut Builder,
    w: &Weights,
    name: &str,
    x: &Value,
    position: Option<&Value>,
    spec: Attention<'_>,
) -> Value {
    w.scope(b, name, |b, w| {
        let width = x.size(-1);
        let head = width / spec.heads.max(1);
        let factor = (head as f64).powf(-0.5) as f32;
        let [q_proj, k_proj, v_proj, out_proj] = spec.names;
        let placed = position.map(|position| b.add(x, position));
        let placed = placed.as_ref().unwrap_or(x);
        let scale = (!w.exact()).then(|| RowScale::all(factor));
        let q = scaled_linear(b, w, q_proj, placed, width, scale);
        let k = linear(b, w, k_proj, placed, width);
        let v = linear(b, w, v_proj, x, width);
        let split = [0, 0, spec.heads as i64, head as i64];
        let [q, k, v] = [q, k, v].map(|value| b.reshape(&value, &split));
        let q = b.transpose(&q, &[0, 2, 1, 3]);
        let k = b.transpose(&k, &[0, 2, 3, 1]);
        let v = b.transpose(&v, &[0, 2, 1, 3]);
        let mut scores = b.matmul(&q, &k);
        if w.exact() {
            let factor = b.scalar(factor);
            scores = b.mul(&scores, &factor);
        }
        let shares = b.softmax(&scores, -1);
        let mixed = b.matmul(&shares, &v);
        let mixed = b.transpose(&mixed, &[0, 2, 1, 3]);
        let mixed = b.reshape(&mixed, &[0, 0, width as i64]);
        linear(b, w, out_proj, &mixed, width)
    })
}
