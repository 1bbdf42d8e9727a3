//! Attention between the cells of a map: of all of it (`PSA`, `YOLOv10` on), or within areas (`A2C2f`, YOLO12).
//!
//! Maps stay channels first: keys are transposed instead of queries, so that neither shares nor values have to be.

use graph::{Builder, Tensor, Value};

use super::conv::{self, Folded};
use super::csp;
use super::module::Layer;
use crate::Error;
use crate::layers::{RowScale, deferred_floats, floats, rescaled};

/// The widths of one head.
#[derive(Clone, Copy)]
struct Heads {
    count: usize,
    key: usize,
    value: usize,
    /// What scores are multiplied by.
    scale: f32,
}

impl Heads {
    /// Channels of queries, keys and values of one head, which lie one after the other.
    fn width(self) -> usize {
        2 * self.key + self.value
    }

    fn channels(self) -> usize {
        self.count * self.value
    }

    /// The `qkv` convolution with the scale folded into the queries.
    fn scaled(self, folded: Folded) -> Folded {
        let per_head = (0..self.width()).map(|at| if at < self.key { self.scale } else { 1.0 });
        let factors: Vec<f32> = std::iter::repeat_n(per_head, self.count).flatten().collect();
        let bias = rescaled(folded.bias, Some(RowScale::each(factors.clone())));
        Folded { weight: rescaled_filters(folded.weight, factors), bias, ..folded }
    }
}

/// Each filter multiplied by its factor.
fn rescaled_filters(weight: Tensor, factors: Vec<f32>) -> Tensor {
    let shape = weight.shape().to_vec();
    let size: usize = shape[1..].iter().product();
    deferred_floats(&shape, move || {
        let values = floats(&weight);
        let factor = |at: usize| factors.get(at / size.max(1)).copied().unwrap_or(1.0);
        values.iter().enumerate().map(|(at, value)| value * factor(at)).collect()
    })
}

/// `Attention`: queries and keys are narrower than values; a depthwise convolution of the values says where they are.
pub(super) fn attention(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let heads = Heads {
        count: layer.divisor("num_heads")?,
        key: layer.divisor("key_dim")?,
        value: layer.divisor("head_dim")?,
        scale: layer.float_or("scale", (layer.divisor("key_dim")? as f64).powf(-0.5)) as f32,
    };
    attended(b, layer, x, heads, 1)
}

/// `AAttn`: attention within `area` horizontal parts of the map.
pub(super) fn area_attention(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let width = layer.divisor("head_dim")?;
    let heads = Heads {
        count: layer.divisor("num_heads")?,
        key: width,
        value: width,
        scale: (width as f64).powf(-0.5) as f32,
    };
    let area = layer.size_or("area", 1)?.max(1);
    attended(b, layer, x, heads, area)
}

fn attended(
    b: &mut Builder,
    layer: &Layer<'_>,
    x: &Value,
    heads: Heads,
    area: usize,
) -> Result<Value, Error> {
    let (height, width) = (x.size(2), x.size(3));
    let cells = height * width;
    if cells == 0 || cells % area != 0 {
        return Err(layer.unusable("area", &format!("a divisor of {cells}, the cells of this input size")));
    }
    let count = heads.count.checked_mul(heads.width());
    if count != Some(layer.child("qkv")?.child("conv")?.size("out_channels")?) {
        return Err(layer.unusable("num_heads", "as many heads as `qkv` has channels for"));
    }
    let exact = layer.w.exact();
    let qkv = if exact {
        layer.apply(b, "qkv", x)?
    } else {
        let qkv = layer.child("qkv")?;
        let folded = heads.scaled(conv::folded_linear(&qkv, x)?);
        b.scoped("qkv", |b| conv::convolve(b, &qkv, "conv", x, folded))
    };
    let [queries, keys, values] = parts(b, &qkv, heads, area);
    let rank = queries.rank();
    let mut turned: Vec<usize> = (0..rank).collect();
    turned.swap(rank - 1, rank - 2);
    let mixed = if exact {
        let scale = b.scalar(heads.scale);
        let queries = b.mul(&queries, &scale);
        let queries = b.transpose(&queries, &turned);
        let scores = b.matmul(&queries, &keys);
        let shares = b.softmax(&scores, -1);
        let shares = b.transpose(&shares, &turned);
        b.matmul(&values, &shares)
    } else {
        let keys = b.transpose(&keys, &turned);
        let scores = b.matmul(&keys, &queries);
        let shares = b.softmax(&scores, -2);
        b.matmul(&values, &shares)
    };
    let channels = heads.channels();
    let [mixed, values] = [mixed, values].map(|x| {
        // `[batch, heads, area, width, cells]` where there are areas.
        let x = if area > 1 { b.transpose(&x, &[0, 1, 3, 2, 4]) } else { x };
        b.reshape(&x, &[0, channels as i64, height as i64, width as i64])
    });
    let places = layer.apply(b, "pe", &values)?;
    let sum = b.add(&mixed, &places);
    layer.apply(b, "proj", &sum)
}

