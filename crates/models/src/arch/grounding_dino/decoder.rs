//! Query selection and the decoder: the cells that the text describes best become boxes, and each layer moves them.

use graph::{Builder, Tensor, Value};

use super::config::GroundingDinoConfig;
use super::encoder::{PROJECTIONS, feed_forward};
use super::{Generation, heads};
use crate::Error;
use crate::config::CONFIG;
use crate::layers::{
    Attended, Attention, BoxForm, Deformable, LevelRatios, Pyramid, Reference, Sine, attention, box_sine,
    deferred_floats, deformable_attention, layer_norm, linear, mlp, proposals,
};
use crate::weights::Weights;

/// Smallest number that the reference takes the inverse sigmoid of.
const EPSILON: f32 = 1e-5;
/// The inverse sigmoid of the largest number that it takes it of, `1 - 1e-5`.
const LARGEST_LOGIT: f32 = 11.512_915;

/// What the decoder looks at.
pub(super) struct Memory<'a> {
    pub(super) cells: &'a Value,
    pub(super) tokens: &'a Value,
    pub(super) pyramid: &'a Pyramid,
}

/// Boxes as logits, `[1 or batch, queries, 4]`.
pub(super) fn select(
    b: &mut Builder,
    w: &Weights,
    config: &GroundingDinoConfig,
    generation: Generation,
    memory: &Memory<'_>,
) -> Result<Value, Error> {
    let (queries, width) = (config.num_queries, config.d_model);
    if !config.two_stage {
        let table = w.child("reference_points").tensor("weight", &[queries, 4]);
        return Ok(constant(b, &w.full("reference_points.weight"), table));
    }
    if memory.cells.size(1) < queries {
        let expected = format!("at most {}, the cells of this input size", memory.cells.size(1));
        return Err(Error::unsupported(CONFIG, "num_queries", queries, expected));
    }
    let proposals = proposals(b, &memory.pyramid.levels, BoxForm::Logits);
    let kept = proposals.counts.as_ref().map(|counts| b.mul(memory.cells, counts));
    let x = linear(b, w, "enc_output", kept.as_ref().unwrap_or(memory.cells), width);
    let candidates = layer_norm(b, w, "enc_output_norm", &x, config.layer_norm_eps);
    let scores = heads::encoder_scores(b, w, generation, &candidates, memory.tokens);
    let best = b.reduce_max(&scores, &[-1], false);
    let (_, chosen) = b.top_k(&best, queries, 1);
    let rows = b.gather_rows(&candidates, &chosen);
    let moves = mlp(b, w, "encoder_output_bbox_embed", &rows, &[width, width, 4]);
    let from = proposals.of(b, &chosen);
    Ok(b.add(&moves, &from))
}

/// The last layer's queries `[batch, queries, d_model]`, normalized, and the boxes that it started from as logits. The
/// heads of boxes are modules of `root`.
pub(super) fn decode(
    b: &mut Builder,
    root: &Weights,
    w: &Weights,
    config: &GroundingDinoConfig,
    memory: &Memory<'_>,
    mut logits: Value,
    spec: &Deformable,
) -> (Value, Value) {
    let table = w.child("query_position_embeddings").tensor("weight", &[config.num_queries, config.d_model]);
    let mut x = constant(b, &w.full("query_position_embeddings.weight"), table);
    let padded = memory.pyramid.padded.as_ref();
    let ratios = padded.map(|padded| LevelRatios::new(b, &padded.ratios, spec));
    let first_ratio = padded.map(|padded| {
        let first = b.slice(&padded.ratios, 1, 0, 1);
        b.concat(&[&first, &first], -1)
    });
    w.scope(b, "decoder", |b, w| {
        let mut boxes = b.sigmoid(&logits);
        for layer in 0..config.decoder_layers {
            let reference = Reference::boxes(b, w, &boxes, ratios.as_ref(), spec);
            let on_canvas = first_ratio.as_ref().map(|ratio| b.mul(&boxes, ratio));
            let sine = Sine::new(config.d_model);
            let position = box_sine(b, on_canvas.as_ref().unwrap_or(&boxes), sine);
            let position = mlp(b, w, "reference_points_head", &position, &[config.d_model; 2]);
            x = w.scope(b, &format!("layers.{layer}"), |b, w| {
                decoder_layer(b, w, config, memory, &x, &position, &reference, spec)
            });
            let from = inverse_sigmoid(b, w, &boxes, &logits);
            if layer + 1 == config.decoder_layers {
                logits = from;
                break;
            }
            let moves = heads::box_moves(b, root, config, layer, &x);
            logits = b.add(&moves, &from);
            boxes = b.sigmoid(&logits);
        }
        (layer_norm(b, w, "layer_norm", &x, config.layer_norm_eps), logits)
    })
}

/// The logits of boxes, none farther out than the reference lets them be.
fn inverse_sigmoid(b: &mut Builder, w: &Weights, boxes: &Value, logits: &Value) -> Value {
    if !w.exact() {
        return b.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT);
    }
    let one = b.scalar(1.0);
    let inside = b.clip(boxes, EPSILON, 1.0 - EPSILON);
    let rest = b.sub(&one, &inside);
    let odds = b.div(&inside, &rest);
    b.log(&odds)
}

#[expect(clippy::too_many_arguments, reason = "the parts of one module, each used once")]
fn decoder_layer(
    b: &mut Builder,
    w: &Weights,
    config: &GroundingDinoConfig,
    memory: &Memory<'_>,
    x: &Value,
    position: &Value,
    reference: &Reference,
    spec: &Deformable,
) -> Value {
    let epsilon = config.layer_norm_eps;
    let heads = Attention { heads: config.decoder_attention_heads, names: PROJECTIONS };
    let placed = b.add(x, position);
    let of = Attended { queries: &placed, keys: &placed, values: x, bias: None };
    let attended = attention(b, w, "self_attn", of, heads);
    let x = b.add(x, &attended);
    let x = layer_norm(b, w, "self_attn_layer_norm", &x, epsilon);

    let placed = b.add(&x, position);
    let of = Attended { queries: &placed, keys: memory.tokens, values: memory.tokens, bias: None };
    let read = attention(b, w, "encoder_attn_text", of, heads);
    let x = b.add(&x, &read);
    let x = layer_norm(b, w, "encoder_attn_text_layer_norm", &x, epsilon);

    let placed = b.add(&x, position);
    let is_image = memory.pyramid.padded.as_ref().map(|padded| &padded.is_image);
    let seen = deformable_attention(b, w, "encoder_attn", &placed, memory.cells, is_image, reference, spec);
    let x = b.add(&x, &seen);
    let x = layer_norm(b, w, "encoder_attn_layer_norm", &x, epsilon);

    let fed = feed_forward(b, w, &x, config.decoder_ffn_dim, config.activation);
    let x = b.add(&x, &fed);
    layer_norm(b, w, "final_layer_norm", &x, epsilon)
}

/// A table `[queries, width]` as a batch of one.
fn constant(b: &mut Builder, name: &str, table: Tensor) -> Value {
    let shape = [&[1], table.shape()].concat();
    let values = deferred_floats(&shape, move || {
        table.to_f32().expect("`Weights` hands out floating-point tensors only")
    });
    b.weight(name, values)
}
