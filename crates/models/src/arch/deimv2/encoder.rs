//! The encoders of `DEIMv2`: D-FINE's with simpler fusion layers, and a light one of two levels.

use graph::builder::{Interpolation, Pool};
use graph::{Builder, Value};

use super::config::Deimv2Config;
use crate::Error;
use crate::arch::d_fine;
use crate::arch::d_fine::encoder::blocks;
use crate::arch::rt_detr::encoder::{layer, require_pyramid, within_maps};
use crate::layers::{Activation, ConvNorm, conv_norm, require_halving};
use crate::weights::Weights;

/// The fused pyramid of the hybrid encoder, the finest level first.
pub(super) fn hybrid(
    b: &mut Builder,
    w: &Weights,
    config: &Deimv2Config,
    maps: Vec<Value>,
) -> Result<Vec<Value>, Error> {
    require_pyramid(&config.inner.base, &maps)?;
    let maps = within_maps(b, w, &config.inner.base, maps);
    let join = |b: &mut Builder, x: &Value, y: &Value| {
        if config.sums { b.add(x, y) } else { b.concat(&[x, y], 1) }
    };
    Ok(d_fine::encoder::build(b, w, &config.inner, &maps, join, |b, w, x| collect(b, w, config, x)))
}

/// Two levels: the finest map of the backbone, and one of half its size that also knows the mean of the image.
pub(super) fn lite(
    b: &mut Builder,
    w: &Weights,
    config: &Deimv2Config,
    maps: &[Value],
) -> Result<Vec<Value>, Error> {
    let base = &config.inner.base;
    require_pyramid(base, maps)?;
    let conv = |b: &mut Builder, name: &str, x: &Value| {
        w.scope(b, name, |b, w| conv_norm(b, w, x, layer(base, 1, 1)))
    };
    let pool = Pool { kernel: 3, stride: 2, padding: 1, ceil: false };
    let mut levels: Vec<Value> = Vec::with_capacity(maps.len() + 1);
    for (index, map) in maps.iter().enumerate() {
        let plain = ConvNorm { activation: Activation::Identity, ..layer(base, 1, 1) };
        levels.push(w.scope(b, &format!("input_proj.{index}"), |b, w| conv_norm(b, w, map, plain)));
    }
    let halved = b.padded_average_pool(&levels[maps.len() - 1], pool);
    let halved = conv(b, "down_conv1", &halved);
    let mean = b.reduce_mean(&halved, &[2, 3], true);
    let informed = b.add(&halved, &mean);
    levels.push(conv(b, "bi_fusion_conv", &informed));

    require_halving(&levels[..2])?;
    let (fine, coarse) = (&levels[0], &levels[1]);
    let enlarged = b.resize(coarse, fine.size(2), fine.size(3), Interpolation::Nearest);
    let joined = b.add(fine, &enlarged);
    let first = w.scope(b, "fpn_block", |b, w| collect(b, w, config, &joined));
    let reduced = b.padded_average_pool(&first, pool);
    let reduced = conv(b, "down_conv2", &reduced);
    let joined = b.add(coarse, &reduced);
    let second = w.scope(b, "pan_block", |b, w| collect(b, w, config, &joined));
    Ok(vec![first, second])
}

/// Two halves, and two branches that continue the second one, joined.
fn collect(b: &mut Builder, w: &Weights, config: &Deimv2Config, x: &Value) -> Value {
    let base = &config.inner.base;
    let wide = base.encoder_hidden_dim;
    let spec = ConvNorm { out: 2 * wide, ..layer(base, 1, 1) };
    let both = w.scope(b, "conv1", |b, w| conv_norm(b, w, x, spec));
    let second = b.slice(&both, 1, wide, 2 * wide);
    let third = w.scope(b, "csp_rep1", |b, w| csp_rep(b, w, config, &second));
    let fourth = w.scope(b, "csp_rep2", |b, w| csp_rep(b, w, config, &third));
    let all = b.concat(&[&both, &third, &fourth], 1);
    w.scope(b, "conv2", |b, w| conv_norm(b, w, &all, layer(base, 1, 1)))
}

/// A cross-stage partial layer: one convolution makes what goes through the blocks and what passes them by.
fn csp_rep(b: &mut Builder, w: &Weights, config: &Deimv2Config, x: &Value) -> Value {
    let inner = &config.inner;
    let branch = inner.branch;
    let spec = ConvNorm { out: 2 * branch, ..layer(&inner.base, 1, 1) };
    let both = w.scope(b, "conv1", |b, w| conv_norm(b, w, x, spec));
    let parts = b.split(&both, &[branch; 2], 1);
    let [short, deep] = &parts[..] else { return both };
    let deep = blocks(b, w, inner, deep);
    let sum = b.add(short, &deep);
    if !config.trailing {
        return sum;
    }
    let spec = ConvNorm { out: branch, ..layer(&inner.base, 3, 1) };
    w.scope(b, "conv2", |b, w| conv_norm(b, w, &sum, spec))
}
