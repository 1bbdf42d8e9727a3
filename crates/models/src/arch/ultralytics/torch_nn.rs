//! Modules of `torch.nn` itself: convolutions, pooling, resizing, activation functions.

use graph::builder::{Conv, Interpolation, Pool};
use graph::{Builder, Value};

use super::conv;
use super::module::{Fact, Layer};
use crate::Error;
use crate::layers::{Activation, Branch, Norm, fold, widened};

/// Shape and movement of a `Conv2d`.
pub(super) struct Kernel {
    /// `[out, in / groups, height, width]`.
    pub(super) shape: [usize; 4],
    pub(super) moves: Conv,
}

/// What a `Conv2d` does to `x`.
pub(super) fn kernel(layer: &Layer<'_>, x: &Value) -> Result<Kernel, Error> {
    if layer.kind() != "Conv2d" {
        return Err(layer.unsupported("Conv2d"));
    }
    if layer.fact("padding_mode").and_then(Fact::text).is_some_and(|mode| mode != "zeros") {
        return Err(layer.unusable("padding_mode", "`zeros`"));
    }
    let groups = layer.divisor("groups")?;
    let [height, width] = layer.pair("kernel_size")?;
    let [vertical, horizontal] = layer.pair("padding")?;
    Ok(Kernel {
        shape: [layer.size("out_channels")?, x.size(1) / groups, height, width],
        moves: Conv {
            stride: layer.pair("stride")?,
            padding: [vertical, horizontal, vertical, horizontal],
            dilation: layer.pair("dilation")?,
            groups,
        },
    })
}

/// A convolution that no normalization follows.
pub(super) fn conv2d(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let Kernel { shape, moves } = kernel(layer, x)?;
    let weight = layer.w.constant(b, "weight", &shape, widened);
    let bias = layer.w.shape("bias").is_some();
    let bias = bias.then(|| layer.w.constant(b, "bias", &shape[..1], widened));
    Ok(b.conv(x, &weight, bias.as_ref(), moves))
}

/// A transposed convolution.
pub(super) fn conv_transpose2d(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    if layer.pair("output_padding")? != [0, 0] {
        return Err(layer.unusable("output_padding", "0"));
    }
    let groups = layer.divisor("groups")?;
    let [height, width] = layer.pair("kernel_size")?;
    let [vertical, horizontal] = layer.pair("padding")?;
    let out = layer.size("out_channels")?;
    let weight = [x.size(1), out / groups, height, width];
    let weight = layer.w.constant(b, "weight", &weight, widened);
    let bias = layer.w.shape("bias").is_some();
    let bias = bias.then(|| layer.w.constant(b, "bias", &[out], widened));
    let moves = Conv {
        stride: layer.pair("stride")?,
        padding: [vertical, horizontal, vertical, horizontal],
        dilation: layer.pair("dilation")?,
        groups,
    };
    Ok(b.conv_transpose(x, &weight, bias.as_ref(), moves))
}

/// The statistics of a `BatchNorm2d`, `None` for an `Identity` in its place.
pub(super) fn norm(layer: &Layer<'_>, channels: usize) -> Result<Option<Norm>, Error> {
    match layer.kind() {
        "Identity" => Ok(None),
        "BatchNorm2d" => {
            let epsilon = layer.float_or("eps", 1e-5) as f32;
            if epsilon <= 0.0 {
                return Err(layer.unusable("eps", "a positive number"));
            }
            Ok(Some(Norm::here(&layer.w, channels, epsilon)))
        }
        _ => Err(layer.unsupported("BatchNorm2d")),
    }
}

pub(super) fn batch_norm(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let norm = norm(layer, x.size(1))?;
    Ok(norm.map_or_else(|| x.clone(), |norm| norm.apply_here(b, &layer.w, x)))
}

#[expect(clippy::unnecessary_wraps, reason = "one signature for all modules")]
pub(super) fn identity(_: &mut Builder, _: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    Ok(x.clone())
}

/// The modules in it one after the other; a convolution and the normalization behind it are folded into one.
pub(super) fn sequential(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let names: Vec<&str> = layer.names().collect();
    let kind = |at: usize| names.get(at).and_then(|name| layer.optional(name)).map(|module| module.kind());
    let (mut x, mut at) = (x.clone(), 0);
    while let Some(name) = names.get(at) {
        let pair = (kind(at), kind(at + 1)) == (Some("Conv2d"), Some("BatchNorm2d"));
        if pair && !layer.w.exact() {
            x = conv_norm(b, layer, [name, names[at + 1]], &x)?;
            at += 2;
        } else {
            x = layer.apply(b, name, &x)?;
            at += 1;
        }
    }
    Ok(x)
}

