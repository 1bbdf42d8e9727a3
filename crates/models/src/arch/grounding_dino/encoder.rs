//! The feature enhancer: in each layer image and text look at each other, then the text at itself and the image at
//! itself.

use graph::{Builder, Value};

use super::config::GroundingDinoConfig;
use super::text::Text;
use crate::layers::{
    Activation, Attended, Attention, Deformable, LevelRatios, Padded, Pyramid, Reference, RowScale,
    attention, deformable_attention, head_factor, joined_linear, layer_norm, linear, scaled_linear, widened,
};
use crate::weights::Weights;

/// Bounds of the scores between image and text, so that half precision does not overflow.
const CLAMP: f32 = 50_000.0;

/// The names of an attention's projections.
pub(super) const PROJECTIONS: [&str; 4] = ["query", "key", "value", "out_proj"];

/// Cells `[batch, cells, d_model]` and tokens `[batch, tokens, d_model]`, enhanced.
pub(super) fn build(
    b: &mut Builder,
    w: &Weights,
    config: &GroundingDinoConfig,
    pyramid: &Pyramid,
    text: &Text,
    spec: &Deformable,
) -> (Value, Value) {
    let ratios = pyramid.padded.as_ref().map(|padded| LevelRatios::new(b, &padded.ratios, spec));
    let mut cells = pyramid.cells.clone();
    let mut tokens = text.features.clone();
    if config.encoder_layers == 0 {
        return (cells, tokens);
    }
    w.scope(b, "encoder", |b, w| {
        let reference = Reference::cells(b, w, ratios.as_ref(), spec);
        for layer in 0..config.encoder_layers {
            w.scope(b, &format!("layers.{layer}"), |b, w| {
                let padded = pyramid.padded.as_ref();
                (cells, tokens) =
                    w.scope(b, "fusion_layer", |b, w| fuse(b, w, config, &cells, &tokens, padded));
                tokens = w.scope(b, "text_enhancer_layer", |b, w| enhance(b, w, config, &tokens, text));
                cells = w.scope(b, "deformable_layer", |b, w| {
                    look_around(b, w, config, &cells, pyramid, &reference, spec)
                });
            });
        }
    });
    (cells, tokens)
}

/// Image and text look at each other.
fn fuse(
    b: &mut Builder,
    w: &Weights,
    config: &GroundingDinoConfig,
    cells: &Value,
    tokens: &Value,
    padded: Option<&Padded>,
) -> (Value, Value) {
    let cells = layer_norm(b, w, "layer_norm_vision", cells, config.layer_norm_eps);
    let tokens = layer_norm(b, w, "layer_norm_text", tokens, config.layer_norm_eps);
    let [seen_text, seen_image] =
        w.scope(b, "attn", |b, w| bidirectional(b, w, config, &cells, &tokens, padded));
    let more = [(&seen_text, &cells, "vision"), (&seen_image, &tokens, "text")].map(|(seen, x, side)| {
        let own = format!("{side}_param");
        let projection = format!("attn.out_{side}_proj");
        let delta = if w.exact() {
            let delta = linear(b, w, &projection, seen, config.d_model);
            let factor = w.constant(b, &own, &[config.d_model], widened);
            b.mul(&factor, &delta)
        } else {
            let factors = w.tensor(&own, &[config.d_model]).to_f32().unwrap_or_default();
            scaled_linear(b, w, &projection, seen, config.d_model, Some(RowScale::each(factors)))
        };
        b.add(x, &delta)
    });
    let [cells, tokens] = more;
    (cells, tokens)
}

