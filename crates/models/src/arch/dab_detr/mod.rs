//! DAB-DETR: queries are boxes that each layer moves, and their sizes shape where the image is asked.
//!
//! Paper: <https://arxiv.org/abs/2201.12329>. Reference: `DabDetrForObjectDetection` in transformers. The graph differs
//! from the reference in what changes no number: boxes are carried from layer to layer as logits, queries that start
//! from zeros are constant up to their first look at the image, projections that meet are one matrix.

mod config;
mod decoder;

use detect::{Detector, ImageInput, Labels};
use graph::Builder;

use super::conditional_detr;
use super::detr::{self, EPSILON, NormPlace, RENAMES as DETR, Scene, encode};
use super::{Architecture, Source};
use crate::layers::{layer_norm, linear, mlp};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error};
use config::DabDetrConfig;

const CLASSIFIER: &str = "class_embed.weight";

/// To the names that Conditional DETR has for the same modules.
const fn moved(from: &'static str, to: &'static str) -> Rename {
    Rename { from, to, anchored: false }
}

static RENAMES: &[Rename] = &[
    DETR[0],
    DETR[1],
    DETR[3],
    DETR[4],
    DETR[5],
    DETR[6],
    moved("layers.#.self_attn.self_attn_query_content_proj", "layers.#.self_attn.q_content_proj"),
    moved("layers.#.self_attn.self_attn_query_pos_proj", "layers.#.self_attn.q_pos_proj"),
    moved("layers.#.self_attn.self_attn_key_content_proj", "layers.#.self_attn.k_content_proj"),
    moved("layers.#.self_attn.self_attn_key_pos_proj", "layers.#.self_attn.k_pos_proj"),
    moved("layers.#.self_attn.self_attn_value_proj", "layers.#.self_attn.v_proj"),
    moved("layers.#.self_attn.self_attn.output_proj", "layers.#.self_attn.o_proj"),
    moved("layers.#.self_attn.self_attn_layer_norm", "layers.#.self_attn_layer_norm"),
    moved("layers.#.cross_attn.cross_attn_query_content_proj", "layers.#.encoder_attn.q_content_proj"),
    moved("layers.#.cross_attn.cross_attn_query_pos_proj", "layers.#.encoder_attn.q_pos_proj"),
    moved("layers.#.cross_attn.cross_attn_key_content_proj", "layers.#.encoder_attn.k_content_proj"),
    moved("layers.#.cross_attn.cross_attn_key_pos_proj", "layers.#.encoder_attn.k_pos_proj"),
    moved("layers.#.cross_attn.cross_attn_value_proj", "layers.#.encoder_attn.v_proj"),
    moved("layers.#.cross_attn.cross_attn_query_pos_sine_proj", "layers.#.encoder_attn.q_pos_sine_proj"),
    moved("layers.#.cross_attn.cross_attn.output_proj", "layers.#.encoder_attn.o_proj"),
    moved("layers.#.cross_attn.cross_attn_layer_norm", "layers.#.encoder_attn_layer_norm"),
    moved("layers.#.mlp.final_layer_norm", "layers.#.final_layer_norm"),
];

pub(super) struct DabDetr;

impl Architecture for DabDetr {
    fn model_type(&self) -> &'static str {
        "dab_detr"
    }

    fn renames(&self) -> &'static [Rename] {
        RENAMES
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        DabDetrConfig::read(source.config)?;
        Ok(conditional_detr::detector(self.model_type(), labels, input))
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        let config = DabDetrConfig::read(source.config)?;
        let (pixels, padding) = detr::image(b, detector);
        let columns = detr::columns(w, CLASSIFIER, detector.labels.len())?;
        // One set of tensors moves the boxes in all layers; a checkpoint may hold it under both of its names.
        let own = w.shape("model.decoder.bbox_embed.layers.0.weight").is_some();
        let predictor = if own { "model.decoder.bbox_embed" } else { "bbox_predictor" };
        let moving = w.child(predictor);

        let shared = &config.shared;
        let width = shared.width;
        let (x, boxes) = w.scope(b, "model", |b, w| -> Result<_, Error> {
            let scene = Scene::find(b, w, shared, &padding, &pixels, config.sine)?;
            let memory = encode(b, w, shared, NormPlace::After, &scene, |b, w, x| {
                let factor = mlp(b, w, "query_scale", x, &[width, width]);
                b.mul(&scene.position, &factor)
            });
            let memory = if config.normalizes_memory {
                layer_norm(b, &w.child("encoder"), "norm", &memory, EPSILON)
            } else {
                memory
            };
            Ok(decoder::decode(b, w, &config, &scene, memory, &moving))
        })?;
        let logits = linear(b, w, "class_embed", &x, columns);
        let moves = mlp(b, w, "bbox_predictor", &x, &[width, width, 4]);
        let boxes = b.add(&moves, &boxes);
        let boxes = b.sigmoid(&boxes);
        b.output("logits", &logits);
        b.output("pred_boxes", &boxes);
        detr::ignore_counters(w);
        if !config.keeps_places {
            conditional_detr::ignore_later_places(w);
        }
        conditional_detr::ignore_idle_scales(w, shared);
        Ok(())
    }

    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize> {
        detr::rows(checkpoint, CLASSIFIER)
    }
}
