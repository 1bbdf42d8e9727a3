//! `config.json` of LW-DETR, with the defaults of transformers.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::decoder::Decoder;
use super::projector::Projector;
use super::vit::WindowedVit;
use crate::Error;
use crate::config::{CONFIG, Config, Limits};
use crate::layers::{Activation, BoxForm, VitAttention, VitBlock, VitMlp, chosen_stages};

/// The configuration, checked.
#[derive(Debug)]
pub(super) struct LwDetrConfig {
    pub(super) backbone: WindowedVit,
    pub(super) projector: Projector,
    pub(super) decoder: Decoder,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    backbone_config: Option<Map<String, Value>>,
    projector_scale_factors: Vec<f64>,
    num_feature_levels: Option<usize>,
    hidden_expansion: f64,
    c2f_num_blocks: usize,
    activation_function: String,
    batch_norm_eps: f32,
    #[serde(skip)]
    decoder: RawDecoder,
}

/// The keys of the decoder, the same in RF-DETR.
#[derive(Deserialize)]
#[serde(default)]
pub(in crate::arch) struct RawDecoder {
    pub(in crate::arch) d_model: usize,
    decoder_ffn_dim: usize,
    decoder_n_points: usize,
    decoder_layers: usize,
    decoder_self_attention_heads: usize,
    decoder_cross_attention_heads: usize,
    decoder_activation_function: String,
    head_dim: Option<usize>,
    pub(in crate::arch) num_queries: usize,
    attention_bias: bool,
}

#[derive(Deserialize)]
#[serde(default)]
struct RawBackbone {
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    head_dim: Option<usize>,
    mlp_ratio: f64,
    hidden_act: String,
    layer_norm_eps: f32,
    pretrain_image_size: Sides,
    patch_size: Sides,
    num_channels: usize,
    qkv_bias: bool,
    window_block_indices: Vec<usize>,
    use_absolute_position_embeddings: bool,
    out_indices: Option<Vec<i64>>,
    out_features: Option<Vec<String>>,
    num_windows: usize,
    num_windows_side: Option<usize>,
}

/// One side of a square, or height and width.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
pub(in crate::arch) enum Sides {
    Square(usize),
    Both([usize; 2]),
}

impl Sides {
    pub(in crate::arch) fn both(self) -> [usize; 2] {
        match self {
            Self::Square(side) => [side; 2],
            Self::Both(sides) => sides,
        }
    }
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            backbone_config: None,
            projector_scale_factors: Vec::new(),
            num_feature_levels: None,
            hidden_expansion: 0.5,
            c2f_num_blocks: 3,
            activation_function: "silu".into(),
            batch_norm_eps: 1e-5,
            decoder: RawDecoder::default(),
        }
    }
}

impl Default for RawDecoder {
    fn default() -> Self {
        Self {
            d_model: 256,
            decoder_ffn_dim: 2048,
            decoder_n_points: 4,
            decoder_layers: 3,
            decoder_self_attention_heads: 8,
            decoder_cross_attention_heads: 16,
            decoder_activation_function: "relu".into(),
            head_dim: None,
            num_queries: 300,
            attention_bias: true,
        }
    }
}

impl Default for RawBackbone {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            head_dim: None,
            mlp_ratio: 4.0,
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-6,
            pretrain_image_size: Sides::Square(224),
            patch_size: Sides::Square(16),
            num_channels: 3,
            qkv_bias: true,
            window_block_indices: Vec::new(),
            use_absolute_position_embeddings: true,
            out_indices: None,
            out_features: None,
            num_windows: 16,
            num_windows_side: None,
        }
    }
}

impl LwDetrConfig {
    /// Reads and checks the configuration.
    pub(super) fn read(config: &Config) -> Result<Self, Error> {
        let mut raw: Raw = Config::parse(config.raw())?;
        raw.decoder = Config::parse(config.raw())?;
        let decoder = raw.decoder.checked()?;
        let backbone = match &raw.backbone_config {
            Some(object) => {
                require_model_type(object, "lw_detr_vit")?;
                Config::parse(object)?
            }
            None => RawBackbone {
                hidden_size: 192,
                num_hidden_layers: 10,
                window_block_indices: vec![0, 1, 3, 6, 7, 9],
                out_indices: Some(vec![2, 4, 5, 9]),
                ..RawBackbone::default()
            },
        };
        let backbone = backbone.checked()?;
        let projector = raw.projector(&backbone, &decoder)?;
        Ok(Self { backbone, projector, decoder })
    }
}

