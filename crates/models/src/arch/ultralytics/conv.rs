//! Convolutions of the library: each with its normalization and activation, in several arrangements.
//!
//! In a file that was fused already there is no normalization, and branches that are summed lie in one convolution.

use graph::builder::Pool;
use graph::{Builder, Tensor, Value};

use super::module::Layer;
use super::torch_nn::{self, Kernel, kernel};
use crate::Error;
use crate::layers::{Branch, Norm, deferred_floats, fold};

/// Weight and bias of a convolution with its normalization folded in.
pub(super) struct Folded {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    pub(super) moves: graph::builder::Conv,
}

/// A `Conv`: convolution, normalization, activation.
pub(super) fn conv(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    bordered(b, layer, x, [0; 4])
}

/// A `Conv` whose input has so many zeros more around it: above, left, below, right.
pub(super) fn bordered(
    b: &mut Builder,
    layer: &Layer<'_>,
    x: &Value,
    border: [usize; 4],
) -> Result<Value, Error> {
    let y = if layer.w.exact() {
        let x = if border == [0; 4] { x.clone() } else { b.zero_border(x, border) };
        let y = layer.apply(b, "conv", &x)?;
        match norm(layer, y.size(1))? {
            Some(norm) => norm.apply(b, &layer.w, "bn", &y),
            None => y,
        }
    } else {
        let mut folded = folded(layer, x)?;
        for (side, more) in folded.moves.padding.iter_mut().zip(border) {
            *side += more;
        }
        convolve(b, layer, "conv", x, folded)
    };
    layer.apply(b, "act", &y)
}

/// The folded convolution of a `Conv` that its activation does not change.
///
/// # Errors
/// As [`folded`], or an activation other than `Identity`.
pub(super) fn folded_linear(layer: &Layer<'_>, x: &Value) -> Result<Folded, Error> {
    let act = layer.child("act")?;
    if act.kind() != "Identity" {
        return Err(act.unsupported("Identity"));
    }
    folded(layer, x)
}

/// Convolution and normalization of a `Conv`.
pub(super) fn folded(layer: &Layer<'_>, x: &Value) -> Result<Folded, Error> {
    let Kernel { shape, moves } = kernel(&layer.child("conv")?, x)?;
    let (weight, bias) = fold(vec![branch(layer, shape)?], shape);
    Ok(Folded { weight, bias, moves })
}

/// A convolution as one node.
pub(super) fn convolve(b: &mut Builder, layer: &Layer<'_>, name: &str, x: &Value, folded: Folded) -> Value {
    let weight = b.weight(&layer.w.full(&format!("{name}.weight")), folded.weight);
    let bias = b.weight(&layer.w.full(&format!("{name}.bias")), folded.bias);
    b.scoped(name, |b| b.conv(x, &weight, Some(&bias), folded.moves))
}

/// The normalization of a `Conv`, where it is not fused.
fn norm(layer: &Layer<'_>, channels: usize) -> Result<Option<Norm>, Error> {
    layer.optional("bn").map_or(Ok(None), |bn| torch_nn::norm(&bn, channels))
}

/// Kernel, bias and normalization of a `Conv`.
fn branch(layer: &Layer<'_>, shape: [usize; 4]) -> Result<Branch, Error> {
    let conv = layer.child("conv")?;
    Ok(Branch {
        kernel: conv.w.tensor("weight", &shape),
        bias: conv.w.shape("bias").map(|_| conv.w.tensor("bias", &shape[..1])),
        norm: norm(layer, shape[0])?,
    })
}

/// The sum of the `Conv`s of these names (without their activations) and, where there is one, of the normalization `bn`
/// of the input itself; the first has the largest kernel.
fn summed(b: &mut Builder, layer: &Layer<'_>, names: [&str; 2], x: &Value) -> Result<Value, Error> {
    let identity = layer.optional("bn");
    if layer.w.exact() {
        let large = layer.apply(b, names[0], x)?;
        let small = layer.apply(b, names[1], x)?;
        let sum = b.add(&large, &small);
        return match identity {
            Some(_) => {
                let own = layer.apply(b, "bn", x)?;
                Ok(b.add(&sum, &own))
            }
            None => Ok(sum),
        };
    }
    let (large, small) = (layer.child(names[0])?, layer.child(names[1])?);
    let Kernel { shape, moves } = kernel(&large.child("conv")?, x)?;
    let inner = kernel(&small.child("conv")?, x)?;
    // The same window, seen from the larger kernel.
    let same_place = (0..2).all(|at| {
        let margin = shape[2 + at].checked_sub(inner.shape[2 + at]).filter(|margin| margin % 2 == 0);
        margin.and_then(|margin| inner.moves.padding[at].checked_add(margin / 2)) == Some(moves.padding[at])
    });
    let same_moves = (moves.stride, moves.groups, moves.dilation)
        == (inner.moves.stride, inner.moves.groups, inner.moves.dilation);
    if !same_place || !same_moves || moves.dilation != [1, 1] || shape[..2] != inner.shape[..2] {
        return Err(small.unsupported("a branch that moves as the larger one does"));
    }
    for branch in [&large, &small] {
        let act = branch.child("act")?;
        if act.kind() != "Identity" {
            return Err(act.unsupported("Identity"));
        }
    }
    let mut branches = vec![branch(&large, shape)?, branch(&small, inner.shape)?];
    if let Some(bn) = identity {
        let same_size = moves.stride == [1, 1] && shape[0] == x.size(1);
        let Some(norm) = torch_nn::norm(&bn, shape[0])?.filter(|_| same_size) else {
            return Err(bn.unsupported("the normalization of an input as wide as the output"));
        };
        branches.push(Branch { kernel: identity_kernel(shape[0], shape[1]), bias: None, norm: Some(norm) });
    }
    let (weight, bias) = fold(branches, shape);
    Ok(convolve(b, layer, names[0], x, Folded { weight, bias, moves }))
}

