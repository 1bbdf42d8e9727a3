//! The decoder: sines of each query's box say where it looks, narrower for a box that is narrow.

use graph::{Builder, Value};

use super::config::DabDetrConfig;
use crate::arch::conditional_detr::{
    LARGEST_LOGIT, Memory, Places, Queries, first_layer, inverse_sigmoid, layer, zeros,
};
use crate::arch::detr::{EPSILON, Scene};
use crate::layers::{FixedRows, Layer, Rows, layer_norm, mlp, mlp_of, sine_of, sine_rows};
use crate::weights::Weights;

/// The decoder's output `[batch, queries, width]`, and the logits of the boxes that the last layer looked around.
pub(super) fn decode(
    b: &mut Builder,
    w: &Weights,
    config: &DabDetrConfig,
    scene: &Scene,
    memory: Value,
    moving: &Weights,
) -> (Value, Value) {
    let (count, width) = (config.shared.queries, config.shared.width);
    let boxes = w.child("query_refpoint_embeddings").tensor("weight", &[config.boxes, 4]);
    let boxes = repeated(FixedRows::of(boxes), config.patterns.max(1));
    let start = match config.patterns {
        0 => zeros(count, width),
        patterns => {
            let stored = w.child("patterns").tensor("weight", &[patterns, width]);
            each_repeated(FixedRows::of(stored), config.boxes).tensor(&[1, count, width])
        }
    };
    w.scope(b, "decoder", |b, w| {
        let memory = Memory::new(b, w, scene, memory);
        let mut logits = b.weight(&w.full("query_refpoint_embeddings"), boxes.tensor(&[1, count, 4]));
        let mut x = b.weight(&w.full("start"), start);
        let last = config.shared.decoder.layers - 1;
        for index in 0..=last {
            let name = format!("layers.{index}");
            if index == 0 && config.patterns == 0 && !w.exact() {
                let looks = Looks::of(w, width, boxes.clone());
                x = w.scope(b, &name, |b, w| {
                    first_layer(b, w, &config.shared, &memory, looks.places(), looks.sine())
                });
            } else {
                let corners = b.sigmoid(&logits);
                let (places, sine) = look(b, w, width, &x, &corners, index == 0);
                let places = Places::Computed(places);
                let adds_places = index == 0 || config.keeps_places;
                let queries = Queries { x: &x, places: &places, sine: &sine, adds_places };
                x = w.scope(b, &name, |b, w| layer(b, w, &config.shared, &memory, &queries));
            }
            if index < last {
                let moves = b.scoped("bbox_embed", |b| mlp_of(b, moving, &x, &[width, width, 4]));
                let from = carried(b, w, &logits);
                logits = b.add(&moves, &from);
            }
        }
        let x = layer_norm(b, w, "layernorm", &x, EPSILON);
        let from = carried(b, w, &logits);
        (x, from)
    })
}

/// The inverse sigmoid of the sigmoid, which the reference bounds.
fn carried(b: &mut Builder, w: &Weights, logits: &Value) -> Value {
    if w.exact() {
        let boxes = b.sigmoid(logits);
        inverse_sigmoid(b, &boxes)
    } else {
        b.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT)
    }
}

/// Where queries with these `boxes` are and where they look: `[batch or 1, queries, width]` each.
fn look(b: &mut Builder, w: &Weights, width: usize, x: &Value, boxes: &Value, first: bool) -> (Value, Value) {
    // The row before the column, as in the positions of cells.
    let swapped = b.take(boxes, &[1, 0, 2, 3], 2);
    let waves = sine_of(b, &swapped, width / 2);
    let all = b.flatten_from(&waves, 2);
    let places = mlp(b, w, "ref_point_head", &all, &[width, width]);

    let wanted = mlp(b, w, "ref_anchor_head", x, &[width, 2]);
    let wanted = b.sigmoid(&wanted);
    let sizes = b.slice(boxes, 2, 2, 4);
    let ratios = b.div(&wanted, &sizes);
    let ratios = b.take(&ratios, &[1, 0], 2);
    let ratios = b.unsqueeze(&ratios, &[3]);
    let centre = b.slice(&waves, 2, 0, 2);
    let sine = b.mul(&centre, &ratios);
    let sine = b.flatten_from(&sine, 2);
    if first {
        return (places, sine);
    }
    let change = mlp(b, w, "query_scale", x, &[width, width]);
    (places, b.mul(&sine, &change))
}

/// The same for queries that start from zeros, at export.
#[derive(Clone)]
struct Looks {
    boxes: FixedRows,
    places: Vec<Layer>,
    sizes: Vec<Layer>,
    width: usize,
}

impl Looks {
    fn of(w: &Weights, width: usize, boxes: FixedRows) -> Self {
        Self {
            boxes,
            places: Layer::perceptron(w, "ref_point_head", 2 * width, &[width, width]),
            sizes: Layer::perceptron(w, "ref_anchor_head", width, &[width, 2]),
            width,
        }
    }

    fn places(&self) -> FixedRows {
        let own = self.clone();
        FixedRows::new(self.boxes.count(), move || {
            let boxes = own.boxes.rows().sigmoid();
            sine_rows(&boxes.taken(&[1, 0, 2, 3]), own.width / 2).through_all(&own.places)
        })
    }

    fn sine(&self) -> FixedRows {
        let own = self.clone();
        FixedRows::new(self.boxes.count(), move || {
            let boxes = own.boxes.rows().sigmoid();
            let wanted = Rows::zeros(1, own.width).through_all(&own.sizes).sigmoid();
            let wanted: Vec<f64> = wanted.iter().flatten().copied().collect();
            let ratios = boxes.iter().flat_map(|row| [wanted[1] / row[3], wanted[0] / row[2]]);
            let waves = sine_rows(&boxes.taken(&[1, 0]), own.width / 2);
            let each = ratios.flat_map(|ratio| std::iter::repeat_n(ratio, own.width / 2));
            let values = waves.iter().flatten().zip(each).map(|(wave, ratio)| wave * ratio).collect();
            Rows::new(waves.width(), values)
        })
    }
}

/// All rows, `times` times behind each other.
fn repeated(rows: FixedRows, times: usize) -> FixedRows {
    FixedRows::new(rows.count() * times, move || {
        let rows = rows.rows();
        let values = std::iter::repeat_n(&rows, times).flat_map(Rows::iter).flatten().copied().collect();
        Rows::new(rows.width(), values)
    })
}

/// Each row, `times` times behind itself.
fn each_repeated(rows: FixedRows, times: usize) -> FixedRows {
    FixedRows::new(rows.count() * times, move || {
        let rows = rows.rows();
        let values = rows.iter().flat_map(|row| std::iter::repeat_n(row, times)).flatten().copied().collect();
        Rows::new(rows.width(), values)
    })
}
