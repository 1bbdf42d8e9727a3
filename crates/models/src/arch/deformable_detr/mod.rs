//! Deformable DETR: DETR whose attention to the image reads a few points on each level of a pyramid; with boxes that
//! each layer moves, and with queries chosen among the encoder's cells.
//!
//! Paper: <https://arxiv.org/abs/2010.04159>. Reference: `DeformableDetrForObjectDetection` in transformers. The graph
//! differs from the reference in what changes no number: boxes are carried from layer to layer as logits, heads run
//! where they are used, and what learned queries do before their first look at the image is a constant.

mod config;
mod decoder;
mod encoder;
mod queries;

use detect::{Activation, Detector, Head, ImageInput, Labels, Selection};
use graph::Builder;

use super::{Architecture, Source, detr};
use crate::layers::{Backbone, Deformable, Positions, PyramidSpec, Sine, pyramid};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error};
use config::{DeformableDetrConfig, Half};

/// ε of the layer normalizations, the default of PyTorch.
const EPSILON: f32 = 1e-5;
/// What offsets are multiplied by, in sizes of a box and points.
const OFFSET_FACTOR: f32 = 0.5;
/// Detections that the processor keeps of an image.
const DETECTIONS: u32 = 100;
/// The classifier that every layer has.
const CLASSIFIER: &str = "model.decoder.class_embed.0.weight";

/// From the names of all generations of the library to those of its fifth.
static RENAMES: &[Rename] = &[
    Backbone::RENAMES[0],
    Backbone::RENAMES[1],
    Rename { from: "backbone.position_embedding", to: "position_embedding", anchored: false },
    Rename { from: "class_embed", to: "model.decoder.class_embed", anchored: true },
    Rename { from: "bbox_embed", to: "model.decoder.bbox_embed", anchored: true },
    Rename { from: "self_attn.out_proj", to: "self_attn.o_proj", anchored: false },
    Rename { from: "layers.#.fc1", to: "layers.#.mlp.fc1", anchored: false },
    Rename { from: "layers.#.fc2", to: "layers.#.mlp.fc2", anchored: false },
    Rename { from: "layers.#.activation_fn", to: "layers.#.mlp.activation_fn", anchored: false },
];

pub(super) struct DeformableDetr;

impl Architecture for DeformableDetr {
    fn model_type(&self) -> &'static str {
        "deformable_detr"
    }

    fn renames(&self) -> &'static [Rename] {
        RENAMES
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        DeformableDetrConfig::read(source.config)?;
        let head = Head::queries(Activation::Sigmoid, Selection::TopK { count: DETECTIONS });
        Ok(Detector::new(self.model_type(), labels, input, head))
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        let config = DeformableDetrConfig::read(source.config)?;
        let (pixels, padding) = detr::image(b, detector);
        let classes = detr::columns(w, CLASSIFIER, detector.labels.len())?;
        let (logits, boxes) = w.scope(b, "model", |b, w| -> Result<_, Error> {
            let maps = config.backbone.build(b, w, &pixels);
            let sine = Sine { offset: -0.5, ..Sine::new(config.width) };
            let spec = PyramidSpec {
                levels: config.levels,
                width: config.width,
                projections: "input_proj",
                positions: if config.learned_positions {
                    Positions::Learned("position_embedding")
                } else {
                    Positions::Sine(sine)
                },
            };
            let pyramid = pyramid(b, w, &maps, spec, &padding)?;
            let sizes = pyramid.sizes();
            let form = source.options.deformable;
            let around =
                |half: Half| Deformable::uniform(half.heads, half.points, OFFSET_FACTOR, &sizes, form);
            let cells = encoder::build(b, w, &config, &pyramid, &around(config.encoder));
            let queries = if config.two_stage {
                queries::selected(b, w, &config, &pyramid, &cells, classes)?
            } else {
                queries::learned(b, w, &config)
            };
            let spec = &around(config.decoder);
            let memory = decoder::Memory { cells: &cells, pyramid: &pyramid, spec };
            Ok(w.scope(b, "decoder", |b, w| decoder::decode(b, w, &config, &memory, &queries, classes)))
        })?;
        b.output("logits", &logits);
        b.output("pred_boxes", &boxes);
        ignore(w, &config);
        Ok(())
    }

    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize> {
        let names = ["class_embed", "model.decoder.class_embed"];
        names.iter().find_map(|list| detr::rows(checkpoint, &format!("{list}.0.weight")))
    }
}

/// Class scores of all layers but the last, and box heads that nothing asks, are for training.
fn ignore(w: &Weights, config: &DeformableDetrConfig) {
    detr::ignore_counters(w);
    let last = format!(".{}.", config.decoder.layers - 1);
    w.ignore(|name| {
        let of = |list: &str| {
            name.strip_prefix("model.decoder.").and_then(|name| name.strip_prefix(list)).map(str::to_owned)
        };
        of("class_embed").is_some_and(|rest| !rest.starts_with(&last))
            || (!config.refines && of("bbox_embed").is_some_and(|rest| !rest.starts_with(&last)))
    });
}
