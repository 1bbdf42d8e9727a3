//! `config.json` of Grounding DINO and MM Grounding DINO, with the defaults of transformers.
//!
//! What the original cannot run either (queries without embeddings, fewer levels than the backbone has maps) is refused
//! here; sizes are bounded here, so that the code behind may loop over them.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Generation;
use crate::Error;
use crate::config::{CONFIG, Config, Limits};
use crate::layers::{self, Activation, Bert, GROUPS, Swin};

/// The configuration, checked.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the file's own switches")]
pub(super) struct GroundingDinoConfig {
    pub(super) backbone: Backbone,
    pub(super) text: Bert,
    pub(super) d_model: usize,
    pub(super) num_queries: usize,
    pub(super) encoder_layers: usize,
    pub(super) encoder_ffn_dim: usize,
    pub(super) encoder_attention_heads: usize,
    pub(super) encoder_n_points: usize,
    pub(super) decoder_layers: usize,
    pub(super) decoder_ffn_dim: usize,
    pub(super) decoder_attention_heads: usize,
    pub(super) decoder_n_points: usize,
    pub(super) activation: Activation,
    pub(super) learned_positions: bool,
    pub(super) temperature: f64,
    pub(super) num_feature_levels: usize,
    pub(super) two_stage: bool,
    pub(super) max_text_len: usize,
    pub(super) decoder_bbox_embed_share: bool,
    pub(super) decoder_cls_embed_share: bool,
    pub(super) layer_norm_eps: f32,
}

/// What makes feature maps of the image.
#[derive(Debug, Clone)]
pub(super) enum Backbone {
    Swin(Swin),
    /// A residual network.
    Other(layers::Backbone),
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the file's own switches")]
struct Raw {
    num_queries: usize,
    encoder_layers: usize,
    encoder_ffn_dim: usize,
    encoder_attention_heads: usize,
    decoder_layers: usize,
    decoder_ffn_dim: usize,
    decoder_attention_heads: usize,
    activation_function: String,
    d_model: usize,
    position_embedding_type: String,
    num_feature_levels: usize,
    encoder_n_points: usize,
    decoder_n_points: usize,
    two_stage: bool,
    max_text_len: usize,
    embedding_init_target: bool,
    query_dim: usize,
    decoder_bbox_embed_share: bool,
    decoder_cls_embed_share: bool,
    positional_embedding_temperature: f64,
    layer_norm_eps: f32,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            num_queries: 900,
            encoder_layers: 6,
            encoder_ffn_dim: 2048,
            encoder_attention_heads: 8,
            decoder_layers: 6,
            decoder_ffn_dim: 2048,
            decoder_attention_heads: 8,
            activation_function: "relu".into(),
            d_model: 256,
            position_embedding_type: "sine".into(),
            num_feature_levels: 4,
            encoder_n_points: 4,
            decoder_n_points: 4,
            two_stage: true,
            max_text_len: 256,
            embedding_init_target: true,
            query_dim: 4,
            decoder_bbox_embed_share: true,
            decoder_cls_embed_share: true,
            positional_embedding_temperature: 20.0,
            layer_norm_eps: 1e-5,
        }
    }
}

impl GroundingDinoConfig {
    /// Reads and checks the configuration.
    pub(super) fn read(generation: Generation, config: &Config) -> Result<Self, Error> {
        let mut object = config.raw().clone();
        object.retain(|_, value| !value.is_null());
        // Two keys may stand under the library's general names.
        for (general, own) in [("hidden_size", "d_model"), ("num_attention_heads", "encoder_attention_heads")]
        {
            if let (Some(value), false) = (object.get(general).cloned(), object.contains_key(own)) {
                object.insert(own.into(), value);
            }
        }
        let raw: Raw = Config::parse(&object)?;
        raw.check(generation)?;
        let activation = Activation::by_name(&raw.activation_function).map_err(|expected| {
            refuse("activation_function", format!("`{}`", raw.activation_function), &expected)
        })?;
        let learned_positions = match raw.position_embedding_type.as_str() {
            "sine" => false,
            "learned" => true,
            other => {
                return Err(refuse("position_embedding_type", format!("`{other}`"), "`sine` or `learned`"));
            }
        };
        Ok(Self {
            backbone: backbone(&object)?,
            text: text(&object)?,
            d_model: raw.d_model,
            num_queries: raw.num_queries,
            encoder_layers: raw.encoder_layers,
            encoder_ffn_dim: raw.encoder_ffn_dim,
            encoder_attention_heads: raw.encoder_attention_heads,
            encoder_n_points: raw.encoder_n_points,
            decoder_layers: raw.decoder_layers,
            decoder_ffn_dim: raw.decoder_ffn_dim,
            decoder_attention_heads: raw.decoder_attention_heads,
            decoder_n_points: raw.decoder_n_points,
            activation,
            learned_positions,
            temperature: raw.positional_embedding_temperature,
            num_feature_levels: raw.num_feature_levels,
            two_stage: raw.two_stage,
            max_text_len: raw.max_text_len,
            decoder_bbox_embed_share: raw.decoder_bbox_embed_share,
            decoder_cls_embed_share: raw.decoder_cls_embed_share,
            layer_norm_eps: raw.layer_norm_eps,
        })
    }

