//! The tokens of YOLOS: class token, patches and detection tokens, their positions, and the way through the encoder.
//!
//! In an exact graph they stand in the original's order. Otherwise those that are the same for every image, the class
//! token and the detection tokens, come first with their positions already added; attention does not know an order.

use graph::builder::Conv;
use graph::{Builder, Tensor, Value};

use super::config::YolosConfig;
use crate::layers::{Interpolate, conv2d, deferred_floats, floats, layer_norm, vit_block, widened};
use crate::weights::Weights;

/// The detection tokens after the encoder, `[batch, detection tokens, hidden_size]`.
pub(super) fn detections(
    b: &mut Builder,
    w: &Weights,
    config: &YolosConfig,
    pixels: &Value,
    grid: [usize; 2],
) -> Value {
    let x = w.scope(b, "embeddings", |b, w| embed(b, w, config, pixels, grid));
    let x = w.scope(b, "encoder", |b, w| encode(b, w, config, x, grid));
    let norm = |b: &mut Builder, x: &Value| layer_norm(b, w, "layernorm", x, config.layer_norm_eps);
    let (tokens, count) = (x.size(1), config.detection_tokens);
    if w.exact() {
        let x = norm(b, &x);
        return b.slice(&x, 1, tokens.saturating_sub(count), tokens);
    }
    let x = b.slice(&x, 1, 1, 1 + count);
    norm(b, &x)
}

fn embed(b: &mut Builder, w: &Weights, config: &YolosConfig, pixels: &Value, grid: [usize; 2]) -> Value {
    let (size, side, count) = (config.hidden_size, config.patch_size, config.detection_tokens);
    let moves = Conv::new(side, 0);
    let map = conv2d(b, w, "patch_embeddings.projection", pixels, [size, side], moves, true);
    let flat = b.flatten_from(&map, 2);
    let patches = b.transpose(&flat, &[0, 2, 1]);
    let positions = w.tensor("position_embeddings", &[1, config.positions(), size]);
    if w.exact() {
        let class = w.constant(b, "cls_token", &[1, 1, size], widened);
        let own = w.constant(b, "detection_tokens", &[1, count, size], widened);
        let (class, own) = (b.expand_batch(&class, pixels), b.expand_batch(&own, pixels));
        let x = b.concat(&[&class, &patches, &own], 1);
        let table = b.weight(&w.full("position_embeddings"), table(config, &positions, 0, grid, true));
        return b.add(&x, &table);
    }
    let fixed = b.weight(&w.full("tokens"), fixed_tokens(w, config, &positions));
    let table = b.weight(&w.full("position_embeddings"), patch_table(config, positions, grid));
    let patches = b.add(&patches, &table);
    let fixed = b.expand_batch(&fixed, pixels);
    b.concat(&[&fixed, &patches], 1)
}

fn encode(b: &mut Builder, w: &Weights, config: &YolosConfig, mut x: Value, grid: [usize; 2]) -> Value {
    let steps = config.layers.saturating_sub(1);
    let between = (config.use_mid_position_embeddings && steps > 0).then(|| {
        let shape = [steps, 1, config.positions(), config.hidden_size];
        w.tensor("interpolation.mid_position_embeddings", &shape)
    });
    for layer in 0..config.layers {
        x = w.scope(b, &format!("layer.{layer}"), |b, w| vit_block(b, w, &x, &config.block));
        if let Some(stored) = between.as_ref().filter(|_| layer < steps) {
            let name = w.full(&format!("interpolation.mid_position_embeddings.{layer}"));
            let position = b.weight(&name, table(config, stored, layer, grid, w.exact()));
            x = b.add(&x, &position);
        }
    }
    x
}

/// The `step`-th of the stored tables at the size of this grid, `[1, tokens, hidden_size]`. In the `original` order the
/// detection tokens are last, else they follow the class token.
fn table(config: &YolosConfig, stored: &Tensor, step: usize, grid: [usize; 2], original: bool) -> Tensor {
    let (size, from) = (config.hidden_size, config.trained);
    let own = config.detection_tokens * size;
    let stored = stored.clone();
    deferred_floats(&[1, 1 + grid[0] * grid[1] + config.detection_tokens, size], move || {
        let stored = stored.row(step).expect("a table for each step");
        let all = floats(&stored);
        let (class, rest) = all.split_at(size);
        let (patches, own) = rest.split_at(rest.len() - own);
        let patches = Interpolate::BICUBIC.grid(patches, size, from, grid);
        if original { [class, &patches, own].concat() } else { [class, own, &patches].concat() }
    })
}

/// The positions of the patches alone.
fn patch_table(config: &YolosConfig, stored: Tensor, grid: [usize; 2]) -> Tensor {
    let (size, from) = (config.hidden_size, config.trained);
    deferred_floats(&[1, grid[0] * grid[1], size], move || {
        let all = floats(&stored);
        Interpolate::BICUBIC.grid(&all[size..][..from[0] * from[1] * size], size, from, grid)
    })
}

/// The class token and the detection tokens, each with its position.
fn fixed_tokens(w: &Weights, config: &YolosConfig, positions: &Tensor) -> Tensor {
    let (size, count) = (config.hidden_size, config.detection_tokens);
    let class = w.tensor("cls_token", &[1, 1, size]);
    let own = w.tensor("detection_tokens", &[1, count, size]);
    let positions = positions.clone();
    deferred_floats(&[1, 1 + count, size], move || {
        let (class, own, positions) = (floats(&class), floats(&own), floats(&positions));
        let places = positions[..size].iter().chain(&positions[positions.len() - count * size..]);
        class.iter().chain(own.iter()).zip(places).map(|(token, place)| token + place).collect()
    })
}
