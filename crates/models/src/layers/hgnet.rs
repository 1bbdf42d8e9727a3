//! `HGNetV2` backbone: blocks that collect the outputs of all their layers, in a light form with depthwise convolutions.
//!
//! Reference: `HGNetV2Backbone` in transformers. A learnable affine block multiplies what an activation gives by one
//! number and adds another. Behind `ReLU` it costs nothing: `s × max(x, 0) + t` is `max(s × x + t, t)`, or `min` where `s`
//! is negative, and the inner product is the convolution's.

use graph::builder::Pool;
use graph::{Builder, Value};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::conv::rescaled_conv_norm;
use super::{Activation, ConvNorm, chosen_stages, conv_norm};
use crate::Error;
use crate::config::{CONFIG, Config, Limits};
use crate::weights::Weights;

/// ε of the normalizations; the configuration has none for the backbone.
const EPSILON: f32 = 1e-5;

/// What the configuration says about the backbone.
#[derive(Debug, Clone)]
pub(crate) struct HgNetV2 {
    stem: [usize; 3],
    stem_strides: [usize; 5],
    stages: Vec<Stage>,
    activation: Activation,
    /// Whether a learnable affine block follows each activation.
    affine: bool,
    /// Which stages feed the neck; 0 is the stem.
    outputs: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Stage {
    middle: usize,
    out: usize,
    blocks: usize,
    layers: usize,
    kernel: usize,
    light: bool,
    /// The stride of the depthwise convolution in front, where there is one.
    downsample: Option<usize>,
    input: usize,
}

#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    num_channels: usize,
    depths: Vec<usize>,
    hidden_act: String,
    stem_channels: [usize; 3],
    stem_strides: [Stride; 5],
    stage_in_channels: Vec<usize>,
    stage_mid_channels: Vec<usize>,
    stage_out_channels: Vec<usize>,
    stage_num_blocks: Vec<usize>,
    stage_downsample: Vec<bool>,
    stage_downsample_strides: Vec<Stride>,
    stage_light_block: Vec<bool>,
    stage_kernel_size: Vec<usize>,
    stage_numb_of_layers: Vec<usize>,
    use_learnable_affine_block: bool,
    out_features: Option<Vec<String>>,
    out_indices: Option<Vec<i64>>,
}

/// A stride, or one for each direction.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Stride {
    Same(usize),
    Each([usize; 2]),
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            num_channels: 3,
            depths: vec![3, 4, 6, 3],
            hidden_act: "relu".into(),
            stem_channels: [3, 32, 48],
            stem_strides: [2, 1, 1, 2, 1].map(Stride::Same),
            stage_in_channels: vec![48, 128, 512, 1024],
            stage_mid_channels: vec![48, 96, 192, 384],
            stage_out_channels: vec![128, 512, 1024, 2048],
            stage_num_blocks: vec![1, 1, 3, 1],
            stage_downsample: vec![false, true, true, true],
            stage_downsample_strides: vec![Stride::Same(2); 4],
            stage_light_block: vec![false, false, true, true],
            stage_kernel_size: vec![3, 3, 5, 5],
            stage_numb_of_layers: vec![6; 4],
            use_learnable_affine_block: false,
            out_features: None,
            out_indices: None,
        }
    }
}

impl HgNetV2 {
    /// Reads `backbone_config`.
    pub(crate) fn from_config(raw: &Map<String, Json>) -> Result<Self, Error> {
        let raw: Raw = Config::parse(raw)?;
        let activation = Activation::by_name(&raw.hidden_act)
            .map_err(|expected| refuse("hidden_act", format!("`{}`", raw.hidden_act), &expected))?;
        let stages = raw.stages()?;
        if raw.num_channels != 3 || raw.stem_channels[0] != 3 {
            return Err(refuse("num_channels", raw.num_channels.to_string(), "3, as `stem_channels` begins"));
        }
        if raw.depths.is_empty() || raw.depths.len() > stages.len() {
            let value = format!("{} stages", raw.depths.len());
            return Err(refuse("depths", value, "at most as many as `stage_in_channels`"));
        }
        let limits = Limits::of("backbone_config.");
        for channels in &raw.stem_channels[1..] {
            limits.width("stem_channels", *channels)?;
        }
        let mut stem_strides = [1; 5];
        for (stride, raw) in stem_strides.iter_mut().zip(raw.stem_strides) {
            *stride = raw.checked("stem_strides")?;
        }
        let chosen = chosen_stages(raw.depths.len(), raw.out_indices.as_deref(), raw.out_features.as_deref());
        let outputs = chosen.ok_or_else(|| {
            let value = format!("{:?} {:?}", raw.out_indices, raw.out_features);
            refuse("out_indices", value, "indices of the stem (0) and the stages, rising")
        })?;
        let affine = raw.use_learnable_affine_block;
        Ok(Self { stem: raw.stem_channels, stem_strides, stages, activation, affine, outputs })
    }

