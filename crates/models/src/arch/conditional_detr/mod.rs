//! Conditional DETR: queries ask the image for content and for a place of their own, which sines describe.
//!
//! Paper: <https://arxiv.org/abs/2108.06152>. Reference: `ConditionalDetrForObjectDetection` in transformers. The graph
//! differs from the reference in what changes no number: queries and their places are learned, so everything up to the
//! first look at the image is constant; projections that meet are one matrix.

mod folded;
mod layer;

use detect::{Activation, Detector, Head, ImageInput, Labels, Selection};
use graph::{Builder, Tensor, Value};

use super::detr::{self, Defaults, DetrConfig, EPSILON, NormPlace, RENAMES as DETR, Scene, encode};
use super::{Architecture, Source};
use crate::layers::{FixedRows, Layer, Sine, layer_norm, linear, mlp, sine_of, sine_rows};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error};

pub(super) use layer::{Memory, Places, Queries, first_layer, layer};

/// Detections that the reference's post-processing keeps.
const DETECTIONS: u32 = 100;
/// The inverse sigmoid of the smallest number that the reference lets through, 1e-5.
pub(super) const LARGEST_LOGIT: f32 = 11.512_925;
const CLASSIFIER: &str = "class_labels_classifier.weight";
const DEFAULTS: Defaults = Defaults { queries: 300, activation: "relu" };

/// A projection of the fourth generation's decoder, which stood beside its attention.
const fn moved(from: &'static str, to: &'static str) -> Rename {
    Rename { from, to, anchored: false }
}

static RENAMES: &[Rename] = &[
    DETR[0],
    DETR[1],
    DETR[2],
    DETR[3],
    DETR[4],
    DETR[5],
    DETR[6],
    moved("layers.#.sa_qcontent_proj", "layers.#.self_attn.q_content_proj"),
    moved("layers.#.sa_qpos_proj", "layers.#.self_attn.q_pos_proj"),
    moved("layers.#.sa_kcontent_proj", "layers.#.self_attn.k_content_proj"),
    moved("layers.#.sa_kpos_proj", "layers.#.self_attn.k_pos_proj"),
    moved("layers.#.sa_v_proj", "layers.#.self_attn.v_proj"),
    moved("layers.#.ca_qcontent_proj", "layers.#.encoder_attn.q_content_proj"),
    moved("layers.#.ca_qpos_proj", "layers.#.encoder_attn.q_pos_proj"),
    moved("layers.#.ca_kcontent_proj", "layers.#.encoder_attn.k_content_proj"),
    moved("layers.#.ca_kpos_proj", "layers.#.encoder_attn.k_pos_proj"),
    moved("layers.#.ca_v_proj", "layers.#.encoder_attn.v_proj"),
    moved("layers.#.ca_qpos_sine_proj", "layers.#.encoder_attn.q_pos_sine_proj"),
];

pub(super) struct ConditionalDetr;

impl Architecture for ConditionalDetr {
    fn model_type(&self) -> &'static str {
        "conditional_detr"
    }

    fn renames(&self) -> &'static [Rename] {
        RENAMES
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        DetrConfig::read(source.config, DEFAULTS)?;
        Ok(detector(self.model_type(), labels, input))
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        let config = DetrConfig::read(source.config, DEFAULTS)?;
        let (pixels, padding) = detr::image(b, detector);
        let columns = detr::columns(w, CLASSIFIER, detector.labels.len())?;
        let (x, centre) = w.scope(b, "model", |b, w| -> Result<_, Error> {
            let scene = Scene::find(b, w, &config, &padding, &pixels, Sine::new(config.width))?;
            let memory = encode(b, w, &config, NormPlace::After, &scene, |_, _, _| scene.position.clone());
            Ok(decode(b, w, &config, &scene, memory))
        })?;
        let logits = linear(b, w, "class_labels_classifier", &x, columns);
        let moves = mlp(b, w, "bbox_predictor", &x, &[config.width, config.width, 4]);
        let boxes = b.add(&moves, &centre);
        let boxes = b.sigmoid(&boxes);
        b.output("logits", &logits);
        b.output("pred_boxes", &boxes);
        detr::ignore_counters(w);
        ignore_later_places(w);
        ignore_idle_scales(w, &config);
        Ok(())
    }

    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize> {
        detr::rows(checkpoint, CLASSIFIER)
    }
}

/// The description of a detector whose head scores each class by itself.
pub(super) fn detector(architecture: &str, labels: Labels, input: ImageInput) -> Detector {
    let head = Head::queries(Activation::Sigmoid, Selection::TopK { count: DETECTIONS });
    Detector::new(architecture, labels, input, head)
}

/// Only the first layer adds its places to contents when it asks the image; older checkpoints hold the others' too.
pub(super) fn ignore_later_places(w: &Weights) {
    let first = "model.decoder.layers.0.";
    w.ignore(|name| name.contains(".encoder_attn.q_pos_proj.") && !name.starts_with(first));
}

