//! The text encoder of CLIP: tokens that see only those before them.
//!
//! Paper: <https://arxiv.org/abs/2103.00020>. Reference: `CLIPTextModel` in transformers. Texts are fixed at export: only
//! the rows of the vocabulary that they use become part of the graph, and all that follows is constant.

use graph::{Builder, Tensor, Value};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::stored::floats;
use super::{Activation, Attended, Attention, attention, deferred_floats, layer_norm, linear};
use crate::Error;
use crate::config::{CONFIG, Config, Limits};
use crate::weights::Weights;

/// Names of an attention's projections.
const PROJECTIONS: [&str; 4] = ["q_proj", "k_proj", "v_proj", "out_proj"];

/// What `text_config` says.
#[derive(Debug, Clone)]
pub(crate) struct ClipText {
    vocabulary: usize,
    pub(crate) width: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    /// Most tokens of a text.
    pub(crate) positions: usize,
    activation: Activation,
    epsilon: f32,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: Option<usize>,
    hidden_act: String,
    layer_norm_eps: f32,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            vocab_size: 49_408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: None,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
        }
    }
}

impl ClipText {
    /// Reads `text_config`; `positions` is how many tokens a text has where it does not say.
    pub(crate) fn from_config(raw: &Map<String, Json>, positions: usize) -> Result<Self, Error> {
        let raw: Raw = Config::parse(raw)?;
        let positions = raw.max_position_embeddings.unwrap_or(positions);
        let limits = Limits::of("text_config.");
        limits.within("vocab_size", raw.vocab_size, 1, 1 << 24)?;
        limits.within("max_position_embeddings", positions, 2, 4096)?;
        limits.within("num_hidden_layers", raw.num_hidden_layers, 0, 512)?;
        limits.width("hidden_size", raw.hidden_size)?;
        limits.width("intermediate_size", raw.intermediate_size)?;
        limits.heads("num_attention_heads", raw.num_attention_heads, raw.hidden_size)?;
        if !(raw.layer_norm_eps.is_finite() && raw.layer_norm_eps > 0.0) {
            return Err(refuse("layer_norm_eps", raw.layer_norm_eps.to_string(), "a positive number"));
        }
        let activation = Activation::by_name(&raw.hidden_act)
            .map_err(|expected| refuse("hidden_act", format!("`{}`", raw.hidden_act), &expected))?;
        Ok(Self {
            vocabulary: raw.vocab_size,
            width: raw.hidden_size,
            hidden: raw.intermediate_size,
            layers: raw.num_hidden_layers,
            heads: raw.num_attention_heads,
            positions,
            activation,
            epsilon: raw.layer_norm_eps,
        })
    }

    /// Features of texts of the same length `[texts, tokens, width]`.
    ///
    /// # Errors
    /// When a text is longer than the encoder reads, or has a token that it does not know.
    pub(crate) fn build(&self, b: &mut Builder, w: &Weights, texts: &[Vec<u32>]) -> Result<Value, Error> {
        let tokens = texts.first().map_or(0, Vec::len);
        if let Some(id) = texts.iter().flatten().find(|id| **id as usize >= self.vocabulary) {
            let value = format!("{} with token {id} in the prompt", self.vocabulary);
            return Err(refuse("vocab_size", value, "the size of the tokenizer's vocabulary"));
        }
        if tokens > self.positions {
            let reason = format!("has a text of {tokens} tokens, the model reads {}", self.positions);
            return Err(Error::Refused { option: "--prompt", reason });
        }
        let mut x = self.embed(b, &w.child("embeddings"), texts, tokens);
        let sees = (0..tokens * tokens).map(|at| if at % tokens <= at / tokens { 0.0 } else { f32::MIN });
        let bias = b.floats(&[1, 1, tokens, tokens], sees.collect());
        for index in 0..self.layers {
            x = w.scope(b, &format!("encoder.layers.{index}"), |b, w| self.layer(b, w, &x, &bias));
        }
        let unused = w.full("embeddings.position_ids");
        w.ignore(|name| name == unused);
        Ok(layer_norm(b, w, "final_layer_norm", &x, self.epsilon))
    }

