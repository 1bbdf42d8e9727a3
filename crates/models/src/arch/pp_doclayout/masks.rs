//! The masks of PP-DocLayoutV3, as far as boxes need them: a query starts from the smallest box around its mask.

use graph::builder::{Conv, Interpolation};
use graph::{Builder, Value};
use serde::Deserialize;

use crate::Error;
use crate::arch::rt_detr::config::RtDetrConfig;
use crate::arch::rt_detr::decoder::inverse_sigmoid;
use crate::config::{CONFIG, Config, Limits};
use crate::layers::{Activation, ConvNorm, conv_norm, conv2d, layer_norm, mlp};
use crate::weights::Weights;

/// The modules that only masks need.
pub(super) const MODULES: &[&str] = &[
    "model.mask_query_head.",
    "model.encoder.mask_feature_head.",
    "model.encoder.encoder_mask_lateral.",
    "model.encoder.encoder_mask_output.",
];

/// What the configuration says about masks.
#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Masks {
    /// Channels within and behind the fusion of levels.
    mask_feature_channels: [usize; 2],
    num_prototypes: usize,
}

impl Default for Masks {
    fn default() -> Self {
        Self { mask_feature_channels: [64, 64], num_prototypes: 32 }
    }
}

impl Masks {
    pub(super) fn read(config: &Config) -> Result<Self, Error> {
        let masks: Self = Config::parse(config.raw())?;
        let limits = Limits::of("");
        for channels in masks.mask_feature_channels {
            limits.width("mask_feature_channels", channels)?;
        }
        limits.width("num_prototypes", masks.num_prototypes)?;
        Ok(masks)
    }

    /// The prototypes that masks are mixed from `[batch, prototypes, height, width]`, as large as the `finest` map of
    /// the backbone.
    pub(super) fn features(
        &self,
        b: &mut Builder,
        w: &Weights,
        config: &RtDetrConfig,
        pyramid: &[Value],
        finest: &Value,
    ) -> Result<Value, Error> {
        let [_, out] = self.mask_feature_channels;
        let fused = w.scope(b, "mask_feature_head", |b, w| self.fuse(b, w, &config.feat_strides, pyramid))?;
        let (height, width) = (finest.size(2), finest.size(3));
        if (height, width) != (2 * fused.size(2), 2 * fused.size(3)) {
            let doubled = format!("{}×{}", 2 * fused.size(2), 2 * fused.size(3));
            return Err(Error::Underivable {
                what: "a usable input size",
                reason: format!("the finest feature map is {height}×{width}, masks would be {doubled}"),
                option: "--size WIDTHxHEIGHT, multiples of 32",
            });
        }
        let enlarged = b.resize(&fused, height, width, Interpolation::Linear);
        let lateral = w.scope(b, "encoder_mask_lateral", |b, w| conv_norm(b, w, finest, layer(out)));
        let sum = b.add(&enlarged, &lateral);
        Ok(w.scope(b, "encoder_mask_output", |b, w| {
            let x = w.scope(b, "base_conv", |b, w| conv_norm(b, w, &sum, layer(out)));
            conv2d(b, w, "conv", &x, [self.num_prototypes, 1], Conv::new(1, 0), true)
        }))
    }

    /// All levels at the size of the finest, summed.
    fn fuse(
        &self,
        b: &mut Builder,
        w: &Weights,
        strides: &[usize],
        pyramid: &[Value],
    ) -> Result<Value, Error> {
        let [inner, out] = self.mask_feature_channels;
        if strides.len() > pyramid.len() {
            let expected = format!("at most {} strides, one a level", pyramid.len());
            return Err(Error::unsupported(CONFIG, "feat_strides", format!("{strides:?}"), expected));
        }
        let mut order: Vec<usize> = (0..strides.len()).collect();
        order.sort_by_key(|level| strides[*level]);
        let base = order.first().map_or(1, |level| strides[*level]);
        let mut sum: Option<Value> = None;
        for (index, level) in order.into_iter().enumerate() {
            let x = w.scope(b, &format!("scale_heads.{index}"), |b, w| {
                scale_head(b, w, &pyramid[level], inner, [strides[level], base])
            });
            sum = Some(match sum {
                None => x,
                Some(sum) => {
                    let x = sized(b, &x, sum.size(2), sum.size(3));
                    b.add(&sum, &x)
                }
            });
        }
        let sum = sum.unwrap_or_else(|| pyramid[0].clone());
        Ok(w.scope(b, "output_conv", |b, w| conv_norm(b, w, &sum, layer(out))))
    }

