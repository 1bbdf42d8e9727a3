//! `config.json` of DETR and of the families that kept its fields, with the defaults of transformers.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Error;
use crate::config::{CONFIG, Config, Limits};
use crate::layers::{Backbone, Between};

/// Names of the maps that a timm backbone gives when the file does not say; DETR takes the last.
const OUTPUTS: [i64; 4] = [1, 2, 3, 4];

/// One half of the transformer.
#[derive(Debug, Clone, Copy)]
pub(in crate::arch) struct Half {
    pub(in crate::arch) layers: usize,
    pub(in crate::arch) heads: usize,
    /// Elements between the two linear layers.
    pub(in crate::arch) inner: usize,
}

/// The configuration, checked.
#[derive(Debug)]
pub(in crate::arch) struct DetrConfig {
    pub(in crate::arch) backbone: Backbone,
    pub(in crate::arch) width: usize,
    pub(in crate::arch) queries: usize,
    pub(in crate::arch) encoder: Half,
    pub(in crate::arch) decoder: Half,
    pub(in crate::arch) between: Between,
    /// The decoder's last normalization follows each layer too: the library's switch for training changes inference.
    pub(in crate::arch) normalizes_each_layer: bool,
    /// Positions come from tables for rows and columns.
    pub(in crate::arch) learned_positions: bool,
}

/// The file as it is written. `None`: the family's default.
#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    num_channels: usize,
    num_queries: Option<usize>,
    encoder_layers: usize,
    encoder_ffn_dim: usize,
    encoder_attention_heads: usize,
    decoder_layers: usize,
    decoder_ffn_dim: usize,
    decoder_attention_heads: usize,
    activation_function: Option<String>,
    d_model: usize,
    auxiliary_loss: bool,
    position_embedding_type: String,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            num_channels: 3,
            num_queries: None,
            encoder_layers: 6,
            encoder_ffn_dim: 2048,
            encoder_attention_heads: 8,
            decoder_layers: 6,
            decoder_ffn_dim: 2048,
            decoder_attention_heads: 8,
            activation_function: None,
            d_model: 256,
            auxiliary_loss: false,
            position_embedding_type: "sine".into(),
        }
    }
}

/// The names that the library understands besides the families' own.
const ALIASES: [(&str, &str); 3] = [
    ("hidden_size", "d_model"),
    ("num_attention_heads", "encoder_attention_heads"),
    ("num_hidden_layers", "encoder_layers"),
];

/// The defaults in which the families differ.
#[derive(Debug, Clone, Copy)]
pub(in crate::arch) struct Defaults {
    pub(in crate::arch) queries: usize,
    pub(in crate::arch) activation: &'static str,
}

impl DetrConfig {
    /// Reads and checks the configuration.
    pub(in crate::arch) fn read(config: &Config, defaults: Defaults) -> Result<Self, Error> {
        Self::from_object(config.raw(), defaults)
    }

    /// The same for a file that another family has changed.
    pub(in crate::arch) fn from_object(
        object: &Map<String, Value>,
        defaults: Defaults,
    ) -> Result<Self, Error> {
        let object = with_own_names(object);
        let raw: Raw = Config::parse(&object)?;
        let queries = raw.num_queries.unwrap_or(defaults.queries);
        raw.check(queries)?;
        let learned_positions = match raw.position_embedding_type.as_str() {
            "sine" => false,
            "learned" => true,
            other => {
                return Err(refuse("position_embedding_type", format!("`{other}`"), "`sine` or `learned`"));
            }
        };
        let name = raw.activation_function.as_deref().unwrap_or(defaults.activation);
        let between = Between::by_name(name)
            .map_err(|expected| refuse("activation_function", format!("`{name}`"), &expected))?;
        Ok(Self {
            backbone: Backbone::from_config(&object, &OUTPUTS)?,
            width: raw.d_model,
            queries,
            encoder: Half {
                layers: raw.encoder_layers,
                heads: raw.encoder_attention_heads,
                inner: raw.encoder_ffn_dim,
            },
            decoder: Half {
                layers: raw.decoder_layers,
                heads: raw.decoder_attention_heads,
                inner: raw.decoder_ffn_dim,
            },
            between,
            normalizes_each_layer: raw.auxiliary_loss,
            learned_positions,
        })
    }
}

impl Raw {
    fn check(&self, queries: usize) -> Result<(), Error> {
        let limits = Limits::of("");
        if self.num_channels != 3 {
            return Err(refuse("num_channels", self.num_channels.to_string(), "3"));
        }
        for (key, width) in [
            ("d_model", self.d_model),
            ("encoder_ffn_dim", self.encoder_ffn_dim),
            ("decoder_ffn_dim", self.decoder_ffn_dim),
        ] {
            limits.width(key, width)?;
        }
        limits.within("num_queries", queries, 1, 100_000)?;
        limits.within("encoder_layers", self.encoder_layers, 0, 512)?;
        limits.layers("decoder_layers", self.decoder_layers)?;
        limits.heads("encoder_attention_heads", self.encoder_attention_heads, self.d_model)?;
        limits.heads("decoder_attention_heads", self.decoder_attention_heads, self.d_model)?;
        // Each half of a position is sines and cosines.
        if !self.d_model.is_multiple_of(4) {
            return Err(refuse("d_model", self.d_model.to_string(), "a multiple of 4"));
        }
        Ok(())
    }
}

/// The file with the general names replaced by the families' own, which go first.
fn with_own_names(raw: &Map<String, Value>) -> Map<String, Value> {
    let mut object = raw.clone();
    let present =
        |object: &Map<String, Value>, key: &str| object.get(key).is_some_and(|value| !value.is_null());
    for (general, own) in ALIASES {
        if let (Some(value), false) = (object.get(general).cloned(), present(&object, own)) {
            object.insert(own.into(), value);
        }
    }
    object
}

pub(in crate::arch) fn refuse(key: &str, value: String, expected: &str) -> Error {
    Error::unsupported(CONFIG, key, value, expected)
}
