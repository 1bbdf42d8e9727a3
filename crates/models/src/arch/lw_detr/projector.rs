//! The projector of LW-DETR: the feature maps of the backbone at each scale, fused by a cross-stage partial layer.

use graph::builder::Conv;
use graph::{Builder, Value};

use super::Tokens;
use super::vit::Maps;
use crate::layers::{Activation, ConvNorm, conv_norm, layer_norm, widened};
use crate::weights::Weights;

/// ε of the last normalization of a level, which no configuration changes.
pub(in crate::arch) const LAST_EPSILON: f32 = 1e-6;
/// Maps with more channels are made narrower before they are enlarged.
const WIDE: usize = 512;

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
    /// ε of the batch normalizations.
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
            b.split(&maps.value, &vec![self.channels; maps.stages], 1)
        };
        let levels = self.scales.iter().enumerate();
        let level = |(level, scale): (usize, &f64)| {
            let name = format!("scale_layers.{level}");
            w.scope(b, &name, |b, w| {
                let scaled = self.scaled(b, w, maps, &apart, *scale);
                let fused = w.scope(b, "projector_layer", |b, w| self.fuse(b, w, &scaled));
                let size = [fused.size(2), fused.size(3)];
                let channels_last = b.transpose(&fused, &[0, 2, 3, 1]);
                let normal = layer_norm(b, w, "layer_norm", &channels_last, LAST_EPSILON);
                Tokens { value: b.reshape(&normal, &[0, -1, self.out as i64]), size }
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
        let scaled: Vec<Value> = apart
            .iter()
            .enumerate()
            .map(|(index, map)| {
                w.scope(b, &format!("sampling_layers.{index}.layers"), |b, w| {
                    if scale > 1.0 { self.enlarged(b, w, map) } else { self.reduced(b, w, map) }
                })
            })
            .collect();
        b.concat(&scaled.iter().collect::<Vec<_>>(), 1)
    }

    fn enlarged(&self, b: &mut Builder, w: &Weights, map: &Value) -> Value {
        if self.channels <= WIDE {
            return enlarged(b, w, "0", map, self.channels / 2);
        }
        let spec = ConvNorm { activation: Activation::Relu, ..self.layer(self.channels / 2, 1, 1) };
        let narrow = w.scope(b, "0", |b, w| conv_norm(b, w, map, spec));
        enlarged(b, w, "1", &narrow, self.channels / 4)
    }

    fn reduced(&self, b: &mut Builder, w: &Weights, map: &Value) -> Value {
        let spec = ConvNorm { activation: Activation::Relu, ..self.layer(self.channels, 3, 2) };
        w.scope(b, "0", |b, w| conv_norm(b, w, map, spec))
    }

    fn layer(&self, out: usize, kernel: usize, stride: usize) -> ConvNorm<'static> {
        let (epsilon, activation) = (self.epsilon, self.activation);
        ConvNorm { epsilon, activation, ..ConvNorm::new(out, kernel, stride) }
    }

    /// A cross-stage partial layer: half of the channels goes through the blocks, and what comes out of each is kept.
    fn fuse(&self, b: &mut Builder, w: &Weights, x: &Value) -> Value {
        let x = w.scope(b, "conv1", |b, w| conv_norm(b, w, x, self.layer(2 * self.hidden, 1, 1)));
        if self.blocks == 0 {
            return w.scope(b, "conv2", |b, w| conv_norm(b, w, &x, self.layer(self.out, 1, 1)));
        }
        let mut last = b.slice(&x, 1, self.hidden, 2 * self.hidden);
        let mut parts = vec![x];
        for block in 0..self.blocks {
            last = w.scope(b, &format!("bottlenecks.{block}"), |b, w| {
                let spec = self.layer(self.hidden, 3, 1);
                let y = w.scope(b, "conv1", |b, w| conv_norm(b, w, &last, spec));
                w.scope(b, "conv2", |b, w| conv_norm(b, w, &y, spec))
            });
            parts.push(last.clone());
        }
        let all = b.concat(&parts.iter().collect::<Vec<_>>(), 1);
        w.scope(b, "conv2", |b, w| conv_norm(b, w, &all, self.layer(self.out, 1, 1)))
    }
}

/// A map twice as large on each side.
pub(in crate::arch) fn enlarged(b: &mut Builder, w: &Weights, name: &str, map: &Value, out: usize) -> Value {
    w.scope(b, name, |b, w| {
        let weight = w.constant(b, "weight", &[map.size(1), out, 2, 2], widened);
        let bias = w.constant(b, "bias", &[out], widened);
        b.conv_transpose(map, &weight, Some(&bias), Conv::new(2, 0))
    })
}