    /// The number of maps that feed the neck.
    pub(crate) fn levels(&self) -> usize {
        self.outputs.len()
    }

    /// The feature maps that feed the neck, the finest first.
    pub(crate) fn build(&self, b: &mut Builder, w: &Weights, pixels: &Value) -> Vec<Value> {
        let mut x = w.scope(b, "embedder", |b, w| self.stem(b, w, pixels));
        let mut maps = vec![x.clone()];
        for (index, stage) in self.stages.iter().enumerate() {
            x = w.scope(b, &format!("encoder.stages.{index}"), |b, w| self.stage(b, w, &x, *stage));
            maps.push(x.clone());
        }
        self.outputs.iter().filter_map(|index| maps.get(*index).cloned()).collect()
    }

    fn stem(&self, b: &mut Builder, w: &Weights, pixels: &Value) -> Value {
        let [_, middle, out] = self.stem;
        let strides = self.stem_strides;
        let layer = |b: &mut Builder, name: &str, x: &Value, spec: ConvNorm<'static>| {
            let spec = ConvNorm { activation: self.activation, ..spec };
            w.scope(b, name, |b, w| self.activated(b, w, x, spec))
        };
        let x = layer(b, "stem1", pixels, plain(middle, 3, strides[0]));
        let deep = layer(b, "stem2a", &x, ConvNorm { trailing: 1, ..plain(middle / 2, 2, strides[1]) });
        let deep = layer(b, "stem2b", &deep, ConvNorm { trailing: 1, ..plain(middle, 2, strides[2]) });
        // The reference pads with zeros, which count: the affine block may have made everything negative.
        let padded = b.zero_border(&x, [0, 0, 1, 1]);
        let pooled = b.max_pool(&padded, Pool { kernel: 2, stride: 1, padding: 0, ceil: false });
        let joined = b.concat(&[&pooled, &deep], 1);
        let x = layer(b, "stem3", &joined, plain(middle, 3, strides[3]));
        layer(b, "stem4", &x, plain(out, 1, strides[4]))
    }

    fn stage(&self, b: &mut Builder, w: &Weights, x: &Value, stage: Stage) -> Value {
        let mut x = x.clone();
        if let Some(stride) = stage.downsample {
            let spec = ConvNorm { groups: stage.input, ..plain(stage.input, 3, stride) };
            x = w.scope(b, "downsample", |b, w| conv_norm(b, w, &x, spec));
        }
        for index in 0..stage.blocks {
            let y = w.scope(b, &format!("blocks.{index}"), |b, w| self.block(b, w, &x, stage));
            x = if index == 0 { y } else { b.add(&y, &x) };
        }
        x
    }

    fn block(&self, b: &mut Builder, w: &Weights, x: &Value, stage: Stage) -> Value {
        let mut collected = vec![x.clone()];
        let mut x = x.clone();
        for index in 0..stage.layers {
            x = w.scope(b, &format!("layers.{index}"), |b, w| {
                if !stage.light {
                    return self.activated(b, w, &x, relu(stage.middle, stage.kernel));
                }
                let mixed = w.scope(b, "conv1", |b, w| conv_norm(b, w, &x, plain(stage.middle, 1, 1)));
                let spec = ConvNorm { groups: stage.middle, ..relu(stage.middle, stage.kernel) };
                w.scope(b, "conv2", |b, w| self.activated(b, w, &mixed, spec))
            });
            collected.push(x.clone());
        }
        let all = b.concat(&collected.iter().collect::<Vec<_>>(), 1);
        let squeezed = w.scope(b, "aggregation.0", |b, w| self.activated(b, w, &all, relu(stage.out / 2, 1)));
        w.scope(b, "aggregation.1", |b, w| self.activated(b, w, &squeezed, relu(stage.out, 1)))
    }

    /// Convolution, normalization, activation and, where there is one, the learnable affine block.
    fn activated(&self, b: &mut Builder, w: &Weights, x: &Value, spec: ConvNorm<'_>) -> Value {
        if !self.affine {
            return conv_norm(b, w, x, spec);
        }
        let block = w.child("lab");
        let parts = ["scale", "bias"].map(|part| block.tensor(part, &[1]).to_f32().unwrap_or_default());
        let [scale, bias] = parts.map(|part| part.first().copied().unwrap_or_default());
        if spec.activation == Activation::Relu && !w.exact() {
            let y = rescaled_conv_norm(b, w, x, spec, [scale, bias]);
            return if scale < 0.0 { b.at_most(&y, bias) } else { b.at_least(&y, bias) };
        }
        let y = conv_norm(b, w, x, spec);
        b.scoped("lab", |b| {
            let [scale, bias] = [scale, bias].map(|number| b.scalar(number));
            let y = b.mul(&scale, &y);
            b.add(&y, &bias)
        })
    }
}