    /// The sum of what word and place of each token contribute.
    fn embed(&self, b: &mut Builder, w: &Weights, texts: &[Vec<u32>], tokens: usize) -> Value {
        let table = |name: &str, rows: usize| w.child(name).tensor("weight", &[rows, self.width]);
        let words = table("token_embedding", self.vocabulary);
        let places = table("position_embedding", self.positions);
        let texts = texts.to_vec();
        let sums = deferred_floats(&[texts.len(), tokens, self.width], move || {
            let places: Vec<Vec<f32>> = (0..tokens).map(|at| row(&places, at)).collect();
            let sum = |(id, place): (&u32, &Vec<f32>)| {
                let pairs = row(&words, *id as usize).into_iter().zip(place);
                pairs.map(|(word, place)| word + place).collect::<Vec<_>>()
            };
            texts.iter().flat_map(|text| text.iter().zip(&places).flat_map(sum)).collect()
        });
        b.weight(&w.full("tokens"), sums)
    }

    fn layer(&self, b: &mut Builder, w: &Weights, x: &Value, bias: &Value) -> Value {
        let normal = layer_norm(b, w, "layer_norm1", x, self.epsilon);
        let of = Attended { queries: &normal, keys: &normal, values: &normal, bias: Some(bias) };
        let spec = Attention { heads: self.heads, names: PROJECTIONS };
        let attended = attention(b, w, "self_attn", of, spec);
        let x = b.add(x, &attended);
        let normal = layer_norm(b, w, "layer_norm2", &x, self.epsilon);
        let fed = w.scope(b, "mlp", |b, w| {
            let hidden = linear(b, w, "fc1", &normal, self.hidden);
            let hidden = self.activation.apply(b, &hidden);
            linear(b, w, "fc2", &hidden, self.width)
        });
        b.add(&x, &fed)
    }
}

/// The feature of each text's last token (the highest number in it, by CLIP's rule) `[texts, width]`.
pub(crate) fn pooled(b: &mut Builder, features: &Value, texts: &[Vec<u32>]) -> Value {
    let tokens = features.size(1);
    let flat = b.reshape(features, &[-1, features.size(2) as i64]);
    let rows: Vec<usize> =
        texts.iter().enumerate().map(|(text, ids)| text * tokens + last_token(ids)).collect();
    b.take(&flat, &rows, 0)
}

/// Texts cut behind their last tokens: what follows is not seen. The shorter ones end in copies of theirs, so that all
/// are of the same length.
pub(crate) fn cut(texts: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let cut: Vec<&[u32]> = texts.iter().map(|ids| ids.get(..=last_token(ids)).unwrap_or_default()).collect();
    let longest = cut.iter().map(|ids| ids.len()).max().unwrap_or(0);
    let filled = |ids: &&[u32]| {
        let mut filled = ids.to_vec();
        filled.resize(longest, ids.last().copied().unwrap_or(0));
        filled
    };
    cut.iter().map(filled).collect()
}

/// The first place of the highest number.
fn last_token(ids: &[u32]) -> usize {
    let best = ids.iter().enumerate().rev().max_by_key(|(_, id)| **id);
    best.map_or(0, |(at, _)| at)
}

/// One row of a table, without widening the others.
fn row(table: &Tensor, at: usize) -> Vec<f32> {
    let row = table.row(at).expect("ids and places were compared with the tables");
    floats(&row).into_owned()
}

fn refuse(field: &str, value: String, expected: &str) -> Error {
    Error::unsupported(CONFIG, &format!("text_config.{field}"), value, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_with_the_first_of_their_highest_numbers() {
        let texts = [vec![8, 1, 9, 9, 9], vec![8, 9, 9, 9, 9], vec![8, 1, 2, 3, 9]];
        assert_eq!(texts.each_ref().map(|text| last_token(text)), [2, 1, 4]);
        assert_eq!(cut(&texts), [[8, 1, 9, 9, 9], [8, 9, 9, 9, 9], [8, 1, 2, 3, 9]]);
        assert_eq!(cut(&texts[..2]), [[8, 1, 9], [8, 9, 9]]);
        assert!(cut(&[]).is_empty());
    }
}
