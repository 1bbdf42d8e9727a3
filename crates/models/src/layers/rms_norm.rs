//! Root-mean-square normalization: <https://arxiv.org/abs/1910.07467>.

use graph::{Builder, Value};

use super::stored::widened;
use crate::weights::Weights;

/// `x / √(mean(x²) + ε) × weight` over the last dimension.
pub(crate) fn rms_norm(b: &mut Builder, w: &Weights, name: &str, x: &Value, epsilon: f32) -> Value {
    w.scope(b, name, |b, w| {
        let weight = w.constant(b, "weight", &[x.size(-1)], widened);
        let square = b.mul(x, x);
        let mean = b.reduce_mean(&square, &[-1], true);
        let epsilon = b.scalar(epsilon);
        let stable = b.add(&mean, &epsilon);
        let root = b.sqrt(&stable);
        let normal = b.div(x, &root);
        b.mul(&normal, &weight)
    })
}
