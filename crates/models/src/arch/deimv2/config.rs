//! `config.json` of `DEIMv2`: D-FINE's, with the switches of its three forms.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::Error;
use crate::arch::d_fine::config::{ConvBackbone, DFineConfig, conv_backbone};
use crate::config::{Config, Limits};
use crate::layers::DinoV3;

/// The configuration, checked.
#[derive(Debug)]
pub(super) struct Deimv2Config {
    pub(super) inner: DFineConfig,
    pub(super) backbone: Backbone,
    pub(super) encoder: Encoder,
    /// Whether maps that meet are added; joined otherwise.
    pub(super) sums: bool,
    pub(super) gateway: bool,
    /// Whether a branch of the encoder ends with a 3×3 convolution.
    pub(super) trailing: bool,
    /// Channels of the first convolution beside the transformer.
    pub(super) adapter: usize,
}

/// What makes feature maps of the image.
#[derive(Debug)]
pub(super) enum Backbone {
    Conv(ConvBackbone),
    Dino(DinoV3),
}

/// What fuses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoder {
    Hybrid,
    Lite,
}

#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    encoder_fuse_op: String,
    spatial_tuning_adapter_inplanes: usize,
    encoder_type: String,
    use_gateway: bool,
    encoder_has_trailing_conv: bool,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            encoder_fuse_op: "sum".into(),
            spatial_tuning_adapter_inplanes: 16,
            encoder_type: "hybrid".into(),
            use_gateway: true,
            encoder_has_trailing_conv: true,
        }
    }
}

impl Deimv2Config {
    /// Reads and checks the configuration.
    pub(super) fn read(config: &Config) -> Result<Self, Error> {
        let raw: Raw = Config::parse(config.raw())?;
        Limits::of("").within(
            "spatial_tuning_adapter_inplanes",
            raw.spatial_tuning_adapter_inplanes,
            1,
            16_384,
        )?;
        let encoder = if raw.encoder_type == "lite" { Encoder::Lite } else { Encoder::Hybrid };
        let inner = match encoder {
            Encoder::Hybrid => DFineConfig::read(config)?,
            // The light encoder has no attention, whatever the keys of attention say.
            Encoder::Lite => DFineConfig::read(&config.with("encoder_layers", json!(0)))?,
        };
        Ok(Self {
            inner,
            backbone: backbone(config)?,
            encoder,
            sums: raw.encoder_fuse_op == "sum",
            gateway: raw.use_gateway,
            trailing: raw.encoder_has_trailing_conv,
            adapter: raw.spatial_tuning_adapter_inplanes,
        })
    }
}

fn backbone(config: &Config) -> Result<Backbone, Error> {
    match config.raw().get("backbone_config") {
        Some(Json::Object(raw)) if raw.get("model_type").and_then(Json::as_str) == Some("dinov3_vit") => {
            DinoV3::from_config(raw).map(Backbone::Dino)
        }
        _ => conv_backbone(config).map(Backbone::Conv),
    }
}
