//! `ResNets` of the timm library, as backbones of the DETR family: by the names that timm gives them.
//!
//! Papers: <https://arxiv.org/abs/1512.03385>, <https://arxiv.org/abs/1812.01187> (C, D and S: a deep stem; D: average
//! pooling in the shortcuts), <https://arxiv.org/abs/1611.05431> (`ResNeXt`). Reference: `timm.models.resnet`. DETR's DC5
//! keeps the resolution of the last stage and dilates its kernels instead (`output_stride`).

use graph::builder::Pool;
use graph::{Builder, Value};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::{Activation, ConvNorm, chosen_stages, conv_norm};
use crate::Error;
use crate::config::{CONFIG, Config};
use crate::weights::Weights;

/// Channels of the four stages, before the expansion of a bottleneck.
const PLANES: [usize; 4] = [64, 128, 256, 512];

/// Layers in each stage by the depth in the name, and whether they are bottlenecks.
const DEPTHS: &[(&str, [usize; 4], bool)] = &[
    ("10", [1, 1, 1, 1], false),
    ("14", [1, 1, 1, 1], true),
    ("18", [2, 2, 2, 2], false),
    ("26", [2, 2, 2, 2], true),
    ("34", [3, 4, 6, 3], false),
    ("50", [3, 4, 6, 3], true),
    ("101", [3, 4, 23, 3], true),
    ("152", [3, 8, 36, 3], true),
    ("200", [3, 24, 36, 3], true),
];

/// What the names of timm stand for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TimmResNet {
    depths: [usize; 4],
    bottleneck: bool,
    /// Channels of the three convolutions of a deep stem.
    deep_stem: Option<[usize; 3]>,
    pooled_shortcuts: bool,
    groups: usize,
    /// Channels of a bottleneck's middle, in units of a 64th of the stage's.
    base_width: usize,
    /// How much smaller than the image the last map is at most.
    output_stride: usize,
    /// Which maps come out; 0 is the stem.
    outputs: Vec<usize>,
}

/// `backbone_config` with `model_type` `timm_backbone`.
#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    num_channels: usize,
    features_only: bool,
    output_stride: usize,
    out_indices: Vec<i64>,
}

impl Default for Raw {
    fn default() -> Self {
        Self { num_channels: 3, features_only: true, output_stride: 32, out_indices: vec![-1] }
    }
}

impl TimmResNet {
    /// Reads `backbone_config`, whose `backbone` is timm's name.
    pub(crate) fn from_config(raw: &Map<String, Json>) -> Result<Self, Error> {
        let refuse = |field: &str, value: String, expected: &str| {
            Error::unsupported(CONFIG, &format!("backbone_config.{field}"), value, expected)
        };
        let name = raw.get("backbone").and_then(Json::as_str).unwrap_or_default();
        let mut network = Self::by_name(name).ok_or_else(|| {
            refuse("backbone", format!("`{name}`"), "a ResNet or ResNeXt of timm, such as `resnet50`")
        })?;
        let raw: Raw = Config::parse(raw)?;
        if raw.num_channels != 3 {
            return Err(refuse("num_channels", raw.num_channels.to_string(), "3"));
        }
        if !raw.features_only {
            return Err(refuse("features_only", "false".into(), "true"));
        }
        if ![8, 16, 32].contains(&raw.output_stride) {
            return Err(refuse("output_stride", raw.output_stride.to_string(), "8, 16 or 32"));
        }
        if raw.output_stride < 32 && network.pooled_shortcuts {
            let expected = format!("32 with the pooled shortcuts of `{name}`");
            return Err(refuse("output_stride", raw.output_stride.to_string(), &expected));
        }
        network.output_stride = raw.output_stride;
        network.outputs = chosen_stages(4, Some(&raw.out_indices), None).ok_or_else(|| {
            let value = format!("{:?}", raw.out_indices);
            refuse("out_indices", value, "indices of the stem (0) and the stages, rising")
        })?;
        Ok(network)
    }

