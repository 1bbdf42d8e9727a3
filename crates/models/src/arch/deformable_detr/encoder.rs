//! The encoder: each cell looks at a few places around it, on every level.

use graph::{Builder, Value};

use super::EPSILON;
use super::config::DeformableDetrConfig;
use crate::layers::{
    Deformable, LevelRatios, Pyramid, Reference, deformable_attention, feed_forward, layer_norm,
};
use crate::weights::Weights;

/// The cells `[batch, cells, width]` of the pyramid after all layers.
pub(super) fn build(
    b: &mut Builder,
    w: &Weights,
    config: &DeformableDetrConfig,
    pyramid: &Pyramid,
    spec: &Deformable,
) -> Value {
    let mut x = pyramid.cells.clone();
    if config.encoder.layers == 0 {
        return x;
    }
    w.scope(b, "encoder", |b, w| {
        let padded = pyramid.padded.as_ref();
        let ratios = padded.map(|padded| LevelRatios::new(b, &padded.ratios, spec));
        let reference = Reference::cells(b, w, ratios.as_ref(), spec);
        let is_image = padded.map(|padded| &padded.is_image);
        let sizes = [config.encoder.inner, config.width];
        for index in 0..config.encoder.layers {
            x = w.scope(b, &format!("layers.{index}"), |b, w| {
                let placed = b.add(&x, &pyramid.positions);
                let seen = deformable_attention(b, w, "self_attn", &placed, &x, is_image, &reference, spec);
                let sum = b.add(&x, &seen);
                let x = layer_norm(b, w, "self_attn_layer_norm", &sum, EPSILON);
                let fed = feed_forward(b, w, &x, sizes, config.between);
                let sum = b.add(&x, &fed);
                layer_norm(b, w, "final_layer_norm", &sum, EPSILON)
            });
        }
        x
    })
}
