//! `backbone_config` of a Swin Transformer, in transformers' own words and in timm's.

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::super::{Activation, chosen_stages};
use super::{Library, Swin};
use crate::config::{CONFIG, Config, Limits};
use crate::{Error, weights::Rename};

/// Largest window.
const LARGEST_WINDOW: usize = 64;
/// Most numbers in a table of all pairs of a window's cells, for each head: a quarter of a gigabyte.
const LARGEST_BIAS: usize = 1 << 26;

/// From the names of older generations of the library, and from timm's, to those of its fifth; below `swin` and
/// `_backbone`.
pub(crate) const SWIN_RENAMES: &[Rename] = &[
    within("blocks.#.attention.self.query", "blocks.#.attention.q_proj"),
    within("blocks.#.attention.self.key", "blocks.#.attention.k_proj"),
    within("blocks.#.attention.self.value", "blocks.#.attention.v_proj"),
    within("blocks.#.attention.output.dense", "blocks.#.attention.o_proj"),
    within("blocks.#.attention.self.relative_position_bias_table", BIAS_TABLE),
    within("blocks.#.intermediate.dense", "blocks.#.mlp.fc1"),
    within("blocks.#.output.dense", "blocks.#.mlp.fc2"),
    within("_backbone.patch_embed.proj", "_backbone.embeddings.patch_embeddings.projection"),
    within("_backbone.patch_embed.norm", "_backbone.embeddings.norm"),
    // timm counts the merging of patches to the stage that it feeds.
    within("_backbone.layers_1.downsample", "_backbone.encoder.layers.0.downsample"),
    within("_backbone.layers_2.downsample", "_backbone.encoder.layers.1.downsample"),
    within("_backbone.layers_3.downsample", "_backbone.encoder.layers.2.downsample"),
    within("_backbone.layers_0", "_backbone.encoder.layers.0"),
    within("_backbone.layers_1", "_backbone.encoder.layers.1"),
    within("_backbone.layers_2", "_backbone.encoder.layers.2"),
    within("_backbone.layers_3", "_backbone.encoder.layers.3"),
    within("blocks.#.attn.relative_position_bias_table", BIAS_TABLE),
    within("blocks.#.attn.qkv", "blocks.#.attention.qkv"),
    within("blocks.#.attn.proj", "blocks.#.attention.o_proj"),
    within("blocks.#.norm1", "blocks.#.layernorm_before"),
    within("blocks.#.norm2", "blocks.#.layernorm_after"),
];

const BIAS_TABLE: &str = "blocks.#.attention.relative_position_bias.relative_position_bias_table";

const fn within(from: &'static str, to: &'static str) -> Rename {
    Rename { from, to, anchored: false }
}

#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    image_size: Sides,
    patch_size: Sides,
    num_channels: usize,
    embed_dim: usize,
    depths: Vec<usize>,
    num_heads: Vec<usize>,
    window_size: usize,
    mlp_ratio: f64,
    qkv_bias: bool,
    hidden_act: String,
    use_absolute_embeddings: bool,
    layer_norm_eps: f32,
    out_features: Option<Vec<String>>,
    out_indices: Option<Vec<i64>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Sides {
    Same(usize),
    Each([usize; 2]),
}

impl Sides {
    fn each(self) -> [usize; 2] {
        match self {
            Self::Same(side) => [side; 2],
            Self::Each(sides) => sides,
        }
    }
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            image_size: Sides::Same(224),
            patch_size: Sides::Same(4),
            num_channels: 3,
            embed_dim: 96,
            depths: vec![2, 2, 6, 2],
            num_heads: vec![3, 6, 12, 24],
            window_size: 7,
            mlp_ratio: 4.0,
            qkv_bias: true,
            hidden_act: "gelu".into(),
            use_absolute_embeddings: false,
            layer_norm_eps: 1e-5,
            out_features: None,
            out_indices: None,
        }
    }
}

/// timm's arguments beside the name.
#[derive(Deserialize)]
#[serde(default)]
struct Timm {
    img_size: Option<Sides>,
    always_partition: bool,
    out_indices: Vec<i64>,
}

impl Default for Timm {
    fn default() -> Self {
        Self { img_size: None, always_partition: false, out_indices: vec![-1] }
    }
}

/// One of timm's models.
#[derive(Debug, Clone, Copy)]
struct TimmModel {
    size: &'static str,
    embed_dim: usize,
    /// Blocks of the third stage; the others have two.
    depth: usize,
    /// Heads of the first stage; each has twice as many as the one before.
    heads: usize,
}

const TIMM: &[TimmModel] = &[
    TimmModel { size: "tiny", embed_dim: 96, depth: 6, heads: 3 },
    TimmModel { size: "small", embed_dim: 96, depth: 18, heads: 3 },
    TimmModel { size: "base", embed_dim: 128, depth: 18, heads: 4 },
    TimmModel { size: "large", embed_dim: 192, depth: 18, heads: 6 },
];

