//! The text's side: features of the caption, which no image changes before the first layer of the encoder.

use graph::{Builder, Tensor, Value};

use super::config::GroundingDinoConfig;
use super::prompt::Caption;
use crate::Error;
use crate::layers::{deferred_floats, linear};
use crate::weights::Weights;

/// How slow the slowest wave of the positions is.
const TEMPERATURE: f32 = 10_000.0;

/// The caption as the encoder reads it.
pub(super) struct Text {
    /// `[1, tokens, d_model]`.
    pub(super) features: Value,
    /// The place of each token in its phrase: `[1, tokens, d_model]`.
    pub(super) positions: Value,
    /// What is added to the scores of tokens that do not see each other: `[1, 1, tokens, tokens]`.
    pub(super) bias: Value,
}

pub(super) fn build(
    b: &mut Builder,
    w: &Weights,
    config: &GroundingDinoConfig,
    caption: &Caption,
) -> Result<Text, Error> {
    let features = w.scope(b, "text_backbone", |b, w| config.text.build(b, w, &caption.tokens))?;
    let positions = positions(caption.tokens.positions.clone(), config.d_model);
    Ok(Text {
        features: linear(b, w, "text_projection", &features, config.d_model),
        positions: b.weight(&w.full("text_position_embedding"), positions),
        bias: caption.tokens.bias(b),
    })
}

/// Sines and cosines of places, taking turns, in single precision as the reference.
fn positions(places: Vec<usize>, width: usize) -> Tensor {
    deferred_floats(&[1, places.len(), width], move || {
        let slowness = |at: usize| {
            let exponent = (2 * (at / 2)) as f32 / width as f32;
            f64::from(TEMPERATURE).powf(f64::from(exponent)) as f32
        };
        let wave = |place: usize, at: usize| {
            let angle = f64::from(place as f32 * std::f32::consts::TAU / slowness(at));
            if at.is_multiple_of(2) { angle.sin() as f32 } else { angle.cos() as f32 }
        };
        places.iter().flat_map(|place| (0..width).map(move |at| wave(*place, at))).collect()
    })
}
