//! `config.json` of OmDet-Turbo, with the defaults of transformers.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::backbone::VisionBackbone;
use crate::Error;
use crate::config::{CONFIG, Config, Limits};
use crate::layers::{Activation, ClipText};

/// Most tokens of a class or a task, by the processor.
pub(super) const LONGEST_TEXT: usize = 77;

/// The configuration, checked.
#[derive(Debug)]
pub(super) struct OmDetConfig {
    pub(super) text: ClipText,
    pub(super) backbone: VisionBackbone,
    pub(super) layer_norm_eps: f32,
    pub(super) batch_norm_eps: f32,
    /// Elements of the features of classes and tasks.
    pub(super) class_dim: usize,
    pub(super) task_hidden: usize,
    pub(super) cosine: bool,
    pub(super) queries: usize,
    pub(super) csp_activation: Activation,
    pub(super) conv_activation: Activation,
    pub(super) encoder_activation: Activation,
    pub(super) decoder_activation: Activation,
    /// Channels of both transformers.
    pub(super) width: usize,
    /// Channels inside of the layers that fuse maps.
    pub(super) hidden: usize,
    pub(super) levels: usize,
    /// The levels that a transformer sees.
    pub(super) projected: Vec<usize>,
    pub(super) encoder_heads: usize,
    pub(super) encoder_inner: usize,
    pub(super) encoder_layers: usize,
    pub(super) temperature: f64,
    pub(super) has_eval_size: bool,
    pub(super) decoder_heads: usize,
    pub(super) decoder_layers: usize,
    pub(super) decoder_inner: usize,
    pub(super) points: usize,
    pub(super) learned_queries: bool,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    layer_norm_eps: f32,
    batch_norm_eps: f32,
    text_projection_in_dim: usize,
    text_projection_out_dim: usize,
    task_encoder_hidden_dim: usize,
    class_embed_dim: usize,
    class_distance_type: String,
    num_queries: usize,
    csp_activation: String,
    conv_norm_activation: String,
    encoder_feedforward_activation: String,
    hidden_expansion: f64,
    d_model: usize,
    vision_features_channels: Vec<usize>,
    encoder_in_channels: Vec<usize>,
    encoder_projection_indices: Vec<i64>,
    encoder_attention_heads: usize,
    encoder_dim_feedforward: usize,
    encoder_layers: usize,
    positional_encoding_temperature: f64,
    num_feature_levels: usize,
    decoder_hidden_dim: usize,
    decoder_num_heads: usize,
    decoder_num_layers: usize,
    decoder_activation: String,
    decoder_dim_feedforward: usize,
    decoder_num_points: usize,
    learn_initial_query: bool,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            layer_norm_eps: 1e-5,
            batch_norm_eps: 1e-5,
            text_projection_in_dim: 512,
            text_projection_out_dim: 512,
            task_encoder_hidden_dim: 1024,
            class_embed_dim: 512,
            class_distance_type: "cosine".into(),
            num_queries: 900,
            csp_activation: "silu".into(),
            conv_norm_activation: "gelu".into(),
            encoder_feedforward_activation: "relu".into(),
            hidden_expansion: 1.0,
            d_model: 256,
            vision_features_channels: vec![256; 3],
            encoder_in_channels: vec![192, 384, 768],
            encoder_projection_indices: vec![2],
            encoder_attention_heads: 8,
            encoder_dim_feedforward: 2048,
            encoder_layers: 1,
            positional_encoding_temperature: 10_000.0,
            num_feature_levels: 3,
            decoder_hidden_dim: 256,
            decoder_num_heads: 8,
            decoder_num_layers: 6,
            decoder_activation: "relu".into(),
            decoder_dim_feedforward: 2048,
            decoder_num_points: 4,
            learn_initial_query: false,
        }
    }
}

