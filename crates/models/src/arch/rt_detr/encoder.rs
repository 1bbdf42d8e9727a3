//! The hybrid encoder: attention within the coarsest map, then fusion from coarse to fine and back.

use graph::{Builder, Value};

use super::config::RtDetrConfig;
use crate::Error;
use crate::config::CONFIG;
use crate::layers::{
    Activation, Attention, Between, ConvNorm, CspRep, Fusion, activated_mlp, conv_norm, feed_forward, fuse,
    layer_norm, require_halving, self_attention, sine_positions,
};
use crate::weights::Weights;

/// ε of the normalizations behind the input projections; the reference leaves it at the default.
const INPUT_EPSILON: f32 = 1e-5;
/// Blocks in each fusion layer.
const BLOCKS: usize = 3;

/// The names of an attention's projections in both transformers of RT-DETR.
pub(in crate::arch) const PROJECTIONS: [&str; 4] = ["q_proj", "k_proj", "v_proj", "o_proj"];

/// The fused pyramid `[batch, encoder_hidden_dim, height, width]`, the finest level first.
pub(in crate::arch) fn build(
    b: &mut Builder,
    w: &Weights,
    config: &RtDetrConfig,
    maps: &[Value],
) -> Result<Vec<Value>, Error> {
    let maps = project(b, w, config, maps)?;
    Ok(w.scope(b, "encoder", |b, w| {
        let maps = within_maps(b, w, config, maps);
        fuse(b, w, &maps, &fusion(config))
    }))
}

/// The maps of the backbone, each as wide as the encoder.
pub(in crate::arch) fn project(
    b: &mut Builder,
    w: &Weights,
    config: &RtDetrConfig,
    maps: &[Value],
) -> Result<Vec<Value>, Error> {
    require_pyramid(config, maps)?;
    let project = |(level, map): (usize, &Value)| {
        let spec = ConvNorm {
            names: ["0", "1"],
            activation: Activation::Identity,
            epsilon: INPUT_EPSILON,
            ..layer(config, 1, 1)
        };
        w.scope(b, &format!("encoder_input_proj.{level}"), |b, w| conv_norm(b, w, map, spec))
    };
    Ok(maps.iter().enumerate().map(project).collect())
}

/// As many maps as the encoder has levels, each half as large as the one before.
pub(in crate::arch) fn require_pyramid(config: &RtDetrConfig, maps: &[Value]) -> Result<(), Error> {
    if maps.len() != config.levels {
        let value = format!("{} levels", config.levels);
        let expected = format!("{}, as the backbone has", maps.len());
        return Err(Error::unsupported(CONFIG, "encoder_in_channels", value, expected));
    }
    require_halving(maps)
}

/// Attention within each of the maps that have one.
pub(in crate::arch) fn within_maps(
    b: &mut Builder,
    w: &Weights,
    config: &RtDetrConfig,
    mut maps: Vec<Value>,
) -> Vec<Value> {
    if config.encoder_layers > 0 {
        for (index, level) in config.encode_proj_layers.iter().enumerate() {
            maps[*level] = w.scope(b, &format!("aifi.{index}"), |b, w| intra(b, w, config, &maps[*level]));
        }
    }
    maps
}

/// Convolution and normalization of the encoder, at its width.
pub(in crate::arch) fn layer(config: &RtDetrConfig, kernel: usize, stride: usize) -> ConvNorm<'static> {
    ConvNorm {
        epsilon: config.batch_norm_eps,
        activation: config.activation,
        ..ConvNorm::new(config.encoder_hidden_dim, kernel, stride)
    }
}

fn fusion(config: &RtDetrConfig) -> Fusion {
    let like = layer(config, 1, 1);
    Fusion {
        lateral: like,
        reduce: layer(config, 3, 2),
        blocks: CspRep { like, hidden: config.hidden_channels, count: BLOCKS },
    }
}

/// Attention within one map.
fn intra(b: &mut Builder, w: &Weights, config: &RtDetrConfig, map: &Value) -> Value {
    let (height, width, size) = (map.size(2), map.size(3), config.encoder_hidden_dim);
    let mut x = tokens(b, map);
    let position = (!config.has_eval_size).then(|| {
        let positions = sine_positions(height, width, size, config.temperature);
        b.weight(&w.full("position_embedding"), positions)
    });
    for index in 0..config.encoder_layers {
        let name = format!("layers.{index}");
        x = w.scope(b, &name, |b, w| encoder_layer(b, w, config, &x, position.as_ref()));
    }
    let x = b.transpose(&x, &[0, 2, 1]);
    b.reshape(&x, &[0, 0, height as i64, width as i64])
}

/// A map `[batch, channels, height, width]` as tokens `[batch, height × width, channels]`.
pub(in crate::arch) fn tokens(b: &mut Builder, map: &Value) -> Value {
    let flat = b.flatten_from(map, 2);
    b.transpose(&flat, &[0, 2, 1])
}

fn encoder_layer(
    b: &mut Builder,
    w: &Weights,
    config: &RtDetrConfig,
    x: &Value,
    position: Option<&Value>,
) -> Value {
    let before = config.normalize_before;
    let epsilon = config.layer_norm_eps;
    let spec = Attention { heads: config.encoder_attention_heads, names: PROJECTIONS };

    let seen = if before { layer_norm(b, w, "self_attn_layer_norm", x, epsilon) } else { x.clone() };
    let attended = self_attention(b, w, "self_attn", &seen, position, spec);
    let mut x = b.add(x, &attended);
    if !before {
        x = layer_norm(b, w, "self_attn_layer_norm", &x, epsilon);
    }
    if before {
        // The reference takes the residual *after* this normalization.
        x = layer_norm(b, w, "final_layer_norm", &x, epsilon);
    }
    let sizes = [config.encoder_ffn_dim, config.encoder_hidden_dim];
    let fed = fed(b, w, config, &x, sizes, config.encoder_activation);
    let x = b.add(&x, &fed);
    if before { x } else { layer_norm(b, w, "final_layer_norm", &x, epsilon) }
}

/// Two linear layers with an activation between them.
pub(in crate::arch) fn fed(
    b: &mut Builder,
    w: &Weights,
    config: &RtDetrConfig,
    x: &Value,
    sizes: [usize; 2],
    activation: Activation,
) -> Value {
    if config.listed_layers {
        activated_mlp(b, w, "mlp", x, &sizes, activation)
    } else {
        feed_forward(b, w, x, sizes, Between::Fixed(activation))
    }
}
