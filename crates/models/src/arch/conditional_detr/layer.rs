//! A layer of the decoder that Conditional DETR and DAB-DETR share: contents and places are projected apart.
//!
//! Queries meet as the sum of both. The image is asked for both at once: in each head the elements of the content stand
//! before those of the place, so that a score is a sum of two. Projections that meet are one matrix each (see `folded`).

use graph::{Builder, Value};

use super::folded;
use crate::arch::detr::{DetrConfig, EPSILON, NormPlace, Scene, fed};
use crate::layers::{ConstantNorm, FixedRows, Layer, Rows, attend, head_factor, layer_norm, linear};
use crate::weights::Weights;

/// What the image says, for all layers.
pub(in crate::arch) struct Memory {
    /// The encoder's output.
    pub(super) cells: Value,
    /// Where the cells lie, as long as the batch where layers need it so.
    pub(super) position: Value,
    /// Cells and positions beside each other, where positions depend on the image.
    pub(super) both: Option<Value>,
    /// The positions, where they are the same for every image.
    pub(super) fixed: Option<FixedRows>,
    pub(super) bias: Option<Value>,
}

/// Where the queries of a layer look, `[batch or 1, queries, width]`.
#[derive(Clone)]
pub(in crate::arch) enum Places {
    /// The same for every image.
    Fixed(FixedRows),
    Computed(Value),
}

/// The queries of a layer.
pub(in crate::arch) struct Queries<'a> {
    pub(in crate::arch) x: &'a Value,
    pub(in crate::arch) places: &'a Places,
    /// Sines of the places' centres.
    pub(in crate::arch) sine: &'a Value,
    /// Whether places are added to contents when the image is asked, too.
    pub(in crate::arch) adds_places: bool,
}

impl Memory {
    pub(in crate::arch) fn new(b: &mut Builder, w: &Weights, scene: &Scene, cells: Value) -> Self {
        let mut memory = Self {
            cells,
            position: scene.position.clone(),
            both: None,
            fixed: scene.fixed.clone().map(FixedRows::of),
            bias: scene.bias.clone(),
        };
        if w.exact() && memory.fixed.is_some() {
            memory.position = b.expand_batch(&memory.position, &memory.cells);
        }
        if !w.exact() && memory.fixed.is_none() {
            memory.both = Some(b.concat(&[&memory.cells, &memory.position], 2));
        }
        memory
    }
}

impl Places {
    /// As a value of the graph, a constant of this name when it is fixed.
    pub(in crate::arch) fn value(&self, b: &mut Builder, name: &str, [count, width]: [usize; 2]) -> Value {
        match self {
            Self::Fixed(rows) => b.weight(name, rows.tensor(&[1, count, width])),
            Self::Computed(value) => value.clone(),
        }
    }
}

/// What the layer makes of its queries, `[batch, queries, width]`.
pub(in crate::arch) fn layer(
    b: &mut Builder,
    w: &Weights,
    config: &DetrConfig,
    memory: &Memory,
    queries: &Queries<'_>,
) -> Value {
    let x = queries.x;
    let met = w.scope(b, "self_attn", |b, w| meet(b, w, config, queries));
    let x = b.add(x, &met);
    let x = layer_norm(b, w, "self_attn_layer_norm", &x, EPSILON);
    let queries = Queries { x: &x, ..*queries };
    let seen = w.scope(b, "encoder_attn", |b, w| {
        if w.exact() {
            return look_exactly(b, w, config, memory, &queries);
        }
        let q = folded::questions(b, w, config, &queries);
        answered(b, w, config, memory, &q, queries.adds_places)
    });
    let x = b.add(&x, &seen);
    let x = layer_norm(b, w, "encoder_attn_layer_norm", &x, EPSILON);
    fed(b, w, config, config.decoder.inner, NormPlace::After, &x)
}

