//! `config.json` of RT-DETR and RT-DETRv2, with the defaults of transformers.
//!
//! Values that the exporter cannot honour are refused here, before a node is made; sizes are bounded here, so that the
//! code behind may loop over them.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Error;
use crate::config::{CONFIG, Config, Limits};
use crate::layers::{Activation, Backbone, ResNet, ResNetKind, Sampling};

/// Which of the two deformable attentions is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::arch) enum Generation {
    /// RT-DETR.
    First,
    /// RT-DETRv2.
    Second,
}

/// The configuration, checked.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the file's own switches")]
pub(in crate::arch) struct RtDetrConfig {
    pub(in crate::arch) layer_norm_eps: f32,
    pub(in crate::arch) batch_norm_eps: f32,
    pub(in crate::arch) encoder_hidden_dim: usize,
    pub(in crate::arch) levels: usize,
    pub(in crate::arch) feat_strides: Vec<usize>,
    pub(in crate::arch) encoder_layers: usize,
    pub(in crate::arch) encoder_ffn_dim: usize,
    pub(in crate::arch) encoder_attention_heads: usize,
    pub(in crate::arch) encode_proj_layers: Vec<usize>,
    pub(in crate::arch) temperature: f64,
    pub(in crate::arch) encoder_activation: Activation,
    pub(in crate::arch) activation: Activation,
    pub(in crate::arch) has_eval_size: bool,
    pub(in crate::arch) normalize_before: bool,
    pub(in crate::arch) hidden_channels: usize,
    pub(in crate::arch) d_model: usize,
    pub(in crate::arch) num_queries: usize,
    pub(in crate::arch) decoder_inputs: usize,
    /// Channels of the last map that the decoder is given.
    pub(in crate::arch) decoder_input_width: usize,
    pub(in crate::arch) decoder_ffn_dim: usize,
    pub(in crate::arch) num_feature_levels: usize,
    pub(in crate::arch) decoder_n_points: Vec<usize>,
    pub(in crate::arch) decoder_layers: usize,
    pub(in crate::arch) decoder_attention_heads: usize,
    pub(in crate::arch) decoder_activation: Activation,
    pub(in crate::arch) learn_initial_query: bool,
    pub(in crate::arch) anchor_image_size: Option<(usize, usize)>,
    pub(in crate::arch) use_focal_loss: bool,
    pub(in crate::arch) decoder_n_levels: usize,
    pub(in crate::arch) decoder_offset_scale: f32,
    pub(in crate::arch) sampling: Sampling,
    /// The two linear layers behind the attentions are `mlp.layers.0` and `mlp.layers.1`.
    pub(in crate::arch) listed_layers: bool,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    layer_norm_eps: f32,
    batch_norm_eps: f32,
    encoder_hidden_dim: usize,
    encoder_in_channels: Vec<usize>,
    feat_strides: Vec<usize>,
    encoder_layers: usize,
    encoder_ffn_dim: usize,
    encoder_attention_heads: usize,
    encode_proj_layers: Vec<i64>,
    positional_encoding_temperature: f64,
    encoder_activation_function: String,
    activation_function: String,
    normalize_before: bool,
    hidden_expansion: f64,
    d_model: usize,
    num_queries: usize,
    decoder_in_channels: Vec<usize>,
    decoder_ffn_dim: usize,
    num_feature_levels: usize,
    decoder_n_points: Points,
    decoder_layers: usize,
    decoder_attention_heads: usize,
    decoder_activation_function: String,
    learn_initial_query: bool,
    use_focal_loss: bool,
    decoder_n_levels: usize,
    decoder_offset_scale: f32,
    decoder_method: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Points {
    Same(usize),
    Each(Vec<usize>),
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            layer_norm_eps: 1e-5,
            batch_norm_eps: 1e-5,
            encoder_hidden_dim: 256,
            encoder_in_channels: vec![512, 1024, 2048],
            feat_strides: vec![8, 16, 32],
            encoder_layers: 1,
            encoder_ffn_dim: 1024,
            encoder_attention_heads: 8,
            encode_proj_layers: vec![2],
            positional_encoding_temperature: 10_000.0,
            encoder_activation_function: "gelu".into(),
            activation_function: "silu".into(),
            normalize_before: false,
            hidden_expansion: 1.0,
            d_model: 256,
            num_queries: 300,
            decoder_in_channels: vec![256; 3],
            decoder_ffn_dim: 1024,
            num_feature_levels: 3,
            decoder_n_points: Points::Same(4),
            decoder_layers: 6,
            decoder_attention_heads: 8,
            decoder_activation_function: "relu".into(),
            learn_initial_query: false,
            use_focal_loss: true,
            decoder_n_levels: 3,
            decoder_offset_scale: 0.5,
            decoder_method: "default".into(),
        }
    }
}

