//! Fusion of a pyramid of feature maps: from coarse to fine, then from fine to coarse (the hybrid encoder of RT-DETR,
//! <https://arxiv.org/abs/2304.08069>, and of those that took it over).

use graph::builder::Interpolation;
use graph::{Builder, Value};

use super::{Activation, ConvNorm, conv_norm, rep_vgg};
use crate::Error;
use crate::weights::Weights;

/// The layers that maps go through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fusion {
    /// Of a coarse map, before it is enlarged (`lateral_convs`).
    pub(crate) lateral: ConvNorm<'static>,
    /// That halves a fine map (`downsample_convs`).
    pub(crate) reduce: ConvNorm<'static>,
    /// Of two maps that were joined (`fpn_blocks`, `pan_blocks`).
    pub(crate) blocks: CspRep,
}

/// A cross-stage partial layer of `RepVGG` blocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CspRep {
    /// The convolution that all others are like: output channels, ε, activation.
    pub(crate) like: ConvNorm<'static>,
    /// Channels inside.
    pub(crate) hidden: usize,
    /// How many blocks.
    pub(crate) count: usize,
}

/// Refuses maps of which one is not half as large as the one before.
pub(crate) fn require_halving(maps: &[Value]) -> Result<(), Error> {
    let halves = |pair: &[Value]| [2, 3].iter().all(|axis| pair[0].size(*axis) == 2 * pair[1].size(*axis));
    if maps.windows(2).all(halves) {
        return Ok(());
    }
    let sizes: Vec<String> = maps.iter().map(|map| format!("{}×{}", map.size(2), map.size(3))).collect();
    Err(Error::Underivable {
        what: "a usable input size",
        reason: format!("the feature maps {} do not halve from level to level", sizes.join(", ")),
        option: "--size WIDTHxHEIGHT, multiples of 32",
    })
}

/// The fused maps, the finest first.
pub(crate) fn fuse(b: &mut Builder, w: &Weights, maps: &[Value], spec: &Fusion) -> Vec<Value> {
    let steps = Steps {
        lateral: spec.lateral,
        reduce: |b: &mut Builder, w: &Weights, x: &Value| conv_norm(b, w, x, spec.reduce),
        join: |b: &mut Builder, x: &Value, y: &Value| b.concat(&[x, y], 1),
        fuse: |b: &mut Builder, w: &Weights, x: &Value| csp_rep(b, w, x, &spec.blocks),
    };
    both_ways(b, w, maps, &steps)
}

/// What [`both_ways`] does with maps; the last three are functions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps<Reduce, Join, Fuse> {
    pub(crate) lateral: ConvNorm<'static>,
    /// Halves a fine map (`downsample_convs`).
    pub(crate) reduce: Reduce,
    /// Makes one map of an enlarged or reduced one and its neighbour.
    pub(crate) join: Join,
    /// What that goes through (`fpn_blocks`, `pan_blocks`).
    pub(crate) fuse: Fuse,
}

/// From coarse to fine, then from fine to coarse; the finest map first.
pub(crate) fn both_ways<Reduce, Join, Fuse>(
    b: &mut Builder,
    w: &Weights,
    maps: &[Value],
    steps: &Steps<Reduce, Join, Fuse>,
) -> Vec<Value>
where
    Reduce: Fn(&mut Builder, &Weights, &Value) -> Value,
    Join: Fn(&mut Builder, &Value, &Value) -> Value,
    Fuse: Fn(&mut Builder, &Weights, &Value) -> Value,
{
    let last = maps.len() - 1;
    let mut top = maps[last].clone();
    let mut fine_last = Vec::with_capacity(maps.len());
    for step in 0..last {
        let name = format!("lateral_convs.{step}");
        let lateral = w.scope(b, &name, |b, w| conv_norm(b, w, &top, steps.lateral));
        let finer = &maps[last - step - 1];
        let enlarged = b.resize(&lateral, finer.size(2), finer.size(3), Interpolation::Nearest);
        let joined = (steps.join)(b, &enlarged, finer);
        top = w.scope(b, &format!("fpn_blocks.{step}"), |b, w| (steps.fuse)(b, w, &joined));
        fine_last.push(lateral);
    }
    fine_last.push(top);
    fine_last.reverse();

    let mut pyramid = vec![fine_last[0].clone()];
    for step in 0..last {
        let name = format!("downsample_convs.{step}");
        let reduced = w.scope(b, &name, |b, w| (steps.reduce)(b, w, &pyramid[step]));
        let joined = (steps.join)(b, &reduced, &fine_last[step + 1]);
        pyramid.push(w.scope(b, &format!("pan_blocks.{step}"), |b, w| (steps.fuse)(b, w, &joined)));
    }
    pyramid
}

fn csp_rep(b: &mut Builder, w: &Weights, x: &Value, spec: &CspRep) -> Value {
    let like = ConvNorm { kernel: 1, stride: 1, padding: 0, ..spec.like };
    let narrow = ConvNorm { out: spec.hidden, ..like };
    let activation: Activation = like.activation;
    let mut deep = w.scope(b, "conv1", |b, w| conv_norm(b, w, x, narrow));
    for index in 0..spec.count {
        deep = w.scope(b, &format!("bottlenecks.{index}"), |b, w| {
            rep_vgg(b, w, &deep, spec.hidden, like.epsilon, activation)
        });
    }
    let short = w.scope(b, "conv2", |b, w| conv_norm(b, w, x, narrow));
    let sum = b.add(&deep, &short);
    if spec.hidden == like.out {
        return sum;
    }
    w.scope(b, "conv3", |b, w| conv_norm(b, w, &sum, like))
}