/// The first layer when it starts from zeros: what does not depend on the image is computed already.
pub(in crate::arch) fn first_layer(
    b: &mut Builder,
    w: &Weights,
    config: &DetrConfig,
    memory: &Memory,
    places: FixedRows,
    sine: FixedRows,
) -> Value {
    let width = config.width;
    let (own, cross) = (w.child("self_attn"), w.child("encoder_attn"));
    let square = |w: &Weights, name| Layer::of(w, name, [width, width]);
    // Whatever the queries ask each other, the answer is the same; the tensors have to fit all the same.
    for name in ["q_content_proj", "q_pos_proj", "k_content_proj", "k_pos_proj"] {
        square(&own, name);
    }
    let (value, out) = (square(&own, "v_proj"), square(&own, "o_proj"));
    let norm = ConstantNorm::of(w, "self_attn_layer_norm", width, EPSILON);
    let answer =
        FixedRows::new(1, move || Rows::zeros(1, width).through(&value).through(&out).normalized(&norm));
    let [content, place, waves] =
        ["q_content_proj", "q_pos_proj", "q_pos_sine_proj"].map(|name| square(&cross, name));
    let (start, heads) = (answer.clone(), config.decoder.heads);
    let factor = f64::from(head_factor(2 * width, heads));
    let questions = FixedRows::new(config.queries, move || {
        let places = places.rows().through(&place);
        let contents = start.rows().through(&content).plus(&places);
        folded::beside(&contents, &sine.rows().through(&waves), heads).map(|value| value * factor)
    });
    let x = b.weight(&w.full("start"), answer.tensor(&[1, 1, width]));
    let seen = w.scope(b, "encoder_attn", |b, w| {
        let q = b.weight(&w.full("questions"), questions.tensor(&[1, config.queries, 2 * width]));
        answered(b, w, config, memory, &q, true)
    });
    let x = b.add(&x, &seen);
    let x = layer_norm(b, w, "encoder_attn_layer_norm", &x, EPSILON);
    fed(b, w, config, config.decoder.inner, NormPlace::After, &x)
}

/// Attention of the queries to each other.
fn meet(b: &mut Builder, w: &Weights, config: &DetrConfig, queries: &Queries<'_>) -> Value {
    let (width, heads) = (config.width, config.decoder.heads);
    let v = linear(b, w, "v_proj", queries.x, width);
    let [q, k] = if w.exact() {
        let places = queries.places.value(b, &w.full("places"), [config.queries, width]);
        ["q", "k"].map(|part| {
            let content = linear(b, w, &format!("{part}_content_proj"), queries.x, width);
            let place = linear(b, w, &format!("{part}_pos_proj"), &places, width);
            b.add(&content, &place)
        })
    } else {
        folded::meeting(b, w, config, queries)
    };
    let mixed = attend(b, [&q, &k, &v], None, heads, !w.exact());
    linear(b, w, "o_proj", &mixed, width)
}

/// Attention to the image, operation by operation.
fn look_exactly(
    b: &mut Builder,
    w: &Weights,
    config: &DetrConfig,
    memory: &Memory,
    queries: &Queries<'_>,
) -> Value {
    let (width, heads) = (config.width, config.decoder.heads);
    let mut q = linear(b, w, "q_content_proj", queries.x, width);
    let mut k = linear(b, w, "k_content_proj", &memory.cells, width);
    let v = linear(b, w, "v_proj", &memory.cells, width);
    let k_place = linear(b, w, "k_pos_proj", &memory.position, width);
    if queries.adds_places {
        let places = queries.places.value(b, &w.full("places"), [config.queries, width]);
        let place = linear(b, w, "q_pos_proj", &places, width);
        q = b.add(&q, &place);
        k = b.add(&k, &k_place);
    }
    let q_place = linear(b, w, "q_pos_sine_proj", queries.sine, width);
    let [q, k] = [[q, q_place], [k, k_place]].map(|parts| {
        let sizes = [0, 0, heads as i64, (width / heads.max(1)) as i64];
        let [content, place] = parts.map(|part| b.reshape(&part, &sizes));
        let both = b.concat(&[&content, &place], 3);
        b.flatten_from(&both, 2)
    });
    let mixed = attend(b, [&q, &k, &v], memory.bias.as_ref(), heads, false);
    linear(b, w, "o_proj", &mixed, width)
}

/// What the image answers to the questions `q` `[batch or 1, queries, 2 × width]`.
fn answered(
    b: &mut Builder,
    w: &Weights,
    config: &DetrConfig,
    memory: &Memory,
    q: &Value,
    adds_places: bool,
) -> Value {
    let v = linear(b, w, "v_proj", &memory.cells, config.width);
    let k = folded::keys(b, w, config, memory, adds_places);
    let mixed = attend(b, [q, &k, &v], memory.bias.as_ref(), config.decoder.heads, true);
    linear(b, w, "o_proj", &mixed, config.width)
}
