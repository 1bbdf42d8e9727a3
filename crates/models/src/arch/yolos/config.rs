//! `config.json` of YOLOS, with the defaults of transformers.

use serde::Deserialize;

use crate::Error;
use crate::config::{CONFIG, Config, Limits};
use crate::layers::{Activation, VitAttention, VitBlock, VitMlp};

/// The configuration, checked.
#[derive(Debug)]
pub(super) struct YolosConfig {
    pub(super) hidden_size: usize,
    pub(super) layers: usize,
    pub(super) patch_size: usize,
    /// Rows and columns of patches that the position tables are for.
    pub(super) trained: [usize; 2],
    pub(super) detection_tokens: usize,
    pub(super) use_mid_position_embeddings: bool,
    pub(super) layer_norm_eps: f32,
    pub(super) block: VitBlock<'static>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    layer_norm_eps: f32,
    image_size: Sides,
    patch_size: Sides,
    num_channels: usize,
    qkv_bias: bool,
    num_detection_tokens: usize,
    use_mid_position_embeddings: bool,
}

/// One side of a square, or height and width.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Sides {
    Square(usize),
    Both([usize; 2]),
}

impl Sides {
    fn both(self) -> [usize; 2] {
        match self {
            Self::Square(side) => [side; 2],
            Self::Both(sides) => sides,
        }
    }
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-12,
            image_size: Sides::Both([512, 864]),
            patch_size: Sides::Square(16),
            num_channels: 3,
            qkv_bias: true,
            num_detection_tokens: 100,
            use_mid_position_embeddings: true,
        }
    }
}

impl YolosConfig {
    /// Reads and checks the configuration.
    pub(super) fn read(config: &Config) -> Result<Self, Error> {
        let raw: Raw = Config::parse(config.raw())?;
        let limits = Limits::of("");
        limits.width("hidden_size", raw.hidden_size)?;
        limits.width("intermediate_size", raw.intermediate_size)?;
        limits.layers("num_hidden_layers", raw.num_hidden_layers)?;
        limits.heads("num_attention_heads", raw.num_attention_heads, raw.hidden_size)?;
        limits.within("num_detection_tokens", raw.num_detection_tokens, 1, 100_000)?;
        limits.within("num_channels", raw.num_channels, 3, 3)?;
        let [patch_size, other] = raw.patch_size.both();
        limits.within("patch_size", patch_size, 1, 1024)?;
        if patch_size != other {
            return Err(refuse("patch_size", format!("{patch_size}×{other}"), "a square"));
        }
        let image_size = raw.image_size.both();
        for side in image_size {
            limits.within("image_size", side, patch_size, 16_384)?;
        }
        if !(raw.layer_norm_eps.is_finite() && raw.layer_norm_eps >= 0.0) {
            return Err(refuse("layer_norm_eps", raw.layer_norm_eps.to_string(), "a positive number"));
        }
        let activation = Activation::by_name(&raw.hidden_act)
            .map_err(|expected| refuse("hidden_act", format!("`{}`", raw.hidden_act), &expected))?;
        Ok(Self {
            hidden_size: raw.hidden_size,
            layers: raw.num_hidden_layers,
            patch_size,
            trained: image_size.map(|side| side / patch_size),
            detection_tokens: raw.num_detection_tokens,
            use_mid_position_embeddings: raw.use_mid_position_embeddings,
            layer_norm_eps: raw.layer_norm_eps,
            block: block(&raw, activation),
        })
    }

    /// Rows and columns of patches of an image of this size.
    pub(super) fn grid(&self, height: usize, width: usize) -> Result<[usize; 2], Error> {
        let grid = [height, width].map(|side| side / self.patch_size);
        if grid.contains(&0) {
            return Err(Error::Underivable {
                what: "a usable input size",
                reason: format!("{height}×{width} is smaller than a patch of {} pixels", self.patch_size),
                option: "--size WIDTHxHEIGHT",
            });
        }
        Ok(grid)
    }

    /// Rows of a stored position table: class token, patches, detection tokens.
    pub(super) fn positions(&self) -> usize {
        1 + self.trained[0] * self.trained[1] + self.detection_tokens
    }
}

fn block(raw: &Raw, activation: Activation) -> VitBlock<'static> {
    VitBlock {
        norms: ["layernorm_before", "layernorm_after"],
        epsilon: raw.layer_norm_eps,
        attention: VitAttention {
            names: [
                "attention.attention.query",
                "attention.attention.key",
                "attention.attention.value",
                "attention.output.dense",
            ],
            biased: [raw.qkv_bias; 3],
            heads: raw.num_attention_heads,
            head: raw.hidden_size / raw.num_attention_heads,
            merged: 1,
        },
        mlp: VitMlp::Plain {
            names: ["intermediate.dense", "output.dense"],
            hidden: raw.intermediate_size,
            activation,
        },
        scales: None,
    }
}

fn refuse(key: &str, value: String, expected: &str) -> Error {
    Error::unsupported(CONFIG, key, value, expected)
}
