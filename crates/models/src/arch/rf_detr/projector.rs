//! The projector of RF-DETR: the feature maps of the backbone at each scale, fused by a cross-stage partial layer whose
//! normalizations are over channels.
//!
//! Maps have their channels last, as the backbone makes them and as a layer normalization wants them; only kernels larger
//! than a cell turn them.

use graph::builder::Conv;
use graph::{Builder, Value};

use super::dinov2::Maps;
use crate::arch::lw_detr::Tokens;
use crate::arch::lw_detr::projector::{LAST_EPSILON, enlarged};
use crate::layers::{Activation, conv2d, layer_norm, transposed};
use crate::weights::Weights;

/// The sizes of the projector.
#[derive(Debug)]
pub(super) struct Projector {
    /// The size of each level relative to the backbone's: 0.5, 1 or 2.
    pub(super) scales: Vec<f64>,
    /// Channels of one feature map.
    pub(super) channels: usize,
    /// Inner channels.
    pub(super) hidden: usize,
    pub(super) out: usize,
    /// Blocks of two convolutions.
    pub(super) blocks: usize,
    /// ε of all normalizations but the last.
    pub(super) epsilon: f32,
    pub(super) activation: Activation,
}

impl Projector {
    /// The levels that the decoder reads.
    #[expect(clippy::float_cmp, reason = "a scale of exactly one changes nothing")]
    pub(super) fn build(&self, b: &mut Builder, w: &Weights, maps: &Maps) -> Vec<Tokens> {
        let apart = if maps.stages == 1 || self.scales.iter().all(|scale| *scale == 1.0) {
            vec![maps.value.clone()]
        } else {
            b.split(&maps.value, &vec![self.channels; maps.stages], -1)
        };
        let levels = self.scales.iter().enumerate();
        let level = |(level, scale): (usize, &f64)| {
            w.scope(b, &format!("scale_layers.{level}"), |b, w| {
                let scaled = self.scaled(b, w, maps, &apart, *scale);
                let fused = w.scope(b, "projector_layer", |b, w| self.fuse(b, w, &scaled));
                let normal = layer_norm(b, w, "layer_norm", &fused, LAST_EPSILON);
                let value = b.reshape(&normal, &[0, -1, self.out as i64]);
                Tokens { value, size: [fused.size(1), fused.size(2)] }
            })
        };
        levels.map(level).collect()
    }

    /// All maps at one scale, side by side.
    #[expect(clippy::float_cmp, reason = "a scale of exactly one changes nothing")]
    fn scaled(&self, b: &mut Builder, w: &Weights, maps: &Maps, apart: &[Value], scale: f64) -> Value {
        if scale == 1.0 {
            return maps.value.clone();
        }
        let mut scaled = Vec::with_capacity(apart.len());
        for (index, map) in apart.iter().enumerate() {
            scaled.push(w.scope(b, &format!("sampling_layers.{index}.layers"), |b, w| {
                if scale > 1.0 {
                    let map = b.transpose(map, &[0, 3, 1, 2]);
                    return enlarged(b, w, "0", &map, self.channels / 2);
                }
                w.scope(b, "0", |b, w| self.layer(b, w, map, [self.channels, 3, 2], Activation::Relu))
            }));
        }
        let parts: Vec<&Value> = scaled.iter().collect();
        if scale > 1.0 {
            let joined = b.concat(&parts, 1);
            return b.transpose(&joined, &[0, 2, 3, 1]);
        }
        b.concat(&parts, -1)
    }

    /// A convolution to `out` channels, a normalization, an activation.
    fn layer(
        &self,
        b: &mut Builder,
        w: &Weights,
        x: &Value,
        [out, kernel, stride]: [usize; 3],
        activation: Activation,
    ) -> Value {
        let y = if kernel == 1 {
            w.scope(b, "conv", |b, w| {
                let weight = w.constant(b, "weight", &[out, x.size(-1), 1, 1], |weight| {
                    let shape = [out, weight.shape()[1]];
                    weight.reshaped(shape).map_or(weight.clone(), |matrix| transposed(matrix, None))
                });
                b.matmul(x, &weight)
            })
        } else {
            let x = b.transpose(x, &[0, 3, 1, 2]);
            let y = conv2d(b, w, "conv", &x, [out, kernel], Conv::new(stride, kernel / 2), false);
            b.transpose(&y, &[0, 2, 3, 1])
        };
        let y = layer_norm(b, w, "norm", &y, self.epsilon);
        activation.apply(b, &y)
    }

    /// A cross-stage partial layer: half of the channels goes through the blocks, and what comes out of each is kept.
    fn fuse(&self, b: &mut Builder, w: &Weights, x: &Value) -> Value {
        let layer = |b: &mut Builder, w: &Weights, name: &str, x: &Value, size: [usize; 3]| {
            w.scope(b, name, |b, w| self.layer(b, w, x, size, self.activation))
        };
        let x = layer(b, w, "conv1", x, [2 * self.hidden, 1, 1]);
        if self.blocks == 0 {
            return layer(b, w, "conv2", &x, [self.out, 1, 1]);
        }
        let mut last = b.slice(&x, -1, self.hidden, 2 * self.hidden);
        let mut parts = vec![x];
        for block in 0..self.blocks {
            last = w.scope(b, &format!("bottlenecks.{block}"), |b, w| {
                let y = layer(b, w, "conv1", &last, [self.hidden, 3, 1]);
                layer(b, w, "conv2", &y, [self.hidden, 3, 1])
            });
            parts.push(last.clone());
        }
        let all = b.concat(&parts.iter().collect::<Vec<_>>(), -1);
        layer(b, w, "conv2", &all, [self.out, 1, 1])
    }
}
