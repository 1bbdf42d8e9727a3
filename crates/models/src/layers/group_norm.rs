//! Group normalization.

use graph::{Builder, Tensor, Value};

use super::stored::widened;
use crate::weights::Weights;

/// Normalization of `x` `[batch, channels, height, width]` over each of `groups` of channels and the whole map.
pub(crate) fn group_norm(
    b: &mut Builder,
    w: &Weights,
    name: &str,
    x: &Value,
    groups: usize,
    epsilon: f32,
) -> Value {
    w.scope(b, name, |b, w| {
        let channels = x.size(1);
        let by_channel = |vector: Tensor| {
            let vector = widened(vector);
            vector.reshaped([channels, 1, 1]).unwrap_or(vector)
        };
        let scale = w.constant(b, "weight", &[channels], by_channel);
        let bias = w.constant(b, "bias", &[channels], by_channel);
        b.group_norm(x, groups, [&scale, &bias], epsilon)
    })
}