/// A convolution with the reference's padding, and its normalization.
fn plain(out: usize, kernel: usize, stride: usize) -> ConvNorm<'static> {
    ConvNorm {
        names: ["convolution", "normalization"],
        epsilon: EPSILON,
        padding: kernel.saturating_sub(1) / 2,
        ..ConvNorm::new(out, kernel, stride)
    }
}

/// The layers of the blocks use `ReLU`; only the stem uses `hidden_act`.
fn relu(out: usize, kernel: usize) -> ConvNorm<'static> {
    ConvNorm { activation: Activation::Relu, ..plain(out, kernel, 1) }
}

impl Raw {
    fn stages(&self) -> Result<Vec<Stage>, Error> {
        let count = self.stage_in_channels.len();
        let lengths = [
            self.stage_mid_channels.len(),
            self.stage_out_channels.len(),
            self.stage_num_blocks.len(),
            self.stage_downsample.len(),
            self.stage_light_block.len(),
            self.stage_kernel_size.len(),
            self.stage_numb_of_layers.len(),
        ];
        let all = lengths.iter().all(|length| *length == count);
        if !all || !(1..=8).contains(&count) || self.stage_downsample_strides.len() < count {
            let value = format!("a list of {count}");
            return Err(refuse("stage_in_channels", value, "as long as the other lists, at most 8"));
        }
        let limits = Limits::of("backbone_config.");
        (0..count)
            .map(|at| {
                let stage = Stage {
                    input: self.stage_in_channels[at],
                    middle: self.stage_mid_channels[at],
                    out: self.stage_out_channels[at],
                    blocks: self.stage_num_blocks[at],
                    layers: self.stage_numb_of_layers[at],
                    kernel: self.stage_kernel_size[at],
                    light: self.stage_light_block[at],
                    downsample: self.stage_downsample[at]
                        .then(|| self.stage_downsample_strides[at].checked("stage_downsample_strides"))
                        .transpose()?,
                };
                limits.width("stage_in_channels", stage.input)?;
                limits.width("stage_mid_channels", stage.middle)?;
                limits.width("stage_out_channels", stage.out)?;
                limits.within("stage_num_blocks", stage.blocks, 1, 64)?;
                limits.within("stage_numb_of_layers", stage.layers, 1, 64)?;
                limits.within("stage_kernel_size", stage.kernel, 1, 63)?;
                Ok(stage)
            })
            .collect()
    }
}

impl Stride {
    fn checked(self, key: &str) -> Result<usize, Error> {
        match self {
            Self::Same(stride) | Self::Each([stride, _]) if !(1..=16).contains(&stride) => {
                Err(refuse(key, stride.to_string(), "1 to 16"))
            }
            Self::Each(both) if both[0] != both[1] => {
                Err(refuse(key, format!("{both:?}"), "the same stride both ways"))
            }
            Self::Same(stride) | Self::Each([stride, _]) => Ok(stride),
        }
    }
}

fn refuse(key: &str, value: String, expected: &str) -> Error {
    Error::unsupported(CONFIG, &format!("backbone_config.{key}"), value, expected)
}
