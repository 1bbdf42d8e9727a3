//! Fully connected layers and layer normalization.
//!
//! A checkpoint stores a matrix as `[out, in]`; ONNX's `MatMul` wants `[in, out]`, which is computed while the graph is
//! written.

use graph::{Builder, Value};

use super::stored::{RowScale, rescaled, transposed, widened};
use crate::weights::Weights;

/// `x · weightᵀ + bias` over the last dimension, to `out` elements.
pub(crate) fn linear(b: &mut Builder, w: &Weights, name: &str, x: &Value, out: usize) -> Value {
    scaled_linear(b, w, name, x, out, None)
}

/// `x · weightᵀ` over the last dimension: a linear layer that was trained without a bias.
#[expect(dead_code, reason = "the families that follow use it")]
pub(crate) fn unbiased_linear(b: &mut Builder, w: &Weights, name: &str, x: &Value, out: usize) -> Value {
    w.scope(b, name, |b, w| {
        let weight = w.constant(b, "weight", &[out, x.size(-1)], |weight| transposed(weight, None));
        b.matmul(x, &weight)
    })
}

/// As [`linear`], the result multiplied by a constant that is folded into weight and bias.
pub(super) fn scaled_linear(
    b: &mut Builder,
    w: &Weights,
    name: &str,
    x: &Value,
    out: usize,
    scale: Option<RowScale>,
) -> Value {
    w.scope(b, name, |b, w| {
        let own = scale.clone();
        let weight = w.constant(b, "weight", &[out, x.size(-1)], |weight| transposed(weight, own));
        let bias = w.constant(b, "bias", &[out], |bias| rescaled(bias, scale));
        let product = b.matmul(x, &weight);
        b.add(&product, &bias)
    })
}

/// Linear layers `layers.0`, `layers.1` … with `ReLU` between them; `sizes` are their outputs.
pub(crate) fn mlp(b: &mut Builder, w: &Weights, name: &str, x: &Value, sizes: &[usize]) -> Value {
    w.scope(b, name, |b, w| mlp_of(b, w, x, sizes))
}

/// As [`mlp`], with the weights of the module itself.
pub(crate) fn mlp_of(b: &mut Builder, w: &Weights, x: &Value, sizes: &[usize]) -> Value {
    let mut x = x.clone();
    for (index, size) in sizes.iter().enumerate() {
        x = linear(b, w, &format!("layers.{index}"), &x, *size);
        if index + 1 < sizes.len() {
            x = b.relu(&x);
        }
    }
    x
}

/// Layer normalization over the last dimension.
pub(crate) fn layer_norm(b: &mut Builder, w: &Weights, name: &str, x: &Value, epsilon: f32) -> Value {
    w.scope(b, name, |b, w| {
        let size = [x.size(-1)];
        let scale = w.constant(b, "weight", &size, widened);
        let bias = w.constant(b, "bias", &size, widened);
        b.layer_norm(x, &scale, &bias, epsilon)
    })
}