    /// `resnet50`, `resnet18d`, `wide_resnet50_2`, `resnext50_32x4d`, each with or without the tag of its weights.
    fn by_name(name: &str) -> Option<Self> {
        let name = name.strip_prefix("timm/").unwrap_or(name);
        let name = name.split_once('.').map_or(name, |(name, _)| name);
        let (stem, groups, base_width) = if let Some(name) = name.strip_prefix("resnext") {
            let (stem, form) = name.split_once('_')?;
            let (groups, width) = form.strip_suffix('d')?.split_once('x')?;
            (stem, groups.parse().ok()?, width.parse().ok()?)
        } else if let Some(name) = name.strip_prefix("wide_resnet") {
            (name.strip_suffix("_2")?, 1, 128)
        } else {
            (name.strip_prefix("resnet")?, 1, 64)
        };
        if !(1..=64).contains(&groups) || !(1..=1024).contains(&base_width) {
            return None;
        }
        let depth = stem.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
        let (deep_stem, pooled_shortcuts) = match &stem[depth.len()..] {
            "" => (None, false),
            "c" => (Some([32, 32, 64]), false),
            "d" => (Some([32, 32, 64]), true),
            "s" => (Some([64, 64, 128]), false),
            "t" => (Some([24, 32, 64]), true),
            _ => return None,
        };
        let (_, depths, bottleneck) = *DEPTHS.iter().find(|row| row.0 == depth)?;
        if !bottleneck && (groups, base_width) != (1, 64) {
            return None;
        }
        let outputs = vec![4];
        let output_stride = 32;
        Some(Self {
            depths,
            bottleneck,
            deep_stem,
            pooled_shortcuts,
            groups,
            base_width,
            output_stride,
            outputs,
        })
    }

    /// The feature maps, the finest first.
    pub(crate) fn build(&self, b: &mut Builder, w: &Weights, pixels: &Value) -> Vec<Value> {
        let mut x = self.stem(b, w, pixels);
        let mut maps = vec![x.clone()];
        x = b.max_pool(&x, Pool { kernel: 3, stride: 2, padding: 1, ceil: false });
        let (mut reached, mut dilation, mut before) = (4, 1, 1);
        // timm leaves out the stages behind the last output.
        let last = self.outputs.last().copied().unwrap_or(0);
        for (index, (planes, depth)) in PLANES.into_iter().zip(self.depths).enumerate().take(last) {
            let mut stride = if index == 0 { 1 } else { 2 };
            if reached >= self.output_stride {
                dilation *= stride;
                stride = 1;
            }
            reached *= stride;
            for layer in 0..depth {
                let block = Block {
                    planes,
                    stride: if layer == 0 { stride } else { 1 },
                    dilation: [before, dilation],
                    projects: layer == 0,
                };
                let name = format!("layer{}.{layer}", index + 1);
                x = w.scope(b, &name, |b, w| self.residual(b, w, &x, block));
                before = dilation;
            }
            maps.push(x.clone());
        }
        self.outputs.iter().filter_map(|index| maps.get(*index).cloned()).collect()
    }

    fn stem(&self, b: &mut Builder, w: &Weights, pixels: &Value) -> Value {
        let Some(widths) = self.deep_stem else {
            let spec = ConvNorm { names: ["conv1", "bn1"], ..ConvNorm::new(64, 7, 2) };
            return conv_norm(b, w, pixels, active(spec));
        };
        let names = [["conv1.0", "conv1.1"], ["conv1.3", "conv1.4"], ["conv1.6", "bn1"]];
        let mut x = pixels.clone();
        for ((names, out), stride) in names.into_iter().zip(widths).zip([2, 1, 1]) {
            x = conv_norm(b, w, &x, active(ConvNorm { names, ..ConvNorm::new(out, 3, stride) }));
        }
        x
    }

