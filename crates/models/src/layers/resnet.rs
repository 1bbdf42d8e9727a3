//! `ResNet` backbones of transformers: the plain one, and the D variant of RT-DETR.
//!
//! Papers: <https://arxiv.org/abs/1512.03385>, <https://arxiv.org/abs/1812.01187> (D: three 3×3 convolutions as the stem,
//! average pooling in the shortcuts). References: `ResNetBackbone`, `RTDetrResNetBackbone`. The convolutions inside a
//! residual layer always use `ReLU`; only stem and sums use `hidden_act`.

use graph::builder::Pool;
use graph::{Builder, Value};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::{Activation, ConvNorm, chosen_stages, conv_norm};
use crate::config::{CONFIG, Config};
use crate::weights::Weights;
use crate::{Error, config::Limits};

/// ε of the normalizations; the configuration has none for the backbone.
const EPSILON: f32 = 1e-5;

/// Which of the two networks it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResNetKind {
    /// `resnet`: one 7×7 convolution as the stem, strided convolutions in the shortcuts.
    Plain,
    /// `rt_detr_resnet`.
    D,
}

/// What the configuration says about the backbone.
#[derive(Debug, Clone)]
pub(crate) struct ResNet {
    kind: ResNetKind,
    embedding: usize,
    stages: Vec<Stage>,
    bottleneck: bool,
    activation: Activation,
    downsample_in_bottleneck: bool,
    /// Which stages feed the neck; 0 is the stem.
    outputs: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Stage {
    channels: usize,
    depth: usize,
    stride: usize,
}

#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    num_channels: usize,
    embedding_size: usize,
    hidden_sizes: Vec<usize>,
    depths: Vec<usize>,
    layer_type: String,
    hidden_act: String,
    downsample_in_first_stage: bool,
    downsample_in_bottleneck: bool,
    out_features: Option<Vec<String>>,
    out_indices: Option<Vec<i64>>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            num_channels: 3,
            embedding_size: 64,
            hidden_sizes: vec![256, 512, 1024, 2048],
            depths: vec![3, 4, 6, 3],
            layer_type: "bottleneck".into(),
            hidden_act: "relu".into(),
            downsample_in_first_stage: false,
            downsample_in_bottleneck: false,
            out_features: None,
            out_indices: None,
        }
    }
}

impl ResNet {
    /// Reads `backbone_config`; without one it is the network of 50 layers, whose last three stages feed RT-DETR's neck
    /// and whose last one feeds the others.
    pub(crate) fn from_config(kind: ResNetKind, raw: Option<&Map<String, Json>>) -> Result<Self, Error> {
        let outputs_of_default = match kind {
            ResNetKind::Plain => vec![4],
            ResNetKind::D => vec![2, 3, 4],
        };
        let raw = match raw {
            Some(raw) => Config::parse(raw)?,
            None => Raw { out_indices: Some(outputs_of_default), ..Raw::default() },
        };
        let refuse = |field: &str, value: String, expected: &str| {
            Error::unsupported(CONFIG, &format!("backbone_config.{field}"), value, expected)
        };
        let limits = Limits::of("backbone_config.");
        if raw.num_channels != 3 {
            return Err(refuse("num_channels", raw.num_channels.to_string(), "3"));
        }
        if raw.hidden_sizes.len() != raw.depths.len() || raw.depths.is_empty() || raw.depths.len() > 8 {
            let value = format!("{:?} for depths {:?}", raw.hidden_sizes, raw.depths);
            return Err(refuse("hidden_sizes", value, "as many sizes as depths, at most 8"));
        }
        limits.width("embedding_size", raw.embedding_size)?;
        for (size, depth) in raw.hidden_sizes.iter().zip(&raw.depths) {
            limits.width("hidden_sizes", *size)?;
            limits.layers("depths", *depth)?;
        }
        let bottleneck = match raw.layer_type.as_str() {
            "bottleneck" => true,
            "basic" => false,
            other => return Err(refuse("layer_type", format!("`{other}`"), "`basic` or `bottleneck`")),
        };
        let activation = Activation::by_name(&raw.hidden_act)
            .map_err(|expected| refuse("hidden_act", format!("`{}`", raw.hidden_act), &expected))?;
        let stages = raw
            .hidden_sizes
            .iter()
            .zip(&raw.depths)
            .enumerate()
            .map(|(index, (channels, depth))| Stage {
                channels: *channels,
                depth: *depth,
                stride: if index > 0 || raw.downsample_in_first_stage { 2 } else { 1 },
            })
            .collect();
        let chosen = chosen_stages(raw.depths.len(), raw.out_indices.as_deref(), raw.out_features.as_deref());
        let outputs = chosen.ok_or_else(|| {
            let value = format!("{:?} {:?}", raw.out_indices, raw.out_features);
            refuse("out_indices", value, "indices of the stem (0) and the stages, rising")
        })?;
        Ok(Self {
            kind,
            embedding: raw.embedding_size,
            stages,
            bottleneck,
            activation,
            downsample_in_bottleneck: raw.downsample_in_bottleneck,
            outputs,
        })
    }

