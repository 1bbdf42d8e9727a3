//! `config.json` of RF-DETR, with the defaults of transformers.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::dinov2::{Dinov2, WindowOrder};
use super::projector::Projector;
use super::{BACKBONE, package};
use crate::Error;
use crate::arch::lw_detr::config::{
    RawDecoder, Sides, function, head_width, hidden_channels, positive, refuse, require_model_type,
};
use crate::arch::lw_detr::decoder::Decoder;
use crate::config::{Config, Limits};
use crate::layers::{VitAttention, VitBlock, VitMlp, chosen_stages};

/// The configuration, checked.
#[derive(Debug)]
pub(super) struct RfDetrConfig {
    pub(super) backbone: Dinov2,
    pub(super) projector: Projector,
    pub(super) decoder: Decoder,
    /// How many detections the post-processing keeps.
    pub(super) detections: u32,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    backbone_config: Option<Map<String, Value>>,
    num_feature_levels: usize,
    hidden_expansion: f64,
    c2f_num_blocks: usize,
    activation_function: String,
    layer_norm_eps: f32,
}

/// The backbone, in the words of transformers.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the file's own switches")]
pub(super) struct RawBackbone {
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) head_dim: Option<usize>,
    pub(super) mlp_ratio: f64,
    pub(super) hidden_act: String,
    pub(super) layer_norm_eps: f32,
    pub(super) image_size: Sides,
    pub(super) patch_size: Sides,
    pub(super) num_channels: usize,
    pub(super) qkv_bias: bool,
    pub(super) use_swiglu_ffn: bool,
    pub(super) out_indices: Option<Vec<i64>>,
    pub(super) out_features: Option<Vec<String>>,
    pub(super) apply_layernorm: bool,
    pub(super) reshape_hidden_states: bool,
    pub(super) num_windows: usize,
    pub(super) window_block_indexes: Option<Vec<usize>>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            backbone_config: None,
            num_feature_levels: 1,
            hidden_expansion: 0.5,
            c2f_num_blocks: 3,
            activation_function: "silu".into(),
            layer_norm_eps: 1e-5,
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
            image_size: Sides::Square(224),
            patch_size: Sides::Square(14),
            num_channels: 3,
            qkv_bias: true,
            use_swiglu_ffn: false,
            out_indices: None,
            out_features: None,
            apply_layernorm: true,
            reshape_hidden_states: true,
            num_windows: 4,
            window_block_indexes: None,
        }
    }
}

impl RfDetrConfig {
    /// Reads and checks the configuration.
    pub(super) fn read(config: &Config) -> Result<Self, Error> {
        if package::is_own(config) {
            return package::read(config);
        }
        let raw: Raw = Config::parse(config.raw())?;
        let own: RawDecoder = Config::parse(config.raw())?;
        let decoder = own.checked()?;
        let backbone = match &raw.backbone_config {
            Some(object) => {
                require_model_type(object, "rf_detr_dinov2")?;
                Config::parse(object)?
            }
            None => RawBackbone {
                hidden_size: 384,
                num_attention_heads: 6,
                image_size: Sides::Square(518),
                out_indices: Some(vec![2, 5, 8, 11]),
                ..RawBackbone::default()
            },
        };
        let backbone = backbone.checked(0, WindowOrder::ColumnsFirst)?;
        let limits = Limits::of("");
        limits.within("num_feature_levels", raw.num_feature_levels, 1, 1)?;
        limits.within("c2f_num_blocks", raw.c2f_num_blocks, 0, 64)?;
        positive("layer_norm_eps", raw.layer_norm_eps)?;
        let projector = Projector {
            scales: vec![1.0],
            channels: backbone.hidden_size,
            hidden: hidden_channels(decoder.d_model, raw.hidden_expansion)?,
            out: decoder.d_model,
            blocks: raw.c2f_num_blocks,
            epsilon: raw.layer_norm_eps,
            activation: function("activation_function", &raw.activation_function)?,
        };
        let detections = own.num_queries as u32;
        Ok(Self { backbone, projector, decoder, detections })
    }

