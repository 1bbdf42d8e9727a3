//! `config.json` of DAB-DETR, with the defaults of transformers.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Error;
use crate::arch::detr::{Defaults, DetrConfig, refuse};
use crate::config::{Config, Limits};
use crate::layers::Sine;

const DEFAULTS: Defaults = Defaults { queries: 300, activation: "prelu" };

/// The configuration, checked.
#[derive(Debug)]
pub(super) struct DabDetrConfig {
    /// What DETR has, too; `queries` are all of them, patterns counted.
    pub(super) shared: DetrConfig,
    /// Learned boxes.
    pub(super) boxes: usize,
    /// Learned contents that each box is tried with; 0: queries start from zeros.
    pub(super) patterns: usize,
    /// Whether every layer adds its places to contents when it asks the image, not the first only.
    pub(super) keeps_places: bool,
    pub(super) normalizes_memory: bool,
    pub(super) sine: Sine,
}

/// What DETR has not.
#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    hidden_size: usize,
    temperature_height: f64,
    temperature_width: f64,
    query_dim: usize,
    keep_query_pos: bool,
    num_patterns: usize,
    normalize_before: bool,
    sine_position_embedding_scale: f64,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            hidden_size: 256,
            temperature_height: 20.0,
            temperature_width: 20.0,
            query_dim: 4,
            keep_query_pos: false,
            num_patterns: 0,
            normalize_before: false,
            sine_position_embedding_scale: 2.0 * std::f64::consts::PI,
        }
    }
}

impl DabDetrConfig {
    /// Reads and checks the configuration.
    pub(super) fn read(config: &Config) -> Result<Self, Error> {
        let raw: Raw = Config::parse(config.raw())?;
        if raw.query_dim != 4 {
            return Err(refuse("query_dim", raw.query_dim.to_string(), "4"));
        }
        let limits = Limits::of("");
        limits.width("hidden_size", raw.hidden_size)?;
        limits.within("num_patterns", raw.num_patterns, 0, 1024)?;
        for (key, value) in [
            ("temperature_height", raw.temperature_height),
            ("temperature_width", raw.temperature_width),
            ("sine_position_embedding_scale", raw.sine_position_embedding_scale),
        ] {
            if !value.is_finite() || value <= 0.0 {
                return Err(refuse(key, value.to_string(), "a positive number"));
            }
        }
        // The rest has the names of DETR, without the switches that this family lacks.
        let mut object = config.raw().clone();
        object.insert("d_model".into(), json!(raw.hidden_size));
        for absent in ["num_channels", "position_embedding_type", "auxiliary_loss"] {
            object.insert(absent.into(), Value::Null);
        }
        let mut shared = DetrConfig::from_object(&object, DEFAULTS)?;
        let boxes = shared.queries;
        shared.queries = boxes * raw.num_patterns.max(1);
        limits.within("num_queries", shared.queries, 1, 100_000)?;
        Ok(Self {
            boxes,
            patterns: raw.num_patterns,
            keeps_places: raw.keep_query_pos,
            normalizes_memory: raw.normalize_before,
            sine: Sine {
                temperatures: [raw.temperature_height, raw.temperature_width],
                scale: raw.sine_position_embedding_scale,
                ..Sine::new(shared.width)
            },
            shared,
        })
    }
}
