//! `DINOv3` as a backbone: its maps at three sizes, beside what a few convolutions see in finer detail.

use graph::builder::{Interpolation, Pool};
use graph::{Builder, Value};

use super::config::Deimv2Config;
use crate::Error;
use crate::arch::rt_detr::encoder::layer;
use crate::layers::{Activation, ConvNorm, DinoV3, conv_norm};
use crate::weights::Weights;

/// The feature maps, as wide as the encoder, the finest first.
pub(super) fn build(
    b: &mut Builder,
    w: &Weights,
    config: &Deimv2Config,
    backbone: &DinoV3,
    pixels: &Value,
) -> Result<Vec<Value>, Error> {
    let maps = w.scope(b, "backbone", |b, w| backbone.build(b, w, pixels));
    let details = w.scope(b, "spatial_tuning_adapter", |b, w| details(b, w, config, pixels));
    let grid = backbone.patches((pixels.size(2), pixels.size(3)));
    let mut fused = Vec::with_capacity(details.len());
    for (index, (map, detail)) in maps.iter().zip(&details).enumerate() {
        // The last map but one keeps the size of the patches' grid; those before are larger, those behind smaller.
        let doublings = maps.len() as i32 - 2 - index as i32;
        let [height, width] = grid.map(|side| (side as f64 * 2.0_f64.powi(doublings)) as usize);
        if [height, width] != [detail.size(2), detail.size(3)] {
            return Err(Error::Underivable {
                what: "a usable input size",
                reason: format!(
                    "patches make a map of {height}×{width} and convolutions one of {}×{}",
                    detail.size(2),
                    detail.size(3)
                ),
                option: "--size WIDTHxHEIGHT, multiples of 32",
            });
        }
        let resized = if [height, width] == grid {
            map.clone()
        } else {
            b.resize(map, height, width, Interpolation::Linear)
        };
        let joined = b.concat(&[&resized, detail], 1);
        let plain = ConvNorm { activation: Activation::Identity, ..layer(&config.inner.base, 1, 1) };
        fused.push(w.scope(b, &format!("fusion_proj.{index}"), |b, w| conv_norm(b, w, &joined, plain)));
    }
    Ok(fused)
}

/// Maps of an eighth, a sixteenth and a thirty-second of the image's size.
fn details(b: &mut Builder, w: &Weights, config: &Deimv2Config, pixels: &Value) -> [Value; 3] {
    let width = config.adapter;
    let conv = |b: &mut Builder, name: &str, x: &Value, out: usize, activation: Activation| {
        let spec = ConvNorm { out, activation, ..layer(&config.inner.base, 3, 2) };
        w.scope(b, name, |b, w| conv_norm(b, w, x, spec))
    };
    let x = conv(b, "stem_conv", pixels, width, Activation::Gelu);
    let x = b.max_pool(&x, Pool { kernel: 3, stride: 2, padding: 1, ceil: false });
    let first = conv(b, "conv2", &x, 2 * width, Activation::Identity);
    let x = b.gelu(&first);
    let second = conv(b, "conv3", &x, 4 * width, Activation::Identity);
    let x = b.gelu(&second);
    let third = conv(b, "conv4", &x, 4 * width, Activation::Identity);
    [first, second, third]
}