/// Without layers, or behind the first, nothing is scaled.
pub(super) fn ignore_idle_scales(w: &Weights, config: &DetrConfig) {
    let (encoder, decoder) = (config.encoder.layers < 1, config.decoder.layers < 2);
    let idle = |name: &str, half| name.starts_with(half) && name.contains(".query_scale.");
    w.ignore(|name| (encoder && idle(name, "model.encoder.")) || (decoder && idle(name, "model.decoder.")));
}

/// The decoder's output `[batch, queries, width]`, and what is added to its boxes' logits: the queries' own places.
fn decode(b: &mut Builder, w: &Weights, config: &DetrConfig, scene: &Scene, memory: Value) -> (Value, Value) {
    let (count, width) = (config.queries, config.width);
    let stored = w.child("query_position_embeddings").tensor("weight", &[count, width]);
    w.scope(b, "decoder", |b, w| {
        let memory = Memory::new(b, w, scene, memory);
        let learned = Learned::of(w, config, stored);
        let centre = b.weight(&w.full("centre"), learned.centre_logits().tensor(&[1, count, 4]));
        let (places, sine, centre) = if w.exact() {
            learned_exactly(b, w, config, &learned.places)
        } else {
            let sine = b.weight(&w.full("sine"), learned.sine().tensor(&[1, count, width]));
            (Places::Fixed(learned.places.clone()), sine, centre)
        };
        let mut x = b.weight(&w.full("start"), zeros(count, width));
        for index in 0..config.decoder.layers {
            let sine = if index == 0 {
                sine.clone()
            } else {
                let change = mlp(b, w, "query_scale", &x, &[width, width]);
                b.mul(&sine, &change)
            };
            x = w.scope(b, &format!("layers.{index}"), |b, w| {
                if index == 0 && !w.exact() {
                    return first_layer(b, w, config, &memory, learned.places.clone(), learned.sine());
                }
                let queries = Queries { x: &x, places: &places, sine: &sine, adds_places: index == 0 };
                layer(b, w, config, &memory, &queries)
            });
            if config.normalizes_each_layer {
                x = layer_norm(b, w, "layernorm", &x, EPSILON);
            }
        }
        (layer_norm(b, w, "layernorm", &x, EPSILON), centre)
    })
}

/// Zeros `[1, count, width]`: what queries start from.
pub(super) fn zeros(count: usize, width: usize) -> Tensor {
    FixedRows::new(count, move || crate::layers::Rows::zeros(count, width)).tensor(&[1, count, width])
}

/// What the queries have learned.
struct Learned {
    places: FixedRows,
    /// From a place to the logits of its centre.
    centre: Vec<Layer>,
    width: usize,
}

impl Learned {
    fn of(w: &Weights, config: &DetrConfig, stored: Tensor) -> Self {
        let width = config.width;
        let centre = Layer::perceptron(w, "ref_point_head", width, &[width, 2]);
        Self { places: FixedRows::of(stored), centre, width }
    }

    /// Sines of the centres, the row before the column.
    fn sine(&self) -> FixedRows {
        let (places, centre, width) = (self.places.clone(), self.centre.clone(), self.width);
        FixedRows::new(self.places.count(), move || {
            let centres = places.rows().through_all(&centre).sigmoid();
            sine_rows(&centres.taken(&[1, 0]), width / 2)
        })
    }

    /// The logits of the centres as the reference gets them back, then two zeros.
    fn centre_logits(&self) -> FixedRows {
        let (places, centre) = (self.places.clone(), self.centre.clone());
        FixedRows::new(self.places.count(), move || {
            let most = f64::from(LARGEST_LOGIT);
            let logits = places.rows().through_all(&centre).map(|logit| logit.clamp(-most, most));
            logits.widened(4)
        })
    }
}

/// Places, sines of their centres and logits of those, operation by operation.
fn learned_exactly(
    b: &mut Builder,
    w: &Weights,
    config: &DetrConfig,
    places: &FixedRows,
) -> (Places, Value, Value) {
    let (count, width) = (config.queries, config.width);
    let places = b.weight(&w.full("query_position_embeddings"), places.tensor(&[1, count, width]));
    let logits = mlp(b, w, "ref_point_head", &places, &[width, 2]);
    let centre = b.sigmoid(&logits);
    let swapped = b.take(&centre, &[1, 0], 2);
    let sine = sine_of(b, &swapped, width / 2);
    let sine = b.flatten_from(&sine, 2);
    let logits = inverse_sigmoid(b, &centre);
    let rest = b.floats(&[1, count, 2], vec![0.0; 2 * count]);
    let logits = b.concat(&[&logits, &rest], 2);
    (Places::Computed(places), sine, logits)
}

/// `log(x / (1 - x))`, both at least 1e-5.
pub(super) fn inverse_sigmoid(b: &mut Builder, x: &Value) -> Value {
    let one = b.scalar(1.0);
    let least = b.scalar(1e-5);
    let rest = b.sub(&one, x);
    let part = b.maximum(x, &least);
    let rest = b.maximum(&rest, &least);
    let odds = b.div(&part, &rest);
    b.log(&odds)
}
