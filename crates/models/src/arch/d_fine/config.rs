//! `config.json` of D-FINE and `DEIMv2`: RT-DETR's, with what the distributions of the box edges add.

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::Error;
use crate::arch::rt_detr::config::RtDetrConfig;
use crate::config::{CONFIG, Config, Limits};
use crate::layers::{HgNetV2, ResNet, ResNetKind};

/// The configuration, checked.
#[derive(Debug)]
pub(in crate::arch) struct DFineConfig {
    pub(in crate::arch) base: RtDetrConfig,
    /// The decoder layer whose predictions count; what follows is for training.
    pub(in crate::arch) eval_idx: usize,
    /// Bins of each edge's distribution, less one.
    pub(in crate::arch) max_num_bins: usize,
    /// Blocks in each branch of the encoder's fusion layers.
    pub(in crate::arch) blocks: usize,
    /// Channels of such a branch.
    pub(in crate::arch) branch: usize,
    pub(in crate::arch) top_prob_values: usize,
    pub(in crate::arch) lqe_hidden_dim: usize,
    pub(in crate::arch) lqe_layers: usize,
}

#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    eval_idx: i64,
    max_num_bins: usize,
    depth_mult: f64,
    hidden_expansion: f64,
    top_prob_values: usize,
    lqe_hidden_dim: usize,
    lqe_layers: usize,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            eval_idx: -1,
            max_num_bins: 32,
            depth_mult: 1.0,
            hidden_expansion: 1.0,
            top_prob_values: 4,
            lqe_hidden_dim: 64,
            lqe_layers: 2,
        }
    }
}

impl DFineConfig {
    /// Reads and checks the configuration.
    pub(in crate::arch) fn read(config: &Config) -> Result<Self, Error> {
        let base = RtDetrConfig::read(config)?;
        let base = RtDetrConfig { listed_layers: true, ..base };
        let raw: Raw = Config::parse(config.raw())?;
        let limits = Limits::of("");
        limits.within("max_num_bins", raw.max_num_bins, 4, 1024)?;
        if !raw.max_num_bins.is_multiple_of(2) {
            return Err(refuse("max_num_bins", raw.max_num_bins.to_string(), "an even number"));
        }
        limits.within("top_prob_values", raw.top_prob_values, 1, raw.max_num_bins + 1)?;
        limits.width("lqe_hidden_dim", raw.lqe_hidden_dim)?;
        limits.within("lqe_layers", raw.lqe_layers, 1, 64)?;
        let blocks = (3.0 * raw.depth_mult).round_ties_even();
        if !(0.0..=64.0).contains(&blocks) {
            return Err(refuse("depth_mult", raw.depth_mult.to_string(), "a factor of at most 21"));
        }
        let branch = (raw.hidden_expansion * base.encoder_hidden_dim as f64 / 2.0).floor();
        if !(1.0..=65_536.0).contains(&branch) {
            let value = raw.hidden_expansion.to_string();
            return Err(refuse("hidden_expansion", value, "a factor that leaves at least one channel"));
        }
        let layers = base.decoder_layers as i64;
        let counted = if raw.eval_idx < 0 { raw.eval_idx.saturating_add(layers) } else { raw.eval_idx };
        let eval_idx = usize::try_from(counted).ok().filter(|layer| *layer < base.decoder_layers);
        let eval_idx = eval_idx.ok_or_else(|| {
            refuse("eval_idx", raw.eval_idx.to_string(), &format!("one of {layers} decoder layers"))
        })?;
        Ok(Self {
            base,
            eval_idx,
            max_num_bins: raw.max_num_bins,
            blocks: blocks as usize,
            branch: branch as usize,
            top_prob_values: raw.top_prob_values,
            lqe_hidden_dim: raw.lqe_hidden_dim,
            lqe_layers: raw.lqe_layers,
        })
    }

    /// Bins of each edge's distribution.
    pub(in crate::arch) fn bins(&self) -> usize {
        self.max_num_bins + 1
    }
}

/// A convolutional backbone.
#[derive(Debug)]
pub(in crate::arch) enum ConvBackbone {
    HgNet(HgNetV2),
    ResNet(ResNet),
}

/// `backbone_config`; without one it is the `HGNetV2` whose last three stages feed the neck.
pub(in crate::arch) fn conv_backbone(config: &Config) -> Result<ConvBackbone, Error> {
    let raw = match config.raw().get("backbone_config") {
        None | Some(Json::Null) => {
            let name = config.raw().get("backbone").filter(|name| !name.is_null());
            if let Some(name) = name {
                return Err(refuse("backbone", name.to_string(), "null, with a `backbone_config`"));
            }
            let default = Map::from_iter([("out_indices".to_owned(), serde_json::json!([2, 3, 4]))]);
            return HgNetV2::from_config(&default).map(ConvBackbone::HgNet);
        }
        Some(Json::Object(raw)) => raw,
        Some(other) => return Err(refuse("backbone_config", other.to_string(), "an object")),
    };
    match raw.get("model_type").and_then(Json::as_str) {
        Some("hgnet_v2") | None => HgNetV2::from_config(raw).map(ConvBackbone::HgNet),
        Some("rt_detr_resnet") => ResNet::from_config(ResNetKind::D, Some(raw)).map(ConvBackbone::ResNet),
        Some("resnet") => ResNet::from_config(ResNetKind::Plain, Some(raw)).map(ConvBackbone::ResNet),
        Some(other) => {
            let expected = "`hgnet_v2`, `rt_detr_resnet` or `resnet`";
            Err(refuse("backbone_config.model_type", format!("`{other}`"), expected))
        }
    }
}

pub(in crate::arch) fn refuse(key: &str, value: String, expected: &str) -> Error {
    Error::unsupported(CONFIG, key, value, expected)
}
