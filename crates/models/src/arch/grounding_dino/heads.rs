//! The heads: scores of tokens by comparison with the text, classes by their phrases, moves of boxes.

use graph::{Builder, Value};

use super::Generation;
use super::config::GroundingDinoConfig;
use crate::layers::{mlp, widened};
use crate::weights::Weights;

/// What each candidate has in common with each token `[batch, candidates, tokens]`: the query selection only asks in
/// which order it puts them.
pub(super) fn encoder_scores(
    b: &mut Builder,
    w: &Weights,
    generation: Generation,
    candidates: &Value,
    tokens: &Value,
) -> Value {
    let name = "encoder_output_class_embed";
    if w.exact() {
        return contrast(b, w, name, generation, candidates, tokens);
    }
    let own = w.full(&format!("{name}."));
    w.ignore(|name| name.starts_with(&own));
    b.scoped(name, |b| products(b, candidates, tokens))
}

/// Scores of tokens `[batch, queries, tokens]` of the last layer.
pub(super) fn token_scores(
    b: &mut Builder,
    w: &Weights,
    config: &GroundingDinoConfig,
    generation: Generation,
    queries: &Value,
    tokens: &Value,
) -> Value {
    let layer = if config.decoder_cls_embed_share { 0 } else { config.decoder_layers - 1 };
    contrast(b, w, &format!("class_embed.{layer}"), generation, queries, tokens)
}

fn contrast(
    b: &mut Builder,
    w: &Weights,
    name: &str,
    generation: Generation,
    x: &Value,
    tokens: &Value,
) -> Value {
    w.scope(b, name, |b, w| {
        let scores = products(b, x, tokens);
        if generation == Generation::First {
            return scores;
        }
        let factor = b.scalar((x.size(-1) as f32).sqrt().recip());
        let scores = b.mul(&scores, &factor);
        let bias = w.constant(b, "bias", &[], widened);
        b.add(&scores, &bias)
    })
}

fn products(b: &mut Builder, x: &Value, tokens: &Value) -> Value {
    let tokens = b.transpose(tokens, &[0, 2, 1]);
    b.matmul(x, &tokens)
}

/// The scores of tokens as the original gives them: as many as a caption may have, minus infinity where there is none.
pub(super) fn padded_scores(b: &mut Builder, scores: &Value, config: &GroundingDinoConfig) -> Value {
    let missing = config.max_text_len - scores.size(-1);
    b.pad_with(scores, -1, 0, missing, f32::NEG_INFINITY)
}

/// The score of each class `[batch, queries, classes]`: the largest of its phrase's tokens.
pub(super) fn class_scores(b: &mut Builder, scores: &Value, phrases: &[Vec<usize>]) -> Value {
    b.scoped("phrases", |b| {
        let longest = phrases.iter().map(Vec::len).max().unwrap_or(0);
        if longest == 1 {
            return b.take(scores, &phrases.concat(), -1);
        }
        // Shorter phrases repeat their first token.
        let places: Vec<i64> = phrases
            .iter()
            .flat_map(|phrase| (0..longest).map(|at| *phrase.get(at).unwrap_or(&phrase[0]) as i64))
            .collect();
        let places = b.integers(&[phrases.len(), longest], places);
        let scores = b.gather(scores, &places, -1);
        b.reduce_max(&scores, &[-1], false)
    })
}

/// How a layer moves boxes, as logits `[batch, queries, 4]`.
pub(super) fn box_moves(
    b: &mut Builder,
    w: &Weights,
    config: &GroundingDinoConfig,
    layer: usize,
    x: &Value,
) -> Value {
    let layer = if config.decoder_bbox_embed_share { 0 } else { layer };
    mlp(b, w, &format!("bbox_embed.{layer}"), x, &[config.d_model, config.d_model, 4])
}
