//! What the decoder starts from: learned queries and places, or the best of the encoder's cells with their boxes.

use graph::{Builder, Tensor, Value};

use super::EPSILON;
use super::config::DeformableDetrConfig;
use crate::Error;
use crate::arch::rt_detr::decoder::LARGEST_LOGIT;
use crate::config::CONFIG;
use crate::layers::{
    BoxForm, FixedRows, Layer, Pyramid, Rows, deferred_floats, layer_norm, linear, mlp, proposals, sine_of,
};
use crate::weights::Weights;

/// The decoder's start.
pub(super) struct Queries {
    /// `[batch or 1, queries, width]`.
    pub(super) x: Value,
    /// What is added to them where they ask, of the same shape.
    pub(super) position: Value,
    pub(super) places: Places,
    /// Queries and positions as tensors `[queries, width]`, where they do not depend on the image.
    pub(super) fixed: Option<[FixedRows; 2]>,
}

/// Where queries look at first.
pub(super) enum Places {
    /// Points `[1, queries, 2]`, and their logits with zeros behind them `[1, queries, 4]`.
    Points { points: Value, logits: Value },
    /// Logits of boxes `[batch, queries, 4]`.
    Boxes(Value),
}

/// Queries that were learned.
pub(super) fn learned(b: &mut Builder, w: &Weights, config: &DeformableDetrConfig) -> Queries {
    let (count, width) = (config.queries, config.width);
    let table = w.child("query_position_embeddings").tensor("weight", &[count, 2 * width]);
    let half = |table: &Tensor, start: usize| {
        let table = table.clone();
        let elements: Vec<usize> = (start..start + width).collect();
        FixedRows::new(count, move || Rows::of(&table).taken(&elements))
    };
    let (position, x) = (half(&table, 0), half(&table, width));
    let layer = Layer::of(w, "reference_points", [2, width]);
    let asked = position.clone();
    let logits = FixedRows::new(count, move || asked.rows().through(&layer));
    let unbounded = logits.clone();
    let points = FixedRows::new(count, move || unbounded.rows().sigmoid());
    let largest = f64::from(LARGEST_LOGIT);
    let bounded =
        FixedRows::new(count, move || logits.rows().map(|logit| logit.clamp(-largest, largest)).widened(4));
    let mut constant =
        |name: &str, rows: &FixedRows, width: usize| b.weight(&w.full(name), rows.tensor(&[1, count, width]));
    Queries {
        x: constant("queries", &x, width),
        position: constant("query_positions", &position, width),
        places: Places::Points {
            points: constant("reference_points", &points, 2),
            logits: constant("reference_logits", &bounded, 4),
        },
        fixed: Some([x, position]),
    }
}

/// The cells that score best, by the first class, and the boxes that they propose.
pub(super) fn selected(
    b: &mut Builder,
    w: &Weights,
    config: &DeformableDetrConfig,
    pyramid: &Pyramid,
    cells: &Value,
    classes: usize,
) -> Result<Queries, Error> {
    let (count, width) = (config.queries, config.width);
    if cells.size(1) < count {
        let expected = format!("at most {}, the cells of this input size", cells.size(1));
        return Err(Error::unsupported(CONFIG, "two_stage_num_proposals", count, expected));
    }
    let proposals = proposals(b, &pyramid.levels, BoxForm::Logits);
    let kept = proposals.counts.as_ref().map(|counts| b.mul(cells, counts));
    let kept = kept.as_ref().unwrap_or(cells);
    let x = linear(b, w, "enc_output", kept, width);
    let candidates = layer_norm(b, w, "enc_output_norm", &x, EPSILON);
    // The heads behind those of the decoder's layers.
    let decoder = w.child("decoder");
    let heads = config.decoder.layers + 1;
    let own = |list, tensor| decoder.member(list, heads - 1, heads, tensor);
    let scores = b
        .scoped("decoder", |b| first_class(b, &decoder, &own("class_embed", "weight"), &candidates, classes));
    let (_, chosen) = b.top_k(&scores, count, 1);
    let rows = b.gather_rows(&candidates, &chosen);
    let head = own("bbox_embed", "layers.0.weight");
    let moves = b.scoped("decoder", |b| mlp(b, &decoder, &head, &rows, &[width, width, 4]));
    let from = proposals.of(b, &chosen);
    let logits = b.add(&moves, &from);

    let boxes = b.sigmoid(&logits);
    let waves = sine_of(b, &boxes, width / 2);
    let waves = b.flatten_from(&waves, 2);
    let both = linear(b, w, "pos_trans", &waves, 2 * width);
    let both = layer_norm(b, w, "pos_trans_norm", &both, EPSILON);
    let parts = b.split(&both, &[width; 2], -1);
    let [position, x] = &parts[..] else { return Err(Error::unsupported(CONFIG, "d_model", width, "even")) };
    Ok(Queries { x: x.clone(), position: position.clone(), places: Places::Boxes(logits), fixed: None })
}

/// The scores of the first class alone: `[batch, cells]`.
fn first_class(b: &mut Builder, w: &Weights, name: &str, x: &Value, classes: usize) -> Value {
    let width = x.size(-1);
    let scores = if w.exact() {
        let scores = linear(b, w, name, x, classes);
        b.slice(&scores, -1, 0, 1)
    } else {
        w.scope(b, name, |b, w| {
            let [weight, bias] = [("weight", vec![classes, width]), ("bias", vec![classes])]
                .map(|(part, shape)| w.tensor(part, &shape));
            let first = |tensor: Tensor, count: usize| {
                move || {
                    let mut values = tensor.to_f32().unwrap_or_default();
                    values.truncate(count);
                    values
                }
            };
            let weight = deferred_floats(&[width, 1], first(weight, width));
            let bias = deferred_floats(&[1], first(bias, 1));
            let weight = b.weight(&w.full("first.weight"), weight);
            let bias = b.weight(&w.full("first.bias"), bias);
            let product = b.matmul(x, &weight);
            b.add(&product, &bias)
        })
    };
    b.squeeze(&scores, -1)
}