    /// The feature maps that feed the neck, the finest first.
    pub(crate) fn build(&self, b: &mut Builder, w: &Weights, pixels: &Value) -> Vec<Value> {
        let mut x = w.scope(b, "embedder", |b, w| self.stem(b, w, pixels));
        let mut maps = vec![x.clone()];
        for (index, stage) in self.stages.iter().enumerate() {
            let name = format!("encoder.stages.{index}");
            x = w.scope(b, &name, |b, w| self.stage(b, w, &x, *stage));
            maps.push(x.clone());
        }
        self.outputs.iter().filter_map(|index| maps.get(*index).cloned()).collect()
    }

    fn stem(&self, b: &mut Builder, w: &Weights, pixels: &Value) -> Value {
        let (whole, half) = (self.embedding, self.embedding / 2);
        let convolutions = match self.kind {
            ResNetKind::Plain => vec![("embedder".to_owned(), whole, 7, 2)],
            ResNetKind::D => [(half, 2), (half, 1), (whole, 1)]
                .into_iter()
                .enumerate()
                .map(|(index, (out, stride))| (format!("embedder.{index}"), out, 3, stride))
                .collect(),
        };
        let mut x = pixels.clone();
        for (name, out, kernel, stride) in convolutions {
            let spec = ConvNorm { stride, activation: self.activation, ..layer(out, kernel) };
            x = w.scope(b, &name, |b, w| conv_norm(b, w, &x, spec));
        }
        b.max_pool(&x, Pool { kernel: 3, stride: 2, padding: 1, ceil: false })
    }

    fn stage(&self, b: &mut Builder, w: &Weights, x: &Value, stage: Stage) -> Value {
        let mut x = x.clone();
        for index in 0..stage.depth {
            let stride = if index == 0 { stage.stride } else { 1 };
            x = w.scope(b, &format!("layers.{index}"), |b, w| {
                if self.bottleneck {
                    self.bottleneck_layer(b, w, &x, stage.channels, stride)
                } else {
                    self.basic_layer(b, w, &x, stage.channels, stride, index == 0)
                }
            });
        }
        x
    }

    fn basic_layer(
        &self,
        b: &mut Builder,
        w: &Weights,
        x: &Value,
        out: usize,
        stride: usize,
        first: bool,
    ) -> Value {
        let shortcut = match (self.kind, first, x.size(1) == out) {
            (ResNetKind::Plain, ..) => plain_shortcut(b, w, x, out, stride),
            (ResNetKind::D, false, _) => x.clone(),
            // The reference halves the shortcut wherever the channels change.
            (ResNetKind::D, true, false) => pooled_shortcut(b, w, x, out),
            (ResNetKind::D, true, true) => shortcut(b, w, "shortcut", x, out, stride),
        };
        let specs = [
            ConvNorm { stride, ..layer(out, 3) },
            ConvNorm { activation: Activation::Identity, ..layer(out, 3) },
        ];
        let y = residual(b, w, x, specs);
        let sum = b.add(&y, &shortcut);
        self.activation.apply(b, &sum)
    }

    fn bottleneck_layer(&self, b: &mut Builder, w: &Weights, x: &Value, out: usize, stride: usize) -> Value {
        let shortcut = match (self.kind, stride) {
            (ResNetKind::D, 2) => pooled_shortcut(b, w, x, out),
            _ => plain_shortcut(b, w, x, out, stride),
        };
        let (early, late) = if self.downsample_in_bottleneck { (stride, 1) } else { (1, stride) };
        let reduced = out / 4;
        let specs = [
            ConvNorm { stride: early, ..layer(reduced, 1) },
            ConvNorm { stride: late, ..layer(reduced, 3) },
            ConvNorm { activation: Activation::Identity, ..layer(out, 1) },
        ];
        let y = residual(b, w, x, specs);
        let sum = b.add(&y, &shortcut);
        self.activation.apply(b, &sum)
    }
}

/// A convolution of stride 1 that keeps the size, with `ReLU`.
fn layer(out: usize, kernel: usize) -> ConvNorm<'static> {
    ConvNorm {
        names: ["convolution", "normalization"],
        epsilon: EPSILON,
        activation: Activation::Relu,
        ..ConvNorm::new(out, kernel, 1)
    }
}

fn residual<const N: usize>(b: &mut Builder, w: &Weights, x: &Value, specs: [ConvNorm<'_>; N]) -> Value {
    let mut y = x.clone();
    for (index, spec) in specs.into_iter().enumerate() {
        y = w.scope(b, &format!("layer.{index}"), |b, w| conv_norm(b, w, &y, spec));
    }
    y
}

fn shortcut(b: &mut Builder, w: &Weights, name: &str, x: &Value, out: usize, stride: usize) -> Value {
    let spec = ConvNorm { stride, activation: Activation::Identity, ..layer(out, 1) };
    w.scope(b, name, |b, w| conv_norm(b, w, x, spec))
}

/// A convolution where the shape changes, else nothing.
fn plain_shortcut(b: &mut Builder, w: &Weights, x: &Value, out: usize, stride: usize) -> Value {
    if x.size(1) == out && stride == 1 { x.clone() } else { shortcut(b, w, "shortcut", x, out, stride) }
}

fn pooled_shortcut(b: &mut Builder, w: &Weights, x: &Value, out: usize) -> Value {
    let halved =
        b.scoped("shortcut.0", |b| b.average_pool(x, Pool { kernel: 2, stride: 2, padding: 0, ceil: true }));
    shortcut(b, w, "shortcut.1", &halved, out, 1)
}
