//! `config.json` of OWL-ViT and `OWLv2`, with the defaults of transformers.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Error;
use crate::config::{CONFIG, Config, Limits};
use crate::layers::{Activation, ClipText};

/// Most tokens of a query where `text_config` does not say.
const POSITIONS: usize = 16;

/// The configuration, checked.
#[derive(Debug)]
pub(super) struct OwlConfig {
    pub(super) text: ClipText,
    pub(super) vision: Vision,
}

/// The image encoder.
#[derive(Debug)]
pub(super) struct Vision {
    pub(super) width: usize,
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// Side of the images that the positions were trained for.
    pub(super) image: usize,
    pub(super) patch: usize,
    pub(super) activation: Activation,
    pub(super) epsilon: f32,
}

#[derive(Deserialize)]
#[serde(default)]
struct RawVision {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_channels: usize,
    image_size: usize,
    patch_size: Option<usize>,
    hidden_act: String,
    layer_norm_eps: f32,
}

impl Default for RawVision {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 768,
            patch_size: None,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
        }
    }
}

impl OwlConfig {
    /// Reads and checks the configuration; `patch` is the side of a patch where the file does not say.
    pub(super) fn read(config: &Config, patch: usize) -> Result<Self, Error> {
        let text = ClipText::from_config(&part(config, "text_config")?, POSITIONS)?;
        let vision = Vision::read(&part(config, "vision_config")?, patch)?;
        let projected = match config.raw().get("projection_dim").filter(|value| !value.is_null()) {
            None => Some(512),
            Some(value) => value.as_u64(),
        };
        if projected != Some(text.width as u64) {
            let value = config.raw().get("projection_dim").map_or("512".into(), ToString::to_string);
            let expected = format!("{}, the width of the text encoder", text.width);
            return Err(Error::unsupported(CONFIG, "projection_dim", value, expected));
        }
        Ok(Self { text, vision })
    }
}

impl Vision {
    fn read(raw: &Map<String, Value>, patch: usize) -> Result<Self, Error> {
        let raw: RawVision = Config::parse(raw)?;
        let patch = raw.patch_size.unwrap_or(patch);
        let limits = Limits::of("vision_config.");
        limits.width("hidden_size", raw.hidden_size)?;
        limits.width("intermediate_size", raw.intermediate_size)?;
        limits.within("num_hidden_layers", raw.num_hidden_layers, 0, 512)?;
        limits.heads("num_attention_heads", raw.num_attention_heads, raw.hidden_size)?;
        limits.within("num_channels", raw.num_channels, 3, 3)?;
        limits.within("image_size", raw.image_size, 1, 16_384)?;
        limits.within("patch_size", patch, 1, raw.image_size)?;
        if !(raw.layer_norm_eps.is_finite() && raw.layer_norm_eps > 0.0) {
            return Err(refuse("layer_norm_eps", raw.layer_norm_eps.to_string(), "a positive number"));
        }
        let activation = Activation::by_name(&raw.hidden_act)
            .map_err(|expected| refuse("hidden_act", format!("`{}`", raw.hidden_act), &expected))?;
        Ok(Self {
            width: raw.hidden_size,
            hidden: raw.intermediate_size,
            layers: raw.num_hidden_layers,
            heads: raw.num_attention_heads,
            image: raw.image_size,
            patch,
            activation,
            epsilon: raw.layer_norm_eps,
        })
    }
}

/// An object of the configuration; empty where there is none.
fn part(config: &Config, key: &str) -> Result<Map<String, Value>, Error> {
    match config.raw().get(key) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(part)) => Ok(part.clone()),
        Some(other) => Err(Error::unsupported(CONFIG, key, other, "an object")),
    }
}

fn refuse(field: &str, value: String, expected: &str) -> Error {
    Error::unsupported(CONFIG, &format!("vision_config.{field}"), value, expected)
}
