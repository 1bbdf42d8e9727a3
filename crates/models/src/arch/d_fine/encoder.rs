//! The hybrid encoder of D-FINE: RT-DETR's, with layers that collect the outputs of their branches (`GELAN`).

use graph::{Builder, Value};

use super::config::DFineConfig;
use crate::arch::rt_detr::encoder::layer;
use crate::layers::{Activation, ConvNorm, Steps, both_ways, conv_norm, rep_vgg};
use crate::weights::Weights;

/// The fused pyramid, the finest level first; `join` and `fuse` are the steps where two maps meet.
pub(in crate::arch) fn build(
    b: &mut Builder,
    w: &Weights,
    config: &DFineConfig,
    maps: &[Value],
    join: impl Fn(&mut Builder, &Value, &Value) -> Value,
    fuse: impl Fn(&mut Builder, &Weights, &Value) -> Value,
) -> Vec<Value> {
    let steps = Steps {
        lateral: ConvNorm { activation: Activation::Identity, ..layer(&config.base, 1, 1) },
        reduce: |b: &mut Builder, w: &Weights, x: &Value| reduce(b, w, config, x),
        join,
        fuse,
    };
    both_ways(b, w, maps, &steps)
}

/// Half the size: a 1×1 convolution, then a strided depthwise one.
fn reduce(b: &mut Builder, w: &Weights, config: &DFineConfig, x: &Value) -> Value {
    let channels = config.base.encoder_hidden_dim;
    let plain =
        |kernel, stride| ConvNorm { activation: Activation::Identity, ..layer(&config.base, kernel, stride) };
    let mixed = w.scope(b, "conv1", |b, w| conv_norm(b, w, x, plain(1, 1)));
    let spec = ConvNorm { groups: channels, ..plain(3, 2) };
    w.scope(b, "conv2", |b, w| conv_norm(b, w, &mixed, spec))
}

/// Two halves, and two branches that continue the second one, joined. The convolutions here are `SiLU`'s, whatever the
/// configuration says.
pub(super) fn collect(b: &mut Builder, w: &Weights, config: &DFineConfig, x: &Value) -> Value {
    let (wide, branch) = (config.base.encoder_hidden_dim, config.branch);
    let conv = |b: &mut Builder, name: &str, x: &Value, out: usize, kernel: usize| {
        let spec = ConvNorm { out, activation: Activation::Silu, ..layer(&config.base, kernel, 1) };
        w.scope(b, name, |b, w| conv_norm(b, w, x, spec))
    };
    let both = conv(b, "conv1", x, 2 * wide, 1);
    let second = b.slice(&both, 1, wide, 2 * wide);
    let third = w.scope(b, "csp_rep1", |b, w| csp_rep(b, w, config, &second));
    let third = conv(b, "conv2", &third, branch, 3);
    let fourth = w.scope(b, "csp_rep2", |b, w| csp_rep(b, w, config, &third));
    let fourth = conv(b, "conv3", &fourth, branch, 3);
    let all = b.concat(&[&both, &third, &fourth], 1);
    conv(b, "conv4", &all, wide, 1)
}

/// A cross-stage partial layer of `RepVGG` blocks.
fn csp_rep(b: &mut Builder, w: &Weights, config: &DFineConfig, x: &Value) -> Value {
    let spec = ConvNorm { out: config.branch, ..layer(&config.base, 1, 1) };
    let deep = w.scope(b, "conv1", |b, w| conv_norm(b, w, x, spec));
    let deep = blocks(b, w, config, &deep);
    let short = w.scope(b, "conv2", |b, w| conv_norm(b, w, x, spec));
    b.add(&deep, &short)
}

/// The `RepVGG` blocks of a branch, one after the other.
pub(in crate::arch) fn blocks(b: &mut Builder, w: &Weights, config: &DFineConfig, x: &Value) -> Value {
    let base = &config.base;
    (0..config.blocks).fold(x.clone(), |x, index| {
        w.scope(b, &format!("bottlenecks.{index}"), |b, w| {
            rep_vgg(b, w, &x, config.branch, base.batch_norm_eps, base.activation)
        })
    })
}