    /// Whether a tensor has no part in inference.
    pub(super) fn is_unused(&self, name: &str) -> bool {
        let of_backbone = |part: &str| name.strip_prefix(BACKBONE).is_some_and(|name| name.starts_with(part));
        // Masks of instances, and the box head once more where layers move boxes.
        let unused = ["segmentation_head.", "_kp_active_mask", "decoder.bbox_embed."];
        let other = name.strip_prefix("model.").unwrap_or(name);
        unused.iter().any(|unused| other.starts_with(unused))
            || of_backbone(".embeddings.mask_token")
            || (!self.backbone.apply_layernorm && of_backbone(".layernorm."))
    }
}

impl RawBackbone {
    /// The backbone with this many register tokens.
    pub(super) fn checked(&self, registers: usize, order: WindowOrder) -> Result<Dinov2, Error> {
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
        let image_size = self.image_size.both();
        for side in image_size {
            limits.within("image_size", side, patch_size, 16_384)?;
        }
        let positions: usize = image_size.map(|side| side / patch_size).iter().product();
        let trained = positions.isqrt();
        if trained * trained != positions {
            return Err(refuse("image_size", format!("{positions} patches"), "a square number of patches"));
        }
        limits.within("num_windows", self.num_windows, 1, 256)?;
        limits.within("num_register_tokens", registers, 0, 4096)?;
        let hidden = self.hidden_size as f64 * self.mlp_ratio;
        if !(1.0..=262_144.0).contains(&hidden) {
            return Err(refuse("mlp_ratio", self.mlp_ratio.to_string(), "a positive factor"));
        }
        positive("backbone_config.layer_norm_eps", self.layer_norm_eps)?;
        if !self.reshape_hidden_states {
            return Err(refuse("reshape_hidden_states", "false".into(), "true"));
        }
        let stages =
            chosen_stages(self.num_hidden_layers, self.out_indices.as_deref(), self.out_features.as_deref());
        let stages = stages.ok_or_else(|| {
            let value = format!("{:?} {:?}", self.out_indices, self.out_features);
            refuse("out_indices", value, "indices of the stem (0) and the layers, rising")
        })?;
        Ok(Dinov2 {
            hidden_size: self.hidden_size,
            patch_size,
            trained,
            registers,
            windows: self.num_windows,
            windowed: self.windowed(&stages),
            order,
            stages,
            apply_layernorm: self.apply_layernorm,
            block: VitBlock {
                norms: ["norm1", "norm2"],
                epsilon: self.layer_norm_eps,
                attention: VitAttention {
                    names: ["attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj"],
                    biased: [self.qkv_bias; 3],
                    heads,
                    head,
                    merged: 1,
                },
                mlp: self.mlp(hidden as usize)?,
                scales: Some(["layer_scale1.lambda1", "layer_scale2.lambda1"]),
            },
        })
    }

    fn mlp(&self, hidden: usize) -> Result<VitMlp<'static>, Error> {
        if self.use_swiglu_ffn {
            // Two thirds, rounded up to a multiple of 8: as many weights as the two layers would have.
            let hidden = ((hidden as f64 * 2.0 / 3.0) as usize).div_ceil(8) * 8;
            let names = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];
            return Ok(VitMlp::Gated { names, hidden, activation: function("hidden_act", "silu")? });
        }
        let activation = function("backbone_config.hidden_act", &self.hidden_act)?;
        Ok(VitMlp::Plain { names: ["mlp.fc1", "mlp.fc2"], hidden, activation })
    }

    /// Layers that attend within windows: as the reference counts them, all up to the last stage whose *number* is not
    /// that of a stage.
    fn windowed(&self, stages: &[usize]) -> Vec<usize> {
        if let Some(layers) = &self.window_block_indexes {
            return layers.clone();
        }
        let stated: Vec<i64> = match &self.out_indices {
            Some(indices) => indices.clone(),
            None => stages.iter().map(|stage| *stage as i64).collect(),
        };
        let last = stated.last().copied().unwrap_or(-1);
        (0..=last)
            .filter(|layer| !stated.contains(layer))
            .filter_map(|layer| usize::try_from(layer).ok())
            .collect()
    }
}