/// A 1×1 convolution that changes nothing, with `inputs` channels in a group.
fn identity_kernel(out: usize, inputs: usize) -> Tensor {
    deferred_floats(&[out, inputs, 1, 1], move || {
        let mut values = vec![0.0; out * inputs];
        for row in 0..out {
            values[row * inputs + row % inputs.max(1)] = 1.0;
        }
        values
    })
}

/// `RepConv`: a 3×3 and a 1×1 convolution, summed (`RepVGG`, <https://arxiv.org/abs/2101.03697>).
pub(super) fn rep_conv(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let y = if layer.optional("conv").is_some() {
        layer.apply(b, "conv", x)?
    } else {
        summed(b, layer, ["conv1", "conv2"], x)?
    };
    layer.apply(b, "act", &y)
}

/// `RepVGGDW`: depthwise 7×7 and 3×3 convolutions, summed.
pub(super) fn rep_vgg_dw(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let y = if layer.optional("conv1").is_none() {
        layer.apply(b, "conv", x)?
    } else {
        summed(b, layer, ["conv", "conv1"], x)?
    };
    layer.apply(b, "act", &y)
}

pub(super) fn light_conv(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let y = layer.apply(b, "conv1", x)?;
    layer.apply(b, "conv2", &y)
}

/// `GhostConv`: half of the channels are made of the other half.
pub(super) fn ghost_conv(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let y = layer.apply(b, "cv1", x)?;
    let cheap = layer.apply(b, "cv2", &y)?;
    Ok(b.concat(&[&y, &cheap], 1))
}

/// `Focus`: every second pixel, from four beginnings, as channels.
pub(super) fn focus(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let (height, width) = (x.size(2), x.size(3));
    let parts = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(top, left)| {
        let rows = b.slice_by(x, 2, top, height, 2);
        b.slice_by(&rows, 3, left, width, 2)
    });
    let joined = b.concat(&parts.each_ref(), 1);
    layer.apply(b, "conv", &joined)
}

pub(super) fn conv_transpose(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let mut y = layer.apply(b, "conv_transpose", x)?;
    if layer.optional("bn").is_some() {
        y = layer.apply(b, "bn", &y)?;
    }
    layer.apply(b, "act", &y)
}

/// `SCDown`: channels first, then a depthwise convolution that reduces.
pub(super) fn sc_down(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let y = layer.apply(b, "cv1", x)?;
    layer.apply(b, "cv2", &y)
}

/// The mean of each 2×2 window, one pixel smaller.
fn smoothed(b: &mut Builder, x: &Value) -> Value {
    b.average_pool(x, Pool { kernel: 2, stride: 1, padding: 0, ceil: false })
}

/// `AConv`: smoothed, then reduced by a convolution.
pub(super) fn a_conv(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let x = smoothed(b, x);
    layer.apply(b, "cv1", &x)
}

/// `ADown`: smoothed, then one half reduced by a convolution, the other by the largest value.
pub(super) fn a_down(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let x = smoothed(b, x);
    let half = x.size(1) / 2;
    let halves = b.split(&x, &[half, half], 1);
    let convolved = layer.apply(b, "cv1", halves.first().unwrap_or(&x))?;
    let pool = Pool { kernel: 3, stride: 2, padding: 1, ceil: false };
    let pooled = b.max_pool(halves.last().unwrap_or(&x), pool);
    let pooled = layer.apply(b, "cv2", &pooled)?;
    Ok(b.concat(&[&convolved, &pooled], 1))
}

/// `ChannelAttention`: each channel weighted by what all their means say.
pub(super) fn channel_attention(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let means = b.reduce_mean(x, &[2, 3], true);
    let scores = layer.apply(b, "fc", &means)?;
    let gate = layer.apply(b, "act", &scores)?;
    Ok(b.mul(x, &gate))
}

/// `SpatialAttention`: each place weighted by what mean and maximum of the channels say around it.
pub(super) fn spatial_attention(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let (mean, most) = (b.reduce_mean(x, &[1], true), b.reduce_max(x, &[1], true));
    let both = b.concat(&[&mean, &most], 1);
    let scores = layer.apply(b, "cv1", &both)?;
    let gate = layer.apply(b, "act", &scores)?;
    Ok(b.mul(x, &gate))
}

pub(super) fn cbam(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let x = layer.apply(b, "channel_attention", x)?;
    layer.apply(b, "spatial_attention", &x)
}