    /// Heads of the attention between image and text, and of the text to itself.
    pub(super) fn text_heads(&self) -> usize {
        self.encoder_attention_heads / 2
    }

    /// Width of the attention between image and text, and inside the text's feed-forward layers.
    pub(super) fn text_width(&self) -> usize {
        self.encoder_ffn_dim / 2
    }
}

impl Raw {
    fn check(&self, generation: Generation) -> Result<(), Error> {
        let limits = Limits::of("");
        for (key, width) in [
            ("d_model", self.d_model),
            ("encoder_ffn_dim", self.encoder_ffn_dim),
            ("decoder_ffn_dim", self.decoder_ffn_dim),
        ] {
            limits.width(key, width)?;
        }
        limits.layers("decoder_layers", self.decoder_layers)?;
        limits.within("encoder_layers", self.encoder_layers, 0, 512)?;
        limits.within("num_queries", self.num_queries, 1, 100_000)?;
        limits.within("num_feature_levels", self.num_feature_levels, 1, 16)?;
        limits.within("max_text_len", self.max_text_len, 1, 4096)?;
        limits.within("encoder_n_points", self.encoder_n_points, 1, 256)?;
        limits.within("decoder_n_points", self.decoder_n_points, 1, 256)?;
        limits.heads("encoder_attention_heads", self.encoder_attention_heads, self.d_model)?;
        limits.heads("decoder_attention_heads", self.decoder_attention_heads, self.d_model)?;
        let halves = self.encoder_attention_heads / 2;
        let fits = |width: usize| width.checked_rem(halves) == Some(0);
        if !fits(self.d_model) || !fits(self.encoder_ffn_dim / 2) || self.encoder_ffn_dim < 2 {
            let expected = "a number whose half divides `d_model` and half of `encoder_ffn_dim`";
            return Err(refuse(
                "encoder_attention_heads",
                self.encoder_attention_heads.to_string(),
                expected,
            ));
        }
        if !self.d_model.is_multiple_of(GROUPS) {
            return Err(refuse("d_model", self.d_model.to_string(), "a multiple of 32"));
        }
        if self.query_dim / 2 != 2 {
            return Err(refuse("query_dim", self.query_dim.to_string(), "4, the numbers of a box"));
        }
        if !self.embedding_init_target {
            return Err(refuse("embedding_init_target", "false".into(), "true"));
        }
        if generation == Generation::Mm && !self.two_stage {
            return Err(refuse("two_stage", "false".into(), "true"));
        }
        for (key, value) in [
            ("layer_norm_eps", f64::from(self.layer_norm_eps)),
            ("positional_embedding_temperature", self.positional_embedding_temperature),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return Err(refuse(key, value.to_string(), "a positive number"));
            }
        }
        Ok(())
    }
}

/// The backbone: `backbone_config`, a timm network by name, or the Swin that the library fills in.
fn backbone(object: &Map<String, Value>) -> Result<Backbone, Error> {
    match object.get("backbone_config") {
        Some(Value::Object(raw)) => match raw.get("model_type").and_then(Value::as_str) {
            Some("swin") | None => Swin::from_config(raw).map(Backbone::Swin),
            Some("resnet" | "timm_backbone") => {
                layers::Backbone::from_config(object, &[-1]).map(Backbone::Other)
            }
            Some(other) => {
                let expected = "`swin`, `resnet` or `timm_backbone`";
                Err(refuse("backbone_config.model_type", format!("`{other}`"), expected))
            }
        },
        None if object.contains_key("backbone") => {
            let mut object = object.clone();
            object.entry("use_timm_backbone").or_insert(json!(false));
            layers::Backbone::from_config(&object, &[-1]).map(Backbone::Other)
        }
        None => {
            let default = Map::from_iter([("out_indices".to_owned(), json!([2, 3, 4]))]);
            Swin::from_config(&default).map(Backbone::Swin)
        }
        Some(other) => Err(refuse("backbone_config", other.to_string(), "an object")),
    }
}

/// The encoder of text: `text_config`, or the library's default.
fn text(object: &Map<String, Value>) -> Result<Bert, Error> {
    match object.get("text_config") {
        None => Bert::from_config(None),
        Some(Value::Object(raw)) => match raw.get("model_type").and_then(Value::as_str) {
            Some("bert") | None => Bert::from_config(Some(raw)),
            Some(other) => Err(refuse("text_config.model_type", format!("`{other}`"), "`bert`")),
        },
        Some(other) => Err(refuse("text_config", other.to_string(), "an object")),
    }
}

fn refuse(field: &str, value: String, expected: &str) -> Error {
    Error::unsupported(CONFIG, field, value, expected)
}