impl RtDetrConfig {
    /// Reads and checks the configuration.
    pub(in crate::arch) fn read(config: &Config) -> Result<Self, Error> {
        let mut object = config.raw().clone();
        // Two keys may stand under the library's general names.
        for (general, own) in [("hidden_size", "d_model"), ("num_attention_heads", "encoder_attention_heads")]
        {
            if let (Some(value), false) = (object.get(general).cloned(), object.contains_key(own)) {
                object.insert(own.into(), value);
            }
        }
        let raw: Raw = Config::parse(&object)?;
        raw.check()?;
        let encode_proj_layers = raw.projected_levels().unwrap_or_default();
        let function = |key: &str, name: &str| {
            Activation::by_name(name)
                .map_err(|expected| Error::unsupported(CONFIG, key, format!("`{name}`"), expected))
        };
        let sampling = match raw.decoder_method.as_str() {
            "default" => Sampling::Bilinear,
            "discrete" => Sampling::Discrete,
            other => return Err(refuse("decoder_method", format!("`{other}`"), "`default` or `discrete`")),
        };
        let activation = match object.get("activation_function") {
            Some(Value::Null) => Activation::Identity,
            _ => function("activation_function", &raw.activation_function)?,
        };
        Ok(Self {
            anchor_image_size: anchor_image_size(&object)?,
            has_eval_size: object.get("eval_size").is_some_and(|size| !size.is_null()),
            encoder_activation: function("encoder_activation_function", &raw.encoder_activation_function)?,
            decoder_activation: function("decoder_activation_function", &raw.decoder_activation_function)?,
            activation,
            sampling,
            listed_layers: false,
            layer_norm_eps: raw.layer_norm_eps,
            batch_norm_eps: raw.batch_norm_eps,
            levels: raw.encoder_in_channels.len(),
            feat_strides: raw.feat_strides,
            encoder_layers: raw.encoder_layers,
            encoder_ffn_dim: raw.encoder_ffn_dim,
            encoder_attention_heads: raw.encoder_attention_heads,
            encode_proj_layers,
            temperature: raw.positional_encoding_temperature,
            normalize_before: raw.normalize_before,
            hidden_channels: (raw.encoder_hidden_dim as f64 * raw.hidden_expansion) as usize,
            encoder_hidden_dim: raw.encoder_hidden_dim,
            d_model: raw.d_model,
            num_queries: raw.num_queries,
            decoder_inputs: raw.decoder_in_channels.len(),
            decoder_input_width: raw.decoder_in_channels.last().copied().unwrap_or_default(),
            decoder_ffn_dim: raw.decoder_ffn_dim,
            num_feature_levels: raw.num_feature_levels,
            decoder_n_points: match raw.decoder_n_points {
                Points::Same(points) => vec![points],
                Points::Each(points) => points,
            },
            decoder_layers: raw.decoder_layers,
            decoder_attention_heads: raw.decoder_attention_heads,
            learn_initial_query: raw.learn_initial_query,
            use_focal_loss: raw.use_focal_loss,
            decoder_n_levels: raw.decoder_n_levels,
            decoder_offset_scale: raw.decoder_offset_scale,
        })
    }

    /// Points on each of `levels` levels.
    pub(in crate::arch) fn points(&self, levels: usize) -> Result<Vec<usize>, Error> {
        match self.decoder_n_points[..] {
            [same] => Ok(vec![same; levels]),
            ref each if each.len() == levels => Ok(each.to_vec()),
            ref each => {
                Err(refuse("decoder_n_points", format!("{each:?}"), &format!("one number, or {levels}")))
            }
        }
    }
}

impl Raw {
    /// The levels that the encoder's transformer sees, counted from the end where negative; `None` for one that is not
    /// there.
    fn projected_levels(&self) -> Option<Vec<usize>> {
        let levels = i64::try_from(self.encoder_in_channels.len()).ok()?;
        let level = |level: &i64| {
            let counted = if *level < 0 { level.checked_add(levels)? } else { *level };
            usize::try_from(counted).ok().filter(|_| counted < levels)
        };
        self.encode_proj_layers.iter().map(level).collect()
    }

