//! Fully connected layers and layer normalization.
//!
//! A checkpoint stores a matrix as `[out, in]`; ONNX's `MatMul` wants `[in, out]`, which is computed while the graph is
//! written.

use graph::{Builder, Value};

use super::Activation;
use super::stored::{RowScale, joined_rows, rescaled, transposed, widened};
use crate::weights::Weights;

/// `x · weightᵀ + bias` over the last dimension, to `out` elements.
pub(crate) fn linear(b: &mut Builder, w: &Weights, name: &str, x: &Value, out: usize) -> Value {
    scaled_linear(b, w, name, x, out, None)
}

/// `x · weightᵀ` over the last dimension: a linear layer that was trained without a bias.
pub(crate) fn unbiased_linear(b: &mut Builder, w: &Weights, name: &str, x: &Value, out: usize) -> Value {
    w.scope(b, name, |b, w| {
        let weight = w.constant(b, "weight", &[out, x.size(-1)], |weight| transposed(weight, None));
        b.matmul(x, &weight)
    })
}

/// As [`linear`], the result multiplied by a constant that is folded into weight and bias.
pub(crate) fn scaled_linear(
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

/// Linear layers of the same input as one: their results one after the other, `out` elements in all. The result is
/// multiplied by the factors of `scale`.
pub(crate) fn joined_linear(
    b: &mut Builder,
    w: &Weights,
    names: &[&str],
    x: &Value,
    out: usize,
    biased: bool,
    scale: Option<RowScale>,
) -> Value {
    let (each, inner) = (out / names.len().max(1), x.size(-1));
    let name = names.join("_");
    let weight = names.iter().map(|name| w.child(name).tensor("weight", &[each, inner])).collect();
    let weight = transposed(joined_rows(weight, &[out, inner]), scale.clone());
    let weight = b.weight(&w.full(&format!("{name}.weight")), weight);
    let bias = biased.then(|| {
        let bias = names.iter().map(|name| w.child(name).tensor("bias", &[each])).collect();
        b.weight(&w.full(&format!("{name}.bias")), rescaled(joined_rows(bias, &[out]), scale))
    });
    b.scoped(name, |b| {
        let product = b.matmul(x, &weight);
        bias.map_or(product.clone(), |bias| b.add(&product, &bias))
    })
}

/// Linear layers `layers.0`, `layers.1` … with `ReLU` between them; `sizes` are their outputs.
pub(crate) fn mlp(b: &mut Builder, w: &Weights, name: &str, x: &Value, sizes: &[usize]) -> Value {
    w.scope(b, name, |b, w| mlp_of(b, w, x, sizes))
}

/// As [`mlp`], with the weights of the module itself.
pub(crate) fn mlp_of(b: &mut Builder, w: &Weights, x: &Value, sizes: &[usize]) -> Value {
    in_turn(b, w, x, sizes, Activation::Relu)
}

/// As [`mlp`], with another activation.
pub(crate) fn activated_mlp(
    b: &mut Builder,
    w: &Weights,
    name: &str,
    x: &Value,
    sizes: &[usize],
    activation: Activation,
) -> Value {
    w.scope(b, name, |b, w| in_turn(b, w, x, sizes, activation))
}

fn in_turn(b: &mut Builder, w: &Weights, x: &Value, sizes: &[usize], activation: Activation) -> Value {
    let mut x = x.clone();
    for (index, size) in sizes.iter().enumerate() {
        x = linear(b, w, &format!("layers.{index}"), &x, *size);
        if index + 1 < sizes.len() {
            x = activation.apply(b, &x);
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
