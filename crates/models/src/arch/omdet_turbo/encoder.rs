//! The hybrid encoder: RT-DETR's, with names and activations of its own.

use graph::{Builder, Value};

use super::config::OmDetConfig;
use crate::Error;
use crate::arch::rt_detr::encoder::tokens;
use crate::config::CONFIG;
use crate::layers::{
    Activation, Attention, ConvNorm, CspRep, Fusion, conv_norm, fuse, layer_norm, linear, require_halving,
    self_attention, sine_positions,
};
use crate::weights::Weights;

/// ε of the normalizations behind projections; the reference leaves it at the default.
pub(super) const PROJECTION_EPSILON: f32 = 1e-5;
/// Blocks in each fusion layer.
const BLOCKS: usize = 3;
/// Names of an attention's projections.
pub(super) const PROJECTIONS: [&str; 4] = ["query", "key", "value", "out_proj"];

/// The fused pyramid `[batch, width, height, width]`, the finest level first.
pub(super) fn build(
    b: &mut Builder,
    w: &Weights,
    config: &OmDetConfig,
    maps: &[Value],
) -> Result<Vec<Value>, Error> {
    if maps.len() != config.levels {
        let value = format!("{} levels", config.levels);
        let expected = format!("{}, as the backbone has", maps.len());
        return Err(Error::unsupported(CONFIG, "encoder_in_channels", value, expected));
    }
    require_halving(maps)?;
    let mut maps = projected(b, w, config, maps);
    for (index, level) in config.projected.iter().enumerate().filter(|_| config.encoder_layers > 0) {
        maps[*level] = w.scope(b, &format!("encoder.{index}"), |b, w| within(b, w, config, &maps[*level]));
    }
    let conv = |kernel, stride, activation| ConvNorm {
        epsilon: config.batch_norm_eps,
        activation,
        ..ConvNorm::new(config.width, kernel, stride)
    };
    let fusion = Fusion {
        lateral: conv(1, 1, config.conv_activation),
        reduce: conv(3, 2, config.conv_activation),
        blocks: CspRep { like: conv(1, 1, config.csp_activation), hidden: config.hidden, count: BLOCKS },
    };
    Ok(fuse(b, w, &maps, &fusion))
}

/// Every map through a 1×1 convolution (`channel_projection_layers`).
pub(super) fn projected(b: &mut Builder, w: &Weights, config: &OmDetConfig, maps: &[Value]) -> Vec<Value> {
    let spec = ConvNorm {
        names: ["0", "1"],
        activation: Activation::Identity,
        epsilon: PROJECTION_EPSILON,
        ..ConvNorm::new(config.width, 1, 1)
    };
    let project = |(level, map): (usize, &Value)| {
        w.scope(b, &format!("channel_projection_layers.{level}"), |b, w| conv_norm(b, w, map, spec))
    };
    maps.iter().enumerate().map(project).collect()
}

/// Attention within one map.
fn within(b: &mut Builder, w: &Weights, config: &OmDetConfig, map: &Value) -> Value {
    let (height, width) = (map.size(2), map.size(3));
    let mut x = tokens(b, map);
    let position = (!config.has_eval_size).then(|| {
        // The reference counts places column by column, whatever the order of the tokens.
        let positions = sine_positions(width, height, config.width, config.temperature);
        b.weight(&w.full("position_embedding"), positions)
    });
    for index in 0..config.encoder_layers {
        x = w.scope(b, &format!("layers.{index}"), |b, w| layer(b, w, config, &x, position.as_ref()));
    }
    let x = b.transpose(&x, &[0, 2, 1]);
    b.reshape(&x, &[0, 0, height as i64, width as i64])
}

fn layer(b: &mut Builder, w: &Weights, config: &OmDetConfig, x: &Value, position: Option<&Value>) -> Value {
    let epsilon = config.layer_norm_eps;
    let spec = Attention { heads: config.encoder_heads, names: PROJECTIONS };
    let attended = self_attention(b, w, "self_attn", x, position, spec);
    let x = b.add(x, &attended);
    let x = layer_norm(b, w, "self_attn_layer_norm", &x, epsilon);
    let inner = linear(b, w, "fc1", &x, config.encoder_inner);
    let inner = config.encoder_activation.apply(b, &inner);
    let fed = linear(b, w, "fc2", &inner, config.width);
    let x = b.add(&x, &fed);
    layer_norm(b, w, "final_layer_norm", &x, epsilon)
}