    fn check(&self) -> Result<(), Error> {
        let limits = Limits::of("");
        for (key, width) in [
            ("encoder_hidden_dim", self.encoder_hidden_dim),
            ("encoder_ffn_dim", self.encoder_ffn_dim),
            ("d_model", self.d_model),
            ("decoder_ffn_dim", self.decoder_ffn_dim),
        ] {
            limits.width(key, width)?;
        }
        limits.layers("decoder_layers", self.decoder_layers)?;
        limits.within("encoder_layers", self.encoder_layers, 0, 512)?;
        limits.within("num_queries", self.num_queries, 1, 100_000)?;
        limits.heads("encoder_attention_heads", self.encoder_attention_heads, self.encoder_hidden_dim)?;
        limits.heads("decoder_attention_heads", self.decoder_attention_heads, self.d_model)?;
        for (key, count) in [
            ("encoder_in_channels", self.encoder_in_channels.len()),
            ("decoder_in_channels", self.decoder_in_channels.len()),
            ("feat_strides", self.feat_strides.len()),
            ("num_feature_levels", self.num_feature_levels),
            ("decoder_n_levels", self.decoder_n_levels),
        ] {
            limits.within(key, count, 1, 16)?;
        }
        for stride in &self.feat_strides {
            limits.within("feat_strides", *stride, 1, 1024)?;
        }
        let points = match &self.decoder_n_points {
            Points::Same(points) => std::slice::from_ref(points),
            Points::Each(points) => points,
        };
        if points.is_empty() {
            return Err(refuse("decoder_n_points", "[]".into(), "at least one number"));
        }
        for points in points {
            limits.within("decoder_n_points", *points, 1, 256)?;
        }
        let fits = self.encode_proj_layers.len() <= self.encoder_in_channels.len();
        if self.encoder_layers > 0 && !(fits && self.projected_levels().is_some()) {
            let value = format!("{:?}", self.encode_proj_layers);
            return Err(refuse("encode_proj_layers", value, "levels of `encoder_in_channels`"));
        }
        let hidden = self.encoder_hidden_dim as f64 * self.hidden_expansion;
        if !(1.0..=65_536.0).contains(&hidden) {
            return Err(refuse("hidden_expansion", self.hidden_expansion.to_string(), "a positive factor"));
        }
        if self.encoder_layers > 0 && !self.encoder_hidden_dim.is_multiple_of(4) {
            return Err(refuse("encoder_hidden_dim", self.encoder_hidden_dim.to_string(), "a multiple of 4"));
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        for (key, value) in [
            ("layer_norm_eps", f64::from(self.layer_norm_eps)),
            ("batch_norm_eps", f64::from(self.batch_norm_eps)),
            ("positional_encoding_temperature", self.positional_encoding_temperature),
            ("decoder_offset_scale", f64::from(self.decoder_offset_scale)),
        ] {
            if !positive(value) {
                return Err(refuse(key, value.to_string(), "a positive number"));
            }
        }
        Ok(())
    }
}

/// The backbone: `backbone_config`, a name of timm, or the default that the library fills in when nothing is named.
pub(super) fn backbone(object: &Map<String, Value>) -> Result<Backbone, Error> {
    match (object.get("backbone_config"), object.get("backbone")) {
        (Some(Value::Object(raw)), _) => match raw.get("model_type").and_then(Value::as_str) {
            Some("rt_detr_resnet") | None => {
                ResNet::from_config(ResNetKind::D, Some(raw)).map(Backbone::Native)
            }
            Some(_) => Backbone::from_backbone_config(raw),
        },
        (None | Some(Value::Null), None | Some(Value::Null)) => {
            ResNet::from_config(ResNetKind::D, None).map(Backbone::Native)
        }
        (None | Some(Value::Null), Some(Value::String(name))) => Backbone::of_timm(object, name, &[-1]),
        (None | Some(Value::Null), Some(other)) => {
            Err(refuse("backbone", other.to_string(), "null, or a name"))
        }
        (Some(other), _) => Err(refuse("backbone_config", other.to_string(), "an object")),
    }
}

fn anchor_image_size(object: &Map<String, Value>) -> Result<Option<(usize, usize)>, Error> {
    let Some(value) = object.get("anchor_image_size").filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let side = |at: usize| {
        let side = value.get(at)?.as_u64().filter(|side| (1..=16_384).contains(side))?;
        usize::try_from(side).ok()
    };
    match (value.as_array().map(Vec::len), side(0), side(1)) {
        (Some(0), ..) => Ok(None),
        (Some(2), Some(height), Some(width)) => Ok(Some((height, width))),
        _ => Err(refuse("anchor_image_size", value.to_string(), "null, or height and width in pixels")),
    }
}

fn refuse(key: &str, value: String, expected: &str) -> Error {
    Error::unsupported(CONFIG, key, value, expected)
}