/// Refuses a backbone of another family.
pub(in crate::arch) fn require_model_type(
    object: &Map<String, Value>,
    expected: &'static str,
) -> Result<(), Error> {
    match object.get("model_type").filter(|value| !value.is_null()) {
        None => Ok(()),
        Some(Value::String(name)) if name == expected => Ok(()),
        Some(other) => Err(refuse("backbone_config.model_type", other.to_string(), &format!("`{expected}`"))),
    }
}

impl Raw {
    fn projector(&self, backbone: &WindowedVit, decoder: &Decoder) -> Result<Projector, Error> {
        let limits = Limits::of("");
        let levels = self.projector_scale_factors.len();
        limits.within("projector_scale_factors", levels, 1, 16)?;
        if let Some(other) = self.num_feature_levels.filter(|count| *count != levels) {
            let expected = format!("{levels}, as `projector_scale_factors`");
            return Err(refuse("num_feature_levels", other.to_string(), &expected));
        }
        let known = |scale: &&f64| ![0.5, 1.0, 2.0].contains(*scale);
        if let Some(other) = self.projector_scale_factors.iter().find(known) {
            return Err(refuse("projector_scale_factors", other.to_string(), "0.5, 1 or 2"));
        }
        limits.within("c2f_num_blocks", self.c2f_num_blocks, 0, 64)?;
        positive("batch_norm_eps", self.batch_norm_eps)?;
        Ok(Projector {
            scales: self.projector_scale_factors.clone(),
            channels: backbone.hidden_size,
            hidden: hidden_channels(decoder.d_model, self.hidden_expansion)?,
            out: decoder.d_model,
            blocks: self.c2f_num_blocks,
            epsilon: self.batch_norm_eps,
            activation: function("activation_function", &self.activation_function)?,
        })
    }
}

/// The inner channels of a projector.
pub(in crate::arch) fn hidden_channels(width: usize, expansion: f64) -> Result<usize, Error> {
    let hidden = width as f64 * expansion;
    if (1.0..=65_536.0).contains(&hidden) {
        return Ok(hidden as usize);
    }
    Err(refuse("hidden_expansion", expansion.to_string(), "a positive factor"))
}

impl RawDecoder {
    /// The decoder, with the boxes of transformers: two stages, relative to each other, not moved between layers.
    pub(in crate::arch) fn checked(&self) -> Result<Decoder, Error> {
        let limits = Limits::of("");
        limits.width("d_model", self.d_model)?;
        limits.width("decoder_ffn_dim", self.decoder_ffn_dim)?;
        limits.layers("decoder_layers", self.decoder_layers)?;
        limits.within("decoder_n_points", self.decoder_n_points, 1, 256)?;
        limits.within("num_queries", self.num_queries, 1, 100_000)?;
        limits.heads("decoder_cross_attention_heads", self.decoder_cross_attention_heads, self.d_model)?;
        let heads = self.decoder_self_attention_heads;
        let head = head_width(limits, "decoder_self_attention_heads", heads, self.head_dim, self.d_model)?;
        if !self.d_model.is_multiple_of(4) {
            return Err(refuse("d_model", self.d_model.to_string(), "a multiple of 4"));
        }
        Ok(Decoder {
            d_model: self.d_model,
            ffn: self.decoder_ffn_dim,
            points: self.decoder_n_points,
            layers: self.decoder_layers,
            self_heads: heads,
            self_head: head,
            cross_heads: self.decoder_cross_attention_heads,
            activation: function("decoder_activation_function", &self.decoder_activation_function)?,
            queries: self.num_queries,
            attention_bias: self.attention_bias,
            form: BoxForm::Relative,
            two_stage: true,
            scores_padding: false,
            refines: false,
            normalizes: true,
            registers: 0,
        })
    }
}