    fn residual(&self, b: &mut Builder, w: &Weights, x: &Value, block: Block) -> Value {
        let [first, later] = block.dilation;
        let dilated = |spec: ConvNorm<'static>, dilation| ConvNorm { padding: dilation, dilation, ..spec };
        let (specs, out) = if self.bottleneck {
            let width = block.planes * self.base_width / 64 * self.groups;
            let out = 4 * block.planes;
            let middle = ConvNorm {
                names: ["conv2", "bn2"],
                groups: self.groups,
                ..ConvNorm::new(width, 3, block.stride)
            };
            let specs = vec![
                active(ConvNorm { names: ["conv1", "bn1"], ..ConvNorm::new(width, 1, 1) }),
                active(dilated(middle, first)),
                ConvNorm { names: ["conv3", "bn3"], ..ConvNorm::new(out, 1, 1) },
            ];
            (specs, out)
        } else {
            let out = block.planes;
            let spec = |names, stride| ConvNorm { names, ..ConvNorm::new(out, 3, stride) };
            let specs = vec![
                active(dilated(spec(["conv1", "bn1"], block.stride), first)),
                dilated(spec(["conv2", "bn2"], 1), later),
            ];
            (specs, out)
        };
        let mut y = x.clone();
        for spec in specs {
            y = conv_norm(b, w, &y, spec);
        }
        let changes = block.stride != 1 || x.size(1) != out;
        let shortcut =
            if block.projects && changes { self.shortcut(b, w, x, out, block.stride) } else { x.clone() };
        let sum = b.add(&y, &shortcut);
        b.relu(&sum)
    }

    fn shortcut(&self, b: &mut Builder, w: &Weights, x: &Value, out: usize, stride: usize) -> Value {
        w.scope(b, "downsample", |b, w| {
            if !self.pooled_shortcuts {
                return conv_norm(b, w, x, ConvNorm { names: ["0", "1"], ..ConvNorm::new(out, 1, stride) });
            }
            let pooled = match stride {
                1 => x.clone(),
                stride => b.average_pool(x, Pool { kernel: 2, stride, padding: 0, ceil: true }),
            };
            conv_norm(b, w, &pooled, ConvNorm { names: ["1", "2"], ..ConvNorm::new(out, 1, 1) })
        })
    }
}

/// One residual layer.
#[derive(Clone, Copy)]
struct Block {
    planes: usize,
    stride: usize,
    /// Of the layer's first convolution that has an extent, and of the one after it.
    dilation: [usize; 2],
    /// Whether it is the first of its stage, where the shortcut may change the shape.
    projects: bool,
}

fn active(spec: ConvNorm<'_>) -> ConvNorm<'_> {
    ConvNorm { activation: Activation::Relu, ..spec }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_network_is() {
        let plain = TimmResNet::by_name("resnet50").unwrap();
        assert_eq!((plain.depths, plain.bottleneck, plain.deep_stem), ([3, 4, 6, 3], true, None));
        assert_eq!(TimmResNet::by_name("timm/resnet50.a1_in1k"), Some(plain));
        let small = TimmResNet::by_name("resnet18d").unwrap();
        assert_eq!(
            (small.bottleneck, small.pooled_shortcuts, small.deep_stem),
            (false, true, Some([32, 32, 64]))
        );
        let grouped = TimmResNet::by_name("resnext101_32x8d").unwrap();
        assert_eq!((grouped.groups, grouped.base_width, grouped.depths), (32, 8, [3, 4, 23, 3]));
        assert_eq!(TimmResNet::by_name("wide_resnet50_2").unwrap().base_width, 128);
        let foreign =
            ["", "resnet", "resnet51", "resnet50_gn", "resnetv2_50", "resnext50", "resnext18_32x4d"];
        for name in
            foreign.into_iter().chain(["seresnet50", "resnext50_99999999999999999999x4d", "convnext_tiny"])
        {
            assert_eq!(TimmResNet::by_name(name), None, "{name}");
        }
    }
}