impl Swin {
    /// Reads the `backbone_config` of transformers' own Swin (`model_type` `swin`).
    pub(crate) fn from_config(raw: &Map<String, Json>) -> Result<Self, Error> {
        let raw: Raw = Config::parse(raw)?;
        if raw.num_channels != 3 {
            return Err(refuse("num_channels", raw.num_channels.to_string(), "3"));
        }
        let activation = Activation::by_name(&raw.hidden_act)
            .map_err(|expected| refuse("hidden_act", format!("`{}`", raw.hidden_act), &expected))?;
        let chosen = chosen_stages(raw.depths.len(), raw.out_indices.as_deref(), raw.out_features.as_deref());
        let outputs = chosen.ok_or_else(|| {
            let value = format!("{:?} {:?}", raw.out_indices, raw.out_features);
            refuse("out_indices", value, "indices of the stem (0) and the stages, rising")
        })?;
        let swin = Self {
            library: Library::Transformers,
            embed_dim: raw.embed_dim,
            depths: raw.depths,
            heads: raw.num_heads,
            window: raw.window_size,
            patch: raw.patch_size.each(),
            mlp_ratio: raw.mlp_ratio,
            qkv_bias: raw.qkv_bias,
            activation,
            epsilon: raw.layer_norm_eps,
            image: raw.use_absolute_embeddings.then(|| raw.image_size.each()),
            outputs,
        };
        swin.check()?;
        Ok(swin)
    }

    /// Reads the name of timm's Swin (`swin_tiny_patch4_window7_224`) and the arguments that transformers passes on.
    pub(crate) fn from_timm(name: &str, arguments: &Map<String, Json>) -> Result<Self, Error> {
        let plain = name.rsplit('/').next().unwrap_or(name);
        let plain = plain.split_once('.').map_or(plain, |(plain, _)| plain);
        let (model, window, side) = timm_model(plain).ok_or_else(|| {
            let expected =
                "`swin_tiny`, `_small`, `_base` or `_large` of timm, patches of 4, windows of 7 or 12";
            refuse("backbone", format!("`{name}`"), expected)
        })?;
        let timm: Timm = Config::parse(arguments)?;
        let indices: Vec<i64> = timm
            .out_indices
            .iter()
            .map(|index| if *index < 0 { *index } else { index.saturating_add(1) })
            .collect();
        let outputs = chosen_stages(4, Some(&indices), None).filter(|outputs| outputs[0] > 0);
        let outputs = outputs.ok_or_else(|| {
            refuse("out_indices", format!("{:?}", timm.out_indices), "indices of the four stages, rising")
        })?;
        let swin = Self {
            library: Library::Timm { always_partition: timm.always_partition },
            embed_dim: model.embed_dim,
            depths: vec![2, 2, model.depth, 2],
            heads: [1, 2, 4, 8].map(|factor| model.heads * factor).into(),
            window,
            patch: [4; 2],
            mlp_ratio: 4.0,
            qkv_bias: true,
            activation: Activation::Gelu,
            epsilon: 1e-5,
            image: Some(timm.img_size.map_or([side; 2], Sides::each)),
            outputs,
        };
        swin.check()?;
        Ok(swin)
    }

    fn check(&self) -> Result<(), Error> {
        let limits = Limits::of("backbone_config.");
        if self.heads.len() != self.depths.len() || self.depths.is_empty() || self.depths.len() > 8 {
            let value = format!("{:?} for depths {:?}", self.heads, self.depths);
            return Err(refuse("num_heads", value, "as many numbers as depths, at most 8"));
        }
        limits.width("embed_dim", self.embed_dim)?;
        limits.within("window_size", self.window, 1, LARGEST_WINDOW)?;
        for side in self.patch {
            limits.within("patch_size", side, 1, 1024)?;
        }
        for side in self.image.into_iter().flatten() {
            limits.within("image_size", side, 1, 65_536)?;
        }
        for (stage, (heads, depth)) in self.heads.iter().zip(&self.depths).enumerate() {
            // At most 8 stages of at most 2^16 channels.
            let width = self.embed_dim << stage;
            limits.width("embed_dim", width)?;
            limits.heads("num_heads", *heads, width)?;
            limits.layers("depths", *depth)?;
            if heads * self.window.pow(4) > LARGEST_BIAS {
                let value = format!("{} with {heads} heads", self.window);
                return Err(refuse("window_size", value, "smaller windows or fewer heads"));
            }
        }
        let inner = self.embed_dim as f64 * self.mlp_ratio;
        if !(1.0..=65_536.0).contains(&inner) {
            return Err(refuse("mlp_ratio", self.mlp_ratio.to_string(), "a positive factor"));
        }
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            return Err(refuse("layer_norm_eps", self.epsilon.to_string(), "a positive number"));
        }
        Ok(())
    }
}

/// The model of a name, its window and the side of its images.
fn timm_model(name: &str) -> Option<(TimmModel, usize, usize)> {
    let (size, rest) = name.strip_prefix("swin_")?.split_once('_')?;
    let model = *TIMM.iter().find(|model| model.size == size)?;
    match rest {
        "patch4_window7_224" => Some((model, 7, 224)),
        "patch4_window12_384" if model.embed_dim > 96 => Some((model, 12, 384)),
        _ => None,
    }
}

fn refuse(field: &str, value: String, expected: &str) -> Error {
    Error::unsupported(CONFIG, &format!("backbone_config.{field}"), value, expected)
}