impl OmDetConfig {
    /// Reads and checks the configuration.
    pub(super) fn read(config: &Config) -> Result<Self, Error> {
        let mut object = config.raw().clone();
        // The library knows two keys under other names too.
        let names = [("encoder_hidden_dim", "d_model"), ("num_attention_heads", "encoder_attention_heads")];
        for (other, own) in names {
            if let (Some(value), false) = (object.get(other).cloned(), object.contains_key(own)) {
                object.insert(own.into(), value);
            }
        }
        let raw: Raw = Config::parse(&object)?;
        raw.check()?;
        let text = match object.get("text_config") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(text)) => text.clone(),
            Some(other) => return Err(refuse("text_config", other, "an object")),
        };
        match text.get("model_type").and_then(Value::as_str) {
            None | Some("clip_text_model") => {}
            Some(other) => {
                return Err(refuse("text_config.model_type", format!("`{other}`"), "`clip_text_model`"));
            }
        }
        let text = ClipText::from_config(&text, LONGEST_TEXT)?;
        raw.check_widths(text.width)?;
        let function = |key: &str, name: &str| {
            Activation::by_name(name).map_err(|expected| refuse(key, format!("`{name}`"), expected))
        };
        Ok(Self {
            text,
            backbone: VisionBackbone::from_config(&object)?,
            csp_activation: function("csp_activation", &raw.csp_activation)?,
            conv_activation: function("conv_norm_activation", &raw.conv_norm_activation)?,
            encoder_activation: function(
                "encoder_feedforward_activation",
                &raw.encoder_feedforward_activation,
            )?,
            decoder_activation: function("decoder_activation", &raw.decoder_activation)?,
            cosine: match raw.class_distance_type.as_str() {
                "cosine" => true,
                "dot" => false,
                other => {
                    return Err(refuse("class_distance_type", format!("`{other}`"), "`cosine` or `dot`"));
                }
            },
            has_eval_size: object.get("eval_size").is_some_and(|size| !size.is_null()),
            projected: raw.projected_levels().unwrap_or_default(),
            layer_norm_eps: raw.layer_norm_eps,
            batch_norm_eps: raw.batch_norm_eps,
            class_dim: raw.class_embed_dim,
            task_hidden: raw.task_encoder_hidden_dim,
            queries: raw.num_queries,
            width: raw.d_model,
            hidden: (raw.d_model as f64 * raw.hidden_expansion) as usize,
            levels: raw.encoder_in_channels.len(),
            encoder_heads: raw.encoder_attention_heads,
            encoder_inner: raw.encoder_dim_feedforward,
            encoder_layers: raw.encoder_layers,
            temperature: raw.positional_encoding_temperature,
            decoder_heads: raw.decoder_num_heads,
            decoder_layers: raw.decoder_num_layers,
            decoder_inner: raw.decoder_dim_feedforward,
            points: raw.decoder_num_points,
            learned_queries: raw.learn_initial_query,
        })
    }
}

impl Raw {
    /// The levels that a transformer sees, counted from the end where negative; `None` for one that is not there.
    fn projected_levels(&self) -> Option<Vec<usize>> {
        let levels = i64::try_from(self.encoder_in_channels.len()).ok()?;
        let level = |level: &i64| {
            let counted = if *level < 0 { level.checked_add(levels)? } else { *level };
            usize::try_from(counted).ok().filter(|_| counted < levels)
        };
        self.encoder_projection_indices.iter().map(level).collect()
    }

    fn check(&self) -> Result<(), Error> {
        let limits = Limits::of("");
        for (key, width) in [
            ("d_model", self.d_model),
            ("class_embed_dim", self.class_embed_dim),
            ("task_encoder_hidden_dim", self.task_encoder_hidden_dim),
            ("encoder_dim_feedforward", self.encoder_dim_feedforward),
            ("decoder_dim_feedforward", self.decoder_dim_feedforward),
        ] {
            limits.width(key, width)?;
        }
        limits.layers("decoder_num_layers", self.decoder_num_layers)?;
        limits.within("encoder_layers", self.encoder_layers, 0, 512)?;
        limits.within("num_queries", self.num_queries, 1, 100_000)?;
        limits.within("decoder_num_points", self.decoder_num_points, 1, 256)?;
        limits.within("encoder_in_channels", self.encoder_in_channels.len(), 1, 16)?;
        limits.heads("encoder_attention_heads", self.encoder_attention_heads, self.d_model)?;
        limits.heads("decoder_num_heads", self.decoder_num_heads, self.d_model)?;
        if !self.d_model.is_multiple_of(4) {
            return Err(refuse("d_model", self.d_model, "a multiple of 4"));
        }
        let indices = &self.encoder_projection_indices;
        if indices.len() > self.encoder_in_channels.len() || self.projected_levels().is_none() {
            let value = format!("{indices:?}");
            return Err(refuse("encoder_projection_indices", value, "levels of `encoder_in_channels`"));
        }
        if !(1.0..=65_536.0).contains(&(self.d_model as f64 * self.hidden_expansion)) {
            return Err(refuse("hidden_expansion", self.hidden_expansion, "a positive factor"));
        }
        for (key, value) in [
            ("layer_norm_eps", f64::from(self.layer_norm_eps)),
            ("batch_norm_eps", f64::from(self.batch_norm_eps)),
            ("positional_encoding_temperature", self.positional_encoding_temperature),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return Err(refuse(key, value, "a positive number"));
            }
        }
        Ok(())
    }

    /// Sizes that the original can only use when they agree.
    fn check_widths(&self, text: usize) -> Result<(), Error> {
        let levels = self.encoder_in_channels.len();
        let same = |key, value: usize, expected: usize| {
            if value == expected { Ok(()) } else { Err(refuse(key, value, expected)) }
        };
        same("decoder_hidden_dim", self.decoder_hidden_dim, self.d_model)?;
        same("num_feature_levels", self.num_feature_levels, levels)?;
        same("vision_features_channels", self.vision_features_channels.len(), levels)?;
        for channels in &self.vision_features_channels {
            same("vision_features_channels", *channels, self.d_model)?;
        }
        same("text_projection_in_dim", self.text_projection_in_dim, text)?;
        same("text_projection_out_dim", self.text_projection_out_dim, self.class_embed_dim)?;
        same("class_embed_dim", self.class_embed_dim, text)
    }
}

fn refuse(field: &str, value: impl ToString, expected: impl ToString) -> Error {
    Error::unsupported(CONFIG, field, value, expected)
}