/// What cells see in the text and tokens in the image, `[batch, …, width of the attention]`, from the same scores.
fn bidirectional(
    b: &mut Builder,
    w: &Weights,
    config: &GroundingDinoConfig,
    cells: &Value,
    tokens: &Value,
    padded: Option<&Padded>,
) -> [Value; 2] {
    let (heads, width) = (config.text_heads(), config.text_width());
    let factor = head_factor(width, heads);
    // The first rows make the queries of the image.
    let scale = (!w.exact()).then(|| RowScale::each(vec![factor; width]));
    let of_cells = joined_linear(b, w, &["vision_proj", "values_vision_proj"], cells, 2 * width, true, scale);
    let of_tokens = joined_linear(b, w, &["text_proj", "values_text_proj"], tokens, 2 * width, true, None);
    let [(mut q, image_values), (k, text_values)] = [&of_cells, &of_tokens].map(|x| {
        let head = (width / heads) as i64;
        let x = b.reshape(x, &[0, 0, 2 * heads as i64, head]);
        let x = b.transpose(&x, &[0, 2, 1, 3]);
        match &b.split(&x, &[heads; 2], 1)[..] {
            [first, second] => (first.clone(), second.clone()),
            _ => (x.clone(), x),
        }
    });
    if w.exact() {
        let factor = b.scalar(factor);
        q = b.mul(&q, &factor);
    }
    let k = b.transpose(&k, &[0, 1, 3, 2]);
    let scores = b.matmul(&q, &k);
    let (for_cells, mut for_tokens) = clamped(b, w, &scores);
    if let Some(padded) = padded {
        for_tokens = b.add(&for_tokens, &padded.bias);
    }
    [(for_cells, text_values), (for_tokens, image_values)].map(|(scores, values)| {
        let shares = b.softmax(&scores, -1);
        let mixed = b.matmul(&shares, &values);
        let mixed = b.transpose(&mixed, &[0, 2, 1, 3]);
        b.flatten_from(&mixed, 2)
    })
}

/// The scores for both directions. The reference subtracts the largest of them all before it clamps, and that of each
/// token after; a softmax does not change by that, and the images of a batch do not depend on each other without it.
fn clamped(b: &mut Builder, w: &Weights, scores: &Value) -> (Value, Value) {
    if !w.exact() {
        let scores = b.clip(scores, -CLAMP, CLAMP);
        let turned = b.transpose(&scores, &[0, 1, 3, 2]);
        return (scores, turned);
    }
    let largest = b.reduce_max(scores, &[1, 2, 3], true);
    let scores = b.sub(scores, &largest);
    let scores = b.clip(&scores, -CLAMP, CLAMP);
    let turned = b.transpose(&scores, &[0, 1, 3, 2]);
    let largest = b.reduce_max(&turned, &[-1], true);
    let turned = b.sub(&turned, &largest);
    let turned = b.clip(&turned, -CLAMP, CLAMP);
    (scores, turned)
}

/// The tokens of a phrase look at each other.
fn enhance(b: &mut Builder, w: &Weights, config: &GroundingDinoConfig, x: &Value, text: &Text) -> Value {
    let spec = Attention { heads: config.text_heads(), names: PROJECTIONS };
    let placed = b.add(x, &text.positions);
    let of = Attended { queries: &placed, keys: &placed, values: x, bias: Some(&text.bias) };
    let attended = attention(b, w, "self_attn", of, spec);
    let x = b.add(x, &attended);
    let x = layer_norm(b, w, "layer_norm_before", &x, config.layer_norm_eps);
    let fed = feed_forward(b, w, &x, config.text_width(), config.activation);
    let x = b.add(&fed, &x);
    layer_norm(b, w, "layer_norm_after", &x, config.layer_norm_eps)
}

/// Each cell looks at a few places around it, on every level.
fn look_around(
    b: &mut Builder,
    w: &Weights,
    config: &GroundingDinoConfig,
    x: &Value,
    pyramid: &Pyramid,
    reference: &Reference,
    spec: &Deformable,
) -> Value {
    let placed = b.add(x, &pyramid.positions);
    let is_image = pyramid.padded.as_ref().map(|padded| &padded.is_image);
    let seen = deformable_attention(b, w, "self_attn", &placed, x, is_image, reference, spec);
    let x = b.add(x, &seen);
    let x = layer_norm(b, w, "self_attn_layer_norm", &x, config.layer_norm_eps);
    let fed = feed_forward(b, w, &x, config.encoder_ffn_dim, config.activation);
    let x = b.add(&x, &fed);
    layer_norm(b, w, "final_layer_norm", &x, config.layer_norm_eps)
}

/// Two linear layers with an activation between them.
pub(super) fn feed_forward(
    b: &mut Builder,
    w: &Weights,
    x: &Value,
    inner: usize,
    activation: Activation,
) -> Value {
    let hidden = linear(b, w, "fc1", x, inner);
    let hidden = activation.apply(b, &hidden);
    linear(b, w, "fc2", &hidden, x.size(-1))
}
