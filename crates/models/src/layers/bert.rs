//! BERT: the encoder that makes features of text.
//!
//! Paper: <https://arxiv.org/abs/1810.04805>. Reference: `BertModel` in transformers, without its pooler. The text is fixed
//! at export: only the rows of the vocabulary that it uses become part of the graph.

use graph::{Builder, Tensor, Value};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::{Activation, Attended, Attention, attention, deferred_floats, layer_norm, linear};
use crate::config::{CONFIG, Config, Limits};
use crate::weights::Weights;
use crate::{Error, layers::stored::floats};

/// Added to the score of a token that another does not see: far below any score, and finite in half precision.
const UNSEEN: f32 = -1e4;

/// Names of the projections.
const PROJECTIONS: [&str; 4] = ["self.query", "self.key", "self.value", "output.dense"];

/// What the configuration says.
#[derive(Debug, Clone)]
pub(crate) struct Bert {
    vocabulary: usize,
    pub(crate) width: usize,
    layers: usize,
    heads: usize,
    inner: usize,
    activation: Activation,
    positions: usize,
    types: usize,
    epsilon: f32,
}

/// A text as the encoder sees it.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) ids: Vec<u32>,
    /// The position that each token is told to have.
    pub(crate) positions: Vec<usize>,
    /// Whether a token (row) sees another, row by row.
    pub(crate) sees: Vec<bool>,
}

impl Tokens {
    /// What is added to scores `[…, tokens, tokens]`: 0 where a token is seen, very small where not; `[1, 1, tokens,
    /// tokens]`.
    pub(crate) fn bias(&self, b: &mut Builder) -> Value {
        let bias = self.sees.iter().map(|sees| if *sees { 0.0 } else { UNSEEN }).collect();
        b.floats(&[1, 1, self.ids.len(), self.ids.len()], bias)
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f32,
    position_embedding_type: String,
    is_decoder: bool,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".into(),
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            position_embedding_type: "absolute".into(),
            is_decoder: false,
        }
    }
}

impl Bert {
    /// Reads `text_config`; without one it is the library's default.
    pub(crate) fn from_config(raw: Option<&Map<String, Json>>) -> Result<Self, Error> {
        let raw = match raw {
            Some(raw) => Config::parse(raw)?,
            None => Raw::default(),
        };
        let limits = Limits::of("text_config.");
        limits.width("hidden_size", raw.hidden_size)?;
        limits.width("intermediate_size", raw.intermediate_size)?;
        limits.heads("num_attention_heads", raw.num_attention_heads, raw.hidden_size)?;
        limits.within("num_hidden_layers", raw.num_hidden_layers, 0, 512)?;
        for (key, size) in [
            ("vocab_size", raw.vocab_size),
            ("max_position_embeddings", raw.max_position_embeddings),
            ("type_vocab_size", raw.type_vocab_size),
        ] {
            limits.within(key, size, 1, 1 << 24)?;
        }
        if raw.position_embedding_type != "absolute" {
            let value = format!("`{}`", raw.position_embedding_type);
            return Err(refuse("position_embedding_type", value, "`absolute`"));
        }
        if raw.is_decoder {
            return Err(refuse("is_decoder", "true".into(), "false"));
        }
        if !(raw.layer_norm_eps.is_finite() && raw.layer_norm_eps > 0.0) {
            return Err(refuse("layer_norm_eps", raw.layer_norm_eps.to_string(), "a positive number"));
        }
        let activation = Activation::by_name(&raw.hidden_act)
            .map_err(|expected| refuse("hidden_act", format!("`{}`", raw.hidden_act), &expected))?;
        Ok(Self {
            vocabulary: raw.vocab_size,
            width: raw.hidden_size,
            layers: raw.num_hidden_layers,
            heads: raw.num_attention_heads,
            inner: raw.intermediate_size,
            activation,
            positions: raw.max_position_embeddings,
            types: raw.type_vocab_size,
            epsilon: raw.layer_norm_eps,
        })
    }

    /// The features of a text `[1, tokens, width]`.
    pub(crate) fn build(&self, b: &mut Builder, w: &Weights, tokens: &Tokens) -> Result<Value, Error> {
        let mut x = w.scope(b, "embeddings", |b, w| self.embed(b, w, tokens))?;
        let bias = tokens.bias(b);
        for layer in 0..self.layers {
            x = w.scope(b, &format!("encoder.layer.{layer}"), |b, w| self.layer(b, w, &x, &bias));
        }
        let unused = ["pooler.", "embeddings.position_ids"].map(|name| w.full(name));
        w.ignore(|name| unused.iter().any(|prefix| name.starts_with(prefix.as_str())));
        Ok(x)
    }

    /// The sum of what word, place and type of each token contribute, normalized.
    fn embed(&self, b: &mut Builder, w: &Weights, tokens: &Tokens) -> Result<Value, Error> {
        if let Some(id) = tokens.ids.iter().find(|id| **id as usize >= self.vocabulary) {
            let value = format!("{} with token {id} in the prompt", self.vocabulary);
            return Err(refuse("vocab_size", value, "the size of the tokenizer's vocabulary"));
        }
        if let Some(place) = tokens.positions.iter().find(|place| **place >= self.positions) {
            let reason =
                format!("has a phrase of more than {place} tokens, the model reads {}", self.positions);
            return Err(Error::Refused { option: "--prompt", reason });
        }
        let table = |name: &str, rows: usize| w.child(name).tensor("weight", &[rows, self.width]);
        let words = table("word_embeddings", self.vocabulary);
        let places = table("position_embeddings", self.positions);
        let types = table("token_type_embeddings", self.types);
        let (ids, positions) = (tokens.ids.clone(), tokens.positions.clone());
        let sums = deferred_floats(&[1, ids.len(), self.width], move || {
            let kind = row(&types, 0);
            let tokens = ids.iter().zip(&positions);
            let sum = |(id, place): (&u32, &usize)| {
                let parts = row(&words, *id as usize).into_iter().zip(row(&places, *place)).zip(kind.clone());
                parts.map(|((word, place), kind)| word + kind + place).collect::<Vec<_>>()
            };
            tokens.flat_map(sum).collect()
        });
        let x = b.weight(&w.full("tokens"), sums);
        Ok(layer_norm(b, w, "LayerNorm", &x, self.epsilon))
    }

    fn layer(&self, b: &mut Builder, w: &Weights, x: &Value, bias: &Value) -> Value {
        let spec = Attention { heads: self.heads, names: PROJECTIONS };
        let of = Attended { queries: x, keys: x, values: x, bias: Some(bias) };
        let attended = attention(b, w, "attention", of, spec);
        let x = b.add(&attended, x);
        let x = layer_norm(b, w, "attention.output.LayerNorm", &x, self.epsilon);
        let hidden = linear(b, w, "intermediate.dense", &x, self.inner);
        let hidden = self.activation.apply(b, &hidden);
        let fed = linear(b, w, "output.dense", &hidden, self.width);
        let x = b.add(&fed, &x);
        layer_norm(b, w, "output.LayerNorm", &x, self.epsilon)
    }
}

/// One row of a table, without widening the others.
fn row(table: &Tensor, at: usize) -> Vec<f32> {
    let row = table.row(at).expect("ids and places were compared with the tables");
    floats(&row).into_owned()
}

fn refuse(field: &str, value: String, expected: &str) -> Error {
    Error::unsupported(CONFIG, &format!("text_config.{field}"), value, expected)
}
