//! A decoder layer of D-FINE, and of `DEIMv2`, which normalizes by the root mean square and gates its feed-forward.

use graph::{Builder, Value};

use super::config::DFineConfig;
use crate::arch::rt_detr::config::RtDetrConfig;
use crate::arch::rt_detr::encoder::{PROJECTIONS, fed};
use crate::layers::{
    Activation, Attention, Deformable, Memory, Reference, bare_deformable_attention, layer_norm, linear,
    rms_norm, self_attention,
};
use crate::weights::Weights;

/// ε where the configuration has none.
const EPSILON: f32 = 1e-5;
/// ε of `DEIMv2`'s normalizations.
const RMS_EPSILON: f32 = 1e-6;
/// The largest number of half precision, to which the original keeps what it adds up.
const LARGEST: f32 = 65_504.0;

/// Which of the two families a layer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::arch) enum Kind {
    DFine,
    /// With or without a gate between what a query is and what it reads.
    Deimv2 {
        gateway: bool,
    },
}

/// What a layer reads from.
pub(super) struct Sources<'a> {
    pub(super) memory: &'a Memory,
    pub(super) position: &'a Value,
    pub(super) reference: &'a Reference,
    pub(super) attention: &'a Deformable,
}

pub(super) fn decoder_layer(
    b: &mut Builder,
    w: &Weights,
    config: &DFineConfig,
    kind: Kind,
    x: &Value,
    from: &Sources<'_>,
) -> Value {
    let base = &config.base;
    let spec = Attention { heads: base.decoder_attention_heads, names: PROJECTIONS };
    let attended = self_attention(b, w, "self_attn", x, Some(from.position), spec);
    let x = b.add(x, &attended);
    let x = normalized(b, w, "self_attn_layer_norm", &x, kind, base.layer_norm_eps);

    let placed = b.add(&x, from.position);
    let seen =
        bare_deformable_attention(b, w, "encoder_attn", &placed, from.memory, from.reference, from.attention);
    let x = if kind == (Kind::Deimv2 { gateway: false }) {
        let sum = b.add(&x, &seen);
        normalized(b, w, "encoder_attn_layer_norm", &sum, kind, EPSILON)
    } else {
        w.scope(b, "gateway", |b, w| gate(b, w, &x, &seen, kind))
    };

    let more = behind(b, w, base, kind, &x);
    let mut x = b.add(&x, &more);
    if kind == Kind::DFine {
        x = b.clip(&x, -LARGEST, LARGEST);
    }
    normalized(b, w, "final_layer_norm", &x, kind, base.layer_norm_eps)
}

fn normalized(b: &mut Builder, w: &Weights, name: &str, x: &Value, kind: Kind, epsilon: f32) -> Value {
    match kind {
        Kind::DFine => layer_norm(b, w, name, x, epsilon),
        Kind::Deimv2 { .. } => rms_norm(b, w, name, x, RMS_EPSILON),
    }
}

/// How much of what a query was and of what it has read goes on.
fn gate(b: &mut Builder, w: &Weights, x: &Value, seen: &Value, kind: Kind) -> Value {
    let width = x.size(-1);
    let both = b.concat(&[x, seen], -1);
    let gates = linear(b, w, "gate", &both, 2 * width);
    let gates = b.sigmoid(&gates);
    let sum = match &b.split(&gates, &[width; 2], -1)[..] {
        [first, second] => {
            let kept = b.mul(first, x);
            let taken = b.mul(second, seen);
            b.add(&kept, &taken)
        }
        _ => both,
    };
    normalized(b, w, "norm", &sum, kind, EPSILON)
}

/// The feed-forward network.
fn behind(b: &mut Builder, w: &Weights, config: &RtDetrConfig, kind: Kind, x: &Value) -> Value {
    let width = config.d_model;
    match kind {
        Kind::DFine => {
            let sizes = [config.decoder_ffn_dim, width];
            fed(b, w, config, x, sizes, config.decoder_activation)
        }
        Kind::Deimv2 { .. } => w.scope(b, "mlp", |b, w| {
            let inner = config.decoder_ffn_dim / 2;
            let gate = linear(b, w, "gate_proj", x, inner);
            let gate = Activation::Silu.apply(b, &gate);
            let upper = linear(b, w, "up_proj", x, inner);
            let product = b.mul(&gate, &upper);
            linear(b, w, "down_proj", &product, width)
        }),
    }
}