    /// The boxes around the masks of the queries `x` `[batch, queries, d_model]`, as logits.
    ///
    /// A column (row) of a mask is part of it where its largest logit is above 0, so no mask is looked at whole. An
    /// empty one gives a box of size 0 at the origin.
    pub(super) fn boxes(
        &self,
        b: &mut Builder,
        w: &Weights,
        config: &RtDetrConfig,
        x: &Value,
        features: &Value,
    ) -> Value {
        let (height, width) = (features.size(2), features.size(3));
        let x = layer_norm(b, w, "decoder_norm", x, config.layer_norm_eps);
        let sizes = [config.d_model, config.d_model, self.num_prototypes];
        let x = mlp(b, w, "mask_query_head", &x, &sizes);
        b.scoped("masks", |b| {
            let prototypes = b.flatten_from(features, 2);
            let masks = b.matmul(&x, &prototypes);
            let masks = b.reshape(&masks, &[0, 0, height as i64, width as i64]);
            let [(left, right), (top, bottom)] = [(2, width), (3, height)].map(|(across, size)| {
                let largest = b.reduce_max(&masks, &[across], false);
                extent(b, &largest, size)
            });
            let low = b.concat(&[&left, &top], -1);
            let high = b.concat(&[&right, &bottom], -1);
            let half = b.scalar(0.5);
            let sum = b.add(&low, &high);
            let centre = b.mul(&sum, &half);
            let size = b.sub(&high, &low);
            let boxes = b.concat(&[&centre, &size], -1);
            inverse_sigmoid(b, &boxes)
        })
    }
}

/// Where the positive numbers of `x` `[batch, queries, size]` begin and end, relative to `size`: `[batch, queries, 1]`.
fn extent(b: &mut Builder, x: &Value, size: usize) -> (Value, Value) {
    let (zero, one) = (b.scalar(0.0), b.scalar(1.0));
    let inside = b.greater(x, &zero);
    let edges = |shift: usize| (0..size).map(|at| (at + shift) as f32 / size as f32).collect();
    let (begins, ends) = (b.floats(&[size], edges(0)), b.floats(&[size], edges(1)));
    let ends = b.select(&inside, &ends, &zero);
    let last = b.reduce_max(&ends, &[-1], true);
    let begins = b.select(&inside, &begins, &one);
    let first = b.reduce_min(&begins, &[-1], true);
    // Nothing inside: the end is 0, and so has the beginning to be.
    (b.minimum(&first, &last), last)
}

/// Convolutions at the level's own size, each doubling it on the way to the finest level's.
fn scale_head(b: &mut Builder, w: &Weights, x: &Value, out: usize, [stride, base]: [usize; 2]) -> Value {
    let doublings = ((stride as f64).log2() - (base as f64).log2()) as usize;
    let doubles = stride != base;
    let mut x = x.clone();
    for index in 0..doublings.max(1) {
        let name = if doubles { 2 * index } else { index };
        x = w.scope(b, &format!("layers.{name}"), |b, w| conv_norm(b, w, &x, layer(out)));
        if doubles {
            x = sized(b, &x, 2 * x.size(2), 2 * x.size(3));
        }
    }
    x
}

fn sized(b: &mut Builder, x: &Value, height: usize, width: usize) -> Value {
    if (x.size(2), x.size(3)) == (height, width) {
        return x.clone();
    }
    b.resize(x, height, width, Interpolation::Linear)
}

/// A convolution that keeps the size, with normalization.
fn layer(out: usize) -> ConvNorm<'static> {
    ConvNorm {
        names: ["convolution", "normalization"],
        activation: Activation::Silu,
        ..ConvNorm::new(out, 3, 1)
    }
}
