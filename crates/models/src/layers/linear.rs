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
        let weight = transposed(w.tensor("weight", &[out, x.size(-1)]), scale.clone());
        let bias = rescaled(w.tensor("bias", &[out]), scale);
        let weight = b.weight(&w.full("weight"), weight);
        let bias = b.weight(&w.full("bias"), bias);
        let product = b.matmul(x, &weight);
        b.add(&product, &bias)
    })
}

/// Linear layers `layers.0`, `layers.1` … with `ReLU` between them; `sizes` are their outputs.
pub(crate) fn mlp(b: &mut Builder, w: &Weights, name: &str, x: &Value, sizes: &[usize]) -> Value {
    w.scope(b, name, |b, w| {
        let mut x = x.clone();
        for (index, size) in sizes.iter().enumerate() {
            x = linear(b, w, &format!("layers.{index}"), &x, *size);
            if index + 1 < sizes.len() {
                x = b.relu(&x);
            }
        }
        x
    })
}

/// Layer normalization over the last dimension.
pub(crate) fn layer_norm(b: &mut Builder, w: &Weights, name: &str, x: &Value, epsilon: f32) -> Value {
    w.scope(b, name, |b, w| {
        let size = [x.size(-1)];
        let scale = b.weight(&w.full("weight"), widened(w.tensor("weight", &size)));
        let bias = b.weight(&w.full("bias"), widened(w.tensor("bias", &size)));
        b.layer_norm(x, &scale, &bias, epsilon)
    })
}