/// Queries, keys and values `[batch, heads, width, cells]`, with areas `[batch, heads, area, width, cells of one]`.
fn parts(b: &mut Builder, qkv: &Value, heads: Heads, area: usize) -> [Value; 3] {
    let (count, width) = (heads.count as i64, heads.width() as i64);
    let (split, axis) = if area > 1 {
        let cells = (qkv.size(2) * qkv.size(3) / area) as i64;
        let split = b.reshape(qkv, &[0, count, width, area as i64, cells]);
        (b.transpose(&split, &[0, 1, 3, 2, 4]), 3)
    } else {
        (b.reshape(qkv, &[0, count, width, -1]), 2)
    };
    let parts = b.split(&split, &[heads.key, heads.key, heads.value], axis);
    std::array::from_fn(|at| parts.get(at).unwrap_or(&split).clone())
}

/// The module of this name, around it a shortcut.
fn residual(b: &mut Builder, layer: &Layer<'_>, name: &str, x: &Value) -> Result<Value, Error> {
    let y = layer.apply(b, name, x)?;
    Ok(b.add(x, &y))
}

/// `PSABlock`: attention, then two convolutions.
pub(super) fn psa_block(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    if !layer.flag_or("add", true) {
        let x = layer.apply(b, "attn", x)?;
        return layer.apply(b, "ffn", &x);
    }
    let x = residual(b, layer, "attn", x)?;
    residual(b, layer, "ffn", &x)
}

/// `ABlock`: attention within areas, then two convolutions.
pub(super) fn area_block(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let x = residual(b, layer, "attn", x)?;
    residual(b, layer, "mlp", &x)
}

/// `PSA`: attention of one half of the channels.
pub(super) fn psa(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    half_attended(b, layer, x, |b, x| {
        let x = residual(b, layer, "attn", x)?;
        residual(b, layer, "ffn", &x)
    })
}

/// `C2PSA`: blocks of attention for one half of the channels.
pub(super) fn c2_psa(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    half_attended(b, layer, x, |b, x| layer.apply(b, "m", x))
}

fn half_attended(
    b: &mut Builder,
    layer: &Layer<'_>,
    x: &Value,
    attend: impl FnOnce(&mut Builder, &Value) -> Result<Value, Error>,
) -> Result<Value, Error> {
    let y = layer.apply(b, "cv1", x)?;
    let [around, deep] = csp::halves(b, layer, &y)?;
    let deep = attend(b, &deep)?;
    let joined = b.concat(&[&around, &deep], 1);
    layer.apply(b, "cv2", &joined)
}

/// `A2C2f`: the results of all blocks, and a shortcut whose share of each channel is learned.
pub(super) fn a2c2f(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let mut maps = vec![layer.apply(b, "cv1", x)?];
    let modules = layer.child("m")?;
    b.scoped("m", |b| {
        modules.names().try_for_each(|name| -> Result<(), Error> {
            let deep = modules.apply(b, name, &maps[maps.len() - 1])?;
            maps.push(deep);
            Ok(())
        })
    })?;
    let joined = b.concat(&maps.iter().collect::<Vec<_>>(), 1);
    let y = layer.apply(b, "cv2", &joined)?;
    if layer.w.shape("gamma").is_none() {
        return Ok(y);
    }
    let channels = y.size(1);
    let gamma = layer.w.tensor("gamma", &[channels]);
    let gamma = deferred_floats(&[1, channels, 1, 1], move || floats(&gamma).into_owned());
    let gamma = b.weight(&layer.w.full("gamma"), gamma);
    let scaled = b.mul(&gamma, &y);
    Ok(b.add(x, &scaled))
}
