//! `config.json` of Deformable DETR, with the defaults of transformers.

use serde::Deserialize;

use crate::Error;
use crate::config::{CONFIG, Config, Limits};
use crate::layers::{Backbone, Between, GROUPS};

/// One half of the transformer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Half {
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// Points on each level.
    pub(super) points: usize,
    /// Elements between the two linear layers.
    pub(super) inner: usize,
}

/// The configuration, checked.
#[derive(Debug)]
pub(super) struct DeformableDetrConfig {
    pub(super) backbone: Backbone,
    pub(super) width: usize,
    pub(super) levels: usize,
    pub(super) queries: usize,
    pub(super) encoder: Half,
    pub(super) decoder: Half,
    pub(super) between: Between,
    /// Positions come from tables for rows and columns.
    pub(super) learned_positions: bool,
    /// Each layer moves the boxes.
    pub(super) refines: bool,
    /// Queries are the best of the encoder's cells.
    pub(super) two_stage: bool,
}

#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    num_channels: usize,
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
    two_stage_num_proposals: usize,
    with_box_refine: bool,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            num_channels: 3,
            num_queries: 300,
            encoder_layers: 6,
            encoder_ffn_dim: 1024,
            encoder_attention_heads: 8,
            decoder_layers: 6,
            decoder_ffn_dim: 1024,
            decoder_attention_heads: 8,
            activation_function: "relu".into(),
            d_model: 256,
            position_embedding_type: "sine".into(),
            num_feature_levels: 4,
            encoder_n_points: 4,
            decoder_n_points: 4,
            two_stage: false,
            two_stage_num_proposals: 300,
            with_box_refine: false,
        }
    }
}

/// The names that the library understands besides the family's own.
const ALIASES: [(&str, &str); 2] =
    [("hidden_size", "d_model"), ("num_attention_heads", "encoder_attention_heads")];

impl DeformableDetrConfig {
    /// Reads and checks the configuration.
    pub(super) fn read(config: &Config) -> Result<Self, Error> {
        let mut object = config.raw().clone();
        for (general, own) in ALIASES {
            if let (Some(value), false) = (object.get(general).cloned(), object.contains_key(own)) {
                object.insert(own.into(), value);
            }
        }
        let raw: Raw = Config::parse(&object)?;
        raw.check()?;
        let learned_positions = match raw.position_embedding_type.as_str() {
            "sine" => false,
            "learned" => true,
            other => {
                return Err(refuse("position_embedding_type", format!("`{other}`"), "`sine` or `learned`"));
            }
        };
        let name = &raw.activation_function;
        let between = Between::by_name(name)
            .map_err(|expected| refuse("activation_function", format!("`{name}`"), &expected))?;
        let outputs: &[i64] = if raw.num_feature_levels > 1 { &[2, 3, 4] } else { &[4] };
        Ok(Self {
            backbone: Backbone::from_config(&object, outputs)?,
            width: raw.d_model,
            levels: raw.num_feature_levels,
            queries: if raw.two_stage { raw.two_stage_num_proposals } else { raw.num_queries },
            encoder: Half {
                layers: raw.encoder_layers,
                heads: raw.encoder_attention_heads,
                points: raw.encoder_n_points,
                inner: raw.encoder_ffn_dim,
            },
            decoder: Half {
                layers: raw.decoder_layers,
                heads: raw.decoder_attention_heads,
                points: raw.decoder_n_points,
                inner: raw.decoder_ffn_dim,
            },
            between,
            learned_positions,
            refines: raw.with_box_refine,
            two_stage: raw.two_stage,
        })
    }
}

impl Raw {
    fn check(&self) -> Result<(), Error> {
        let limits = Limits::of("");
        limits.within("num_channels", self.num_channels, 3, 3)?;
        for (key, width) in [
            ("d_model", self.d_model),
            ("encoder_ffn_dim", self.encoder_ffn_dim),
            ("decoder_ffn_dim", self.decoder_ffn_dim),
        ] {
            limits.width(key, width)?;
        }
        if !self.d_model.is_multiple_of(GROUPS) {
            return Err(refuse("d_model", self.d_model.to_string(), "a multiple of 32"));
        }
        limits.within("encoder_layers", self.encoder_layers, 0, 512)?;
        limits.layers("decoder_layers", self.decoder_layers)?;
        limits.heads("encoder_attention_heads", self.encoder_attention_heads, self.d_model)?;
        limits.heads("decoder_attention_heads", self.decoder_attention_heads, self.d_model)?;
        limits.within("num_queries", self.num_queries, 1, 100_000)?;
        limits.within("two_stage_num_proposals", self.two_stage_num_proposals, 1, 100_000)?;
        limits.within("num_feature_levels", self.num_feature_levels, 1, 16)?;
        limits.within("encoder_n_points", self.encoder_n_points, 1, 256)?;
        limits.within("decoder_n_points", self.decoder_n_points, 1, 256)?;
        if self.two_stage && !self.with_box_refine {
            return Err(refuse("with_box_refine", "false".into(), "true, as `two_stage` is"));
        }
        Ok(())
    }
}

fn refuse(key: &str, value: String, expected: &str) -> Error {
    Error::unsupported(CONFIG, key, value, expected)
}