fn conv_norm(b: &mut Builder, layer: &Layer<'_>, names: [&str; 2], x: &Value) -> Result<Value, Error> {
    let conv = layer.child(names[0])?;
    let Kernel { shape, moves } = kernel(&conv, x)?;
    let branch = Branch {
        kernel: conv.w.tensor("weight", &shape),
        bias: conv.w.shape("bias").map(|_| conv.w.tensor("bias", &shape[..1])),
        norm: norm(&layer.child(names[1])?, shape[0])?,
    };
    let (weight, bias) = fold(vec![branch], shape);
    Ok(conv::convolve(b, layer, names[0], x, conv::Folded { weight, bias, moves }))
}

pub(super) fn activation(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let function = match layer.kind() {
        "SiLU" => Activation::Silu,
        "ReLU" => Activation::Relu,
        "ReLU6" => Activation::Relu6,
        "GELU" if layer.fact("approximate").and_then(Fact::text) == Some("tanh") => Activation::GeluTanh,
        "GELU" => Activation::Gelu,
        "Sigmoid" => Activation::Sigmoid,
        "Tanh" => Activation::Tanh,
        "Mish" => Activation::Mish,
        "LeakyReLU" => return Ok(b.leaky_relu(x, layer.float_or("negative_slope", 0.01) as f32)),
        "Hardswish" => {
            let (three, sixth) = (b.scalar(3.0), b.scalar(1.0 / 6.0));
            let gate = b.add(x, &three);
            let gate = b.clip(&gate, 0.0, 6.0);
            let product = b.mul(x, &gate);
            return Ok(b.mul(&product, &sixth));
        }
        _ => return Err(layer.unsupported("an activation function")),
    };
    Ok(function.apply(b, x))
}

/// How a pooling moves; its window is square.
fn pool(layer: &Layer<'_>) -> Result<Pool, Error> {
    let square = |key: &str| match layer.pair(key)? {
        [height, width] if height == width => Ok(height),
        _ => Err(layer.unusable(key, "the same both ways")),
    };
    let kernel = square("kernel_size")?;
    let stride = if layer.fact("stride").is_some() { square("stride")? } else { kernel };
    Ok(Pool { kernel, stride, padding: square("padding")?, ceil: layer.flag_or("ceil_mode", false) })
}

pub(super) fn max_pool(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    if layer.fact("dilation").is_some() && layer.pair("dilation")? != [1, 1] {
        return Err(layer.unusable("dilation", "1"));
    }
    Ok(b.max_pool(x, pool(layer)?))
}

pub(super) fn average_pool(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let pool = pool(layer)?;
    if pool.padding > 0 || pool.ceil || layer.fact("divisor_override").is_some() {
        return Err(layer.unsupported("an average of whole windows"));
    }
    Ok(b.average_pool(x, pool))
}

pub(super) fn upsample(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let interpolation = match layer.fact("mode").and_then(Fact::text) {
        Some("nearest") => Interpolation::Nearest,
        Some("bilinear") if !layer.flag_or("align_corners", false) => Interpolation::Linear,
        _ => return Err(layer.unusable("mode", "`nearest`, or `bilinear` without `align_corners`")),
    };
    let sides = [x.size(2), x.size(3)];
    let [height, width] = if layer.fact("size").is_some() {
        layer.pair("size")?
    } else {
        let factors = match layer.fact("scale_factor") {
            Some(Fact::List(factors)) => factors.iter().map(Fact::float).collect(),
            Some(factor) => Some(vec![factor.float().unwrap_or(0.0); 2]),
            None => None,
        };
        match factors.as_deref() {
            Some([vertical, horizontal]) => [(sides[0], vertical), (sides[1], horizontal)]
                .map(|(side, factor)| (side as f64 * factor).floor().clamp(0.0, 1e6) as usize),
            _ => return Err(layer.unusable("scale_factor", "one number or two")),
        }
    };
    Ok(b.resize(x, height, width, interpolation))
}

/// `padding` is left, right, top, bottom.
pub(super) fn zero_pad(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    match layer.sizes("padding")?[..] {
        [all] => Ok(b.zero_border(x, [all; 4])),
        [left, right, top, bottom] => Ok(b.zero_border(x, [top, left, bottom, right])),
        _ => Err(layer.unusable("padding", "one number or four")),
    }
}

/// `x` at another size, by its nearest pixels.
pub(super) fn nearest(b: &mut Builder, x: &Value, [height, width]: [usize; 2]) -> Value {
    if [x.size(2), x.size(3)] == [height, width] {
        return x.clone();
    }
    b.resize(x, height, width, Interpolation::Nearest)
}
