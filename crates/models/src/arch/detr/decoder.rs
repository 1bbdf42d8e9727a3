//! The decoder: learned queries attend to each other and to the image.
//!
//! It starts from zeros, so the first attention of the queries to each other gives every query the same, whatever the
//! image: that and the first questions to the image are constants.

use graph::{Builder, Tensor, Value};

use super::config::DetrConfig;
use super::encoder::{PROJECTIONS, Scene, fed};
use super::{EPSILON, NormPlace};
use crate::layers::{
    Attended, Attention, ConstantNorm, FixedRows, Layer, Rows, attend, attention, head_factor, layer_norm,
    linear,
};
use crate::weights::Weights;

/// What all layers share.
struct Given<'a> {
    config: &'a DetrConfig,
    place: NormPlace,
    /// The encoder's output, and the same with positions.
    memory: &'a Value,
    keys: Value,
    bias: Option<&'a Value>,
    /// Positions of the queries, as stored.
    queries: Tensor,
}

/// The decoder's output `[batch, queries, width]`.
pub(super) fn decode(
    b: &mut Builder,
    w: &Weights,
    config: &DetrConfig,
    place: NormPlace,
    scene: &Scene,
    memory: &Value,
) -> Value {
    let queries = w.child("query_position_embeddings").tensor("weight", &[config.queries, config.width]);
    w.scope(b, "decoder", |b, w| {
        let keys = b.add(memory, &scene.position);
        let given = Given { config, place, memory, keys, bias: scene.bias.as_ref(), queries };
        let shape = [1, config.queries, config.width];
        let position = FixedRows::of(given.queries.clone()).tensor(&shape);
        let position = b.weight(&w.full("query_position_embeddings"), position);
        let mut x = position.clone();
        if w.exact() {
            let [_, count, width] = shape;
            let zeros = FixedRows::new(count, move || Rows::zeros(count, width));
            x = b.weight(&w.full("start"), zeros.tensor(&shape));
        }
        for index in 0..config.decoder.layers {
            let name = format!("layers.{index}");
            x = w.scope(b, &name, |b, w| match index {
                0 if !w.exact() => first_layer(b, w, &given),
                _ => layer(b, w, &given, &x, &position),
            });
            if config.normalizes_each_layer {
                x = layer_norm(b, w, "layernorm", &x, EPSILON);
            }
        }
        layer_norm(b, w, "layernorm", &x, EPSILON)
    })
}

fn layer(b: &mut Builder, w: &Weights, given: &Given<'_>, x: &Value, position: &Value) -> Value {
    let spec = Attention { heads: given.config.decoder.heads, names: PROJECTIONS };
    let x = given.place.around(b, w, "self_attn_layer_norm", x, |b, x| {
        let placed = b.scoped("self_attn", |b| b.add(x, position));
        attention(
            b,
            w,
            "self_attn",
            Attended { queries: &placed, keys: &placed, values: x, bias: None },
            spec,
        )
    });
    let x = given.place.around(b, w, "encoder_attn_layer_norm", &x, |b, x| {
        let placed = b.scoped("encoder_attn", |b| b.add(x, position));
        let of = Attended { queries: &placed, keys: &given.keys, values: given.memory, bias: given.bias };
        attention(b, w, "encoder_attn", of, spec)
    });
    fed(b, w, given.config, given.config.decoder.inner, given.place, &x)
}

/// The first layer, with what does not depend on the image computed already.
fn first_layer(b: &mut Builder, w: &Weights, given: &Given<'_>) -> Value {
    let (config, place) = (given.config, given.place);
    let width = config.width;
    let start = Start::of(w, config, place);
    let own = start.clone();
    let answer = FixedRows::new(1, move || own.answer());
    let x = b.weight(&w.full("start"), answer.tensor(&[1, 1, width]));
    let stored = given.queries.clone();
    let questions = FixedRows::new(config.queries, move || start.questions(&stored));

    let attended = w.scope(b, "encoder_attn", |b, w| {
        let [_, k_proj, v_proj, o_proj] = PROJECTIONS;
        let q = b.weight(&w.full("questions"), questions.tensor(&[1, config.queries, width]));
        let k = linear(b, w, k_proj, &given.keys, width);
        let v = linear(b, w, v_proj, given.memory, width);
        let mixed = attend(b, [&q, &k, &v], given.bias, config.decoder.heads, true);
        linear(b, w, o_proj, &mixed, width)
    });
    let x = b.add(&x, &attended);
    let x = match place {
        NormPlace::After => layer_norm(b, w, "encoder_attn_layer_norm", &x, EPSILON),
        NormPlace::Before => x,
    };
    fed(b, w, config, config.decoder.inner, place, &x)
}

/// The weights of the first layer up to its first look at the image.
#[derive(Clone)]
struct Start {
    place: NormPlace,
    norm: ConstantNorm,
    values: Layer,
    out: Layer,
    second_norm: ConstantNorm,
    question: Layer,
    factor: f64,
}

impl Start {
    fn of(w: &Weights, config: &DetrConfig, place: NormPlace) -> Self {
        let width = config.width;
        let (own, cross) = (w.child("self_attn"), w.child("encoder_attn"));
        let [q_proj, k_proj, v_proj, o_proj] = PROJECTIONS;
        let square = |w: &Weights, name| Layer::of(w, name, [width, width]);
        // Whatever the queries ask each other, the answer is the same; the tensors have to fit all the same.
        for name in [q_proj, k_proj] {
            square(&own, name);
        }
        let norm_of_cross = match place {
            NormPlace::After => "self_attn_layer_norm",
            NormPlace::Before => "encoder_attn_layer_norm",
        };
        Self {
            place,
            norm: ConstantNorm::of(w, "self_attn_layer_norm", width, EPSILON),
            values: square(&own, v_proj),
            out: square(&own, o_proj),
            second_norm: ConstantNorm::of(w, norm_of_cross, width, EPSILON),
            question: square(&cross, q_proj),
            factor: f64::from(head_factor(width, config.decoder.heads)),
        }
    }

    /// What every query has after the attention to the others: one row.
    fn answer(&self) -> Rows {
        let zero = Rows::zeros(1, self.values.inputs());
        let seen = match self.place {
            NormPlace::After => zero,
            NormPlace::Before => zero.normalized(&self.norm),
        };
        let answer = seen.through(&self.values).through(&self.out);
        match self.place {
            NormPlace::After => answer.normalized(&self.norm),
            NormPlace::Before => answer,
        }
    }

    /// What the queries ask the image, scaled.
    fn questions(&self, positions: &Tensor) -> Rows {
        let answer = self.answer();
        let asking = match self.place {
            NormPlace::After => answer,
            NormPlace::Before => answer.normalized(&self.second_norm),
        };
        asking.plus(&Rows::of(positions)).through(&self.question).map(|value| value * self.factor)
    }
}