/// The width of one head: what the file says, else the width of the model by the number of heads, rounded down.
pub(in crate::arch) fn head_width(
    limits: Limits,
    key: &str,
    heads: usize,
    stated: Option<usize>,
    width: usize,
) -> Result<usize, Error> {
    limits.within(key, heads, 1, 1024)?;
    let head = stated.unwrap_or(width / heads);
    limits.within("head_dim", head, 1, 65_536)?;
    limits.within(key, heads * head, 1, 65_536)?;
    Ok(head)
}

impl RawBackbone {
    fn checked(&self) -> Result<WindowedVit, Error> {
        let limits = Limits::of("backbone_config.");
        let refuse = |key: &str, value: String, expected: &str| {
            refuse(&format!("backbone_config.{key}"), value, expected)
        };
        limits.width("hidden_size", self.hidden_size)?;
        limits.layers("num_hidden_layers", self.num_hidden_layers)?;
        limits.within("num_channels", self.num_channels, 3, 3)?;
        let heads = self.num_attention_heads;
        let head = head_width(limits, "num_attention_heads", heads, self.head_dim, self.hidden_size)?;
        let [patch_size, other] = self.patch_size.both();
        limits.within("patch_size", patch_size, 1, 1024)?;
        if patch_size != other {
            return Err(refuse("patch_size", format!("{patch_size}×{other}"), "a square"));
        }
        let trained = self.pretrain_image_size.both();
        for side in trained {
            limits.within("pretrain_image_size", side, patch_size, 16_384)?;
        }
        let positions = trained.map(|side| side / patch_size).iter().product::<usize>();
        let trained = positions.isqrt();
        if self.use_absolute_position_embeddings && trained * trained != positions {
            let value = format!("{positions} patches");
            return Err(refuse("pretrain_image_size", value, "a square number of patches"));
        }
        limits.within("num_windows", self.num_windows, 1, 65_536)?;
        let windows = self.num_windows_side.unwrap_or(self.num_windows.isqrt());
        if windows.checked_mul(windows) != Some(self.num_windows) {
            return Err(refuse("num_windows", self.num_windows.to_string(), "a square number"));
        }
        let hidden = self.hidden_size as f64 * self.mlp_ratio;
        if !(1.0..=262_144.0).contains(&hidden) {
            return Err(refuse("mlp_ratio", self.mlp_ratio.to_string(), "a positive factor"));
        }
        positive("backbone_config.layer_norm_eps", self.layer_norm_eps)?;
        let stages =
            chosen_stages(self.num_hidden_layers, self.out_indices.as_deref(), self.out_features.as_deref());
        let stages = stages.ok_or_else(|| {
            let value = format!("{:?} {:?}", self.out_indices, self.out_features);
            refuse("out_indices", value, "indices of the stem (0) and the layers, rising")
        })?;
        Ok(WindowedVit {
            hidden_size: self.hidden_size,
            patch_size,
            trained: self.use_absolute_position_embeddings.then_some(trained),
            windows,
            windowed: self.window_block_indices.clone(),
            stages,
            block: VitBlock {
                norms: ["layernorm_before", "layernorm_after"],
                epsilon: self.layer_norm_eps,
                attention: VitAttention {
                    names: ["attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj"],
                    biased: [self.qkv_bias, false, self.qkv_bias],
                    heads,
                    head,
                    merged: 1,
                },
                mlp: VitMlp::Plain {
                    names: ["intermediate.fc1", "intermediate.fc2"],
                    hidden: hidden as usize,
                    activation: function("backbone_config.hidden_act", &self.hidden_act)?,
                },
                scales: Some(["gamma_1", "gamma_2"]),
            },
        })
    }
}

/// The activation function of this key.
pub(in crate::arch) fn function(key: &str, name: &str) -> Result<Activation, Error> {
    Activation::by_name(name).map_err(|expected| refuse(key, format!("`{name}`"), &expected))
}

/// Refuses an ε that is not a positive number.
pub(in crate::arch) fn positive(key: &str, value: f32) -> Result<(), Error> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(refuse(key, value.to_string(), "a positive number"))
}

pub(in crate::arch) fn refuse(key: &str, value: String, expected: &str) -> Error {
    Error::unsupported(CONFIG, key, value, expected)
}
