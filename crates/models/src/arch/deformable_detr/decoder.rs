//! The decoder: queries look at each other and at a few places of the image, and each layer may move their boxes.

use graph::{Builder, Value};

use super::EPSILON;
use super::config::DeformableDetrConfig;
use super::queries::{Places, Queries};
use crate::arch::rt_detr::decoder::{LARGEST_LOGIT, inverse_sigmoid};
use crate::arch::rt_detr::encoder::PROJECTIONS;
use crate::layers::{
    Attention, ConstantNorm, Deformable, FixedRows, Layer, LevelRatios, Pyramid, Reference,
    deformable_attention, feed_forward, layer_norm, linear, mlp, self_attention,
};
use crate::weights::Weights;

/// What the decoder looks at, and how.
pub(super) struct Memory<'a> {
    pub(super) cells: &'a Value,
    pub(super) pyramid: &'a Pyramid,
    pub(super) spec: &'a Deformable,
}

/// Class logits `[batch, queries, classes]` and boxes `[batch, queries, 4]` of the last layer.
pub(super) fn decode(
    b: &mut Builder,
    w: &Weights,
    config: &DeformableDetrConfig,
    memory: &Memory<'_>,
    queries: &Queries,
    classes: usize,
) -> (Value, Value) {
    let width = config.width;
    let layers = config.decoder.layers;
    let heads = layers + usize::from(config.two_stage);
    let padded = memory.pyramid.padded.as_ref();
    let ratios = padded.map(|padded| LevelRatios::new(b, &padded.ratios, memory.spec));
    let ratios = ratios.as_ref();
    let mut x = queries.x.clone();
    // Boxes as they are, and as logits that the next move is added to.
    let (mut boxes, mut logits, mut reference) = match &queries.places {
        Places::Points { points, logits } => {
            (None, logits.clone(), Reference::points(b, w, points, ratios, memory.spec))
        }
        Places::Boxes(logits) => {
            let boxes = b.sigmoid(logits);
            let reference = Reference::boxes(b, w, &boxes, ratios, memory.spec);
            (Some(boxes), logits.clone(), reference)
        }
    };
    for index in 0..layers {
        let first = queries.fixed.as_ref().filter(|_| index == 0 && !w.exact());
        x = w.scope(b, &format!("layers.{index}"), |b, w| {
            let x = match first {
                Some(fixed) => acquainted(b, w, config, fixed),
                None => acquaint(b, w, config, &x, &queries.position),
            };
            look(b, w, config, memory, &x, &queries.position, &reference)
        });
        let last = index + 1 == layers;
        if !config.refines && !last {
            continue;
        }
        let head = w.member("bbox_embed", index, heads, "layers.0.weight");
        let moves = mlp(b, w, &head, &x, &[width, width, 4]);
        let from = match &boxes {
            None => logits,
            Some(boxes) if w.exact() => inverse_sigmoid(b, boxes),
            Some(_) => b.clip(&logits, -LARGEST_LOGIT, LARGEST_LOGIT),
        };
        logits = b.add(&moves, &from);
        let moved = b.sigmoid(&logits);
        if !last {
            reference = Reference::boxes(b, w, &moved, ratios, memory.spec);
        }
        boxes = Some(moved);
    }
    let head = w.member("class_embed", layers - 1, heads, "weight");
    let scores = linear(b, w, &head, &x, classes);
    (scores, boxes.unwrap_or(logits))
}

/// Queries look at each other.
fn acquaint(
    b: &mut Builder,
    w: &Weights,
    config: &DeformableDetrConfig,
    x: &Value,
    position: &Value,
) -> Value {
    let spec = Attention { heads: config.decoder.heads, names: PROJECTIONS };
    let attended = self_attention(b, w, "self_attn", x, Some(position), spec);
    let sum = b.add(x, &attended);
    layer_norm(b, w, "self_attn_layer_norm", &sum, EPSILON)
}

/// The same for queries that no image has changed yet: a constant.
fn acquainted(
    b: &mut Builder,
    w: &Weights,
    config: &DeformableDetrConfig,
    [x, position]: &[FixedRows; 2],
) -> Value {
    let (width, heads, count) = (config.width, config.decoder.heads, config.queries);
    let own = w.child("self_attn");
    let [query, key, value, out] = PROJECTIONS.map(|name| Layer::of(&own, name, [width, width]));
    let norm = ConstantNorm::of(w, "self_attn_layer_norm", width, EPSILON);
    let (x, position) = (x.clone(), position.clone());
    let rows = FixedRows::new(count, move || {
        let x = x.rows();
        let placed = x.plus(&position.rows());
        let [queries, keys] = [&query, &key].map(|layer| placed.through(layer));
        let mixed = queries.attended(&keys, &x.through(&value), heads);
        x.plus(&mixed.through(&out)).normalized(&norm)
    });
    b.weight(&w.full("start"), rows.tensor(&[1, count, width]))
}

/// Queries look at the image, and think about what they see.
fn look(
    b: &mut Builder,
    w: &Weights,
    config: &DeformableDetrConfig,
    memory: &Memory<'_>,
    x: &Value,
    position: &Value,
    reference: &Reference,
) -> Value {
    let is_image = memory.pyramid.padded.as_ref().map(|padded| &padded.is_image);
    let placed = b.add(x, position);
    let seen =
        deformable_attention(b, w, "encoder_attn", &placed, memory.cells, is_image, reference, memory.spec);
    let sum = b.add(x, &seen);
    let x = layer_norm(b, w, "encoder_attn_layer_norm", &sum, EPSILON);
    let fed = feed_forward(b, w, &x, [config.decoder.inner, config.width], config.between);
    let sum = b.add(&x, &fed);
    layer_norm(b, w, "final_layer_norm", &sum, EPSILON)
}
