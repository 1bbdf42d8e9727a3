//! RF-DETR: a windowed `DINOv2`, a projector, and the query selection and decoder of LW-DETR.
//!
//! Paper: <https://arxiv.org/abs/2511.09554>. References: `RfDetrForObjectDetection` in transformers and the package
//! `rfdetr`, whose checkpoints ([`package`]) hold the same network under its own names. Both write the package's names to
//! disk.

mod config;
mod dinov2;
mod package;
mod projector;

use detect::{Detector, ImageInput, Labels};
use graph::Builder;

use super::lw_detr::decoder::{self, Memory};
use super::lw_detr::{classes_of, head, image, layer_of, rows};
use super::{Architecture, Source};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error};
use config::RfDetrConfig;

pub(super) use package::described;

/// From the names on disk to those of transformers, with LW-DETR's for the projector.
const RENAMES: &[Rename] = &[
    // A training program may put everything below `model`.
    anchored("model._orig_mod", "model"),
    anchored("model.class_embed", "class_embed"),
    anchored("model.bbox_embed", "bbox_embed"),
    anywhere("backbone.0.encoder.encoder", "backbone.backbone"),
    anywhere("backbone.0.projector", "backbone.projector"),
    anywhere("stages_sampling.#.#.0.conv", "scale_layers.#.sampling_layers.#.layers.0.conv"),
    anywhere("stages_sampling.#.#.0.bn", "scale_layers.#.sampling_layers.#.layers.0.norm"),
    anywhere("stages_sampling.#.#.0", "scale_layers.#.sampling_layers.#.layers.0"),
    anywhere("stages.#.0.m.#", "scale_layers.#.projector_layer.bottlenecks.#"),
    anywhere("stages.#.0", "scale_layers.#.projector_layer"),
    anywhere("stages.#.1", "scale_layers.#.layer_norm"),
    anywhere("cv1.conv", "conv1.conv"),
    anywhere("cv1.bn", "conv1.norm"),
    anywhere("cv2.conv", "conv2.conv"),
    anywhere("cv2.bn", "conv2.norm"),
    anywhere("projector.projector_layer", "projector.scale_layers.0.projector_layer"),
    anywhere("projector.layer_norm", "projector.scale_layers.0.layer_norm"),
    anywhere("attention.attention.query", "attention.q_proj"),
    anywhere("attention.attention.key", "attention.k_proj"),
    anywhere("attention.attention.value", "attention.v_proj"),
    anywhere("attention.output.dense", "attention.o_proj"),
    anywhere("transformer.decoder", "decoder"),
    anywhere("transformer.enc_output", "enc_output"),
    anywhere("transformer.enc_output_norm", "enc_output_norm"),
    anywhere("transformer.enc_out_class_embed", "enc_out_class_embed"),
    anywhere("transformer.enc_out_bbox_embed", "enc_out_bbox_embed"),
    anywhere("transformer.register_tokens", "register_tokens"),
    anywhere("transformer.register_ref_points", "register_ref_points"),
    anywhere("refpoint_embed", "reference_point_embed"),
    anywhere("decoder.layers.#.norm1", "decoder.layers.#.self_attn_layer_norm"),
    anywhere("decoder.layers.#.norm2", "decoder.layers.#.cross_attn_layer_norm"),
    anywhere("decoder.layers.#.norm3", "decoder.layers.#.layer_norm"),
    anywhere("decoder.layers.#.linear1", "decoder.layers.#.mlp.fc1"),
    anywhere("decoder.layers.#.linear2", "decoder.layers.#.mlp.fc2"),
    anywhere("decoder.norm", "decoder.layernorm"),
    anywhere("self_attn.out_proj", "self_attn.o_proj"),
    anchored("backbone", "model.backbone"),
    anchored("decoder", "model.decoder"),
    anchored("enc_output", "model.enc_output"),
    anchored("enc_output_norm", "model.enc_output_norm"),
    anchored("enc_out_class_embed", "model.enc_out_class_embed"),
    anchored("enc_out_bbox_embed", "model.enc_out_bbox_embed"),
    anchored("register_tokens", "model.register_tokens"),
    anchored("register_ref_points", "model.register_ref_points"),
    anchored("reference_point_embed", "model.reference_point_embed"),
    anchored("query_feat", "model.query_feat"),
];

const fn anchored(from: &'static str, to: &'static str) -> Rename {
    Rename { from, to, anchored: true }
}

const fn anywhere(from: &'static str, to: &'static str) -> Rename {
    Rename { from, to, anchored: false }
}

const BACKBONE: &str = "model.backbone.backbone";

pub(super) struct RfDetr;

impl Architecture for RfDetr {
    fn model_type(&self) -> &'static str {
        "rf_detr"
    }

    fn renames(&self) -> &'static [Rename] {
        RENAMES
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        let config = RfDetrConfig::read(source.config)?;
        Ok(Detector::new(self.model_type(), labels, input, head(config.detections)))
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        let config = RfDetrConfig::read(source.config)?;
        let (pixels, padding) = image(b, detector);
        let maps = w.scope(b, BACKBONE, |b, w| config.backbone.build(b, w, &pixels))?;
        let pyramid = w.scope(b, "model.backbone.projector", |b, w| config.projector.build(b, w, &maps));
        let memory = Memory::new(b, &padding, &pyramid);
        let classes = classes_of(w, detector)?;
        decoder::build(b, w, &config.decoder, &memory, classes, source.options.deformable)?;
        let used = config.backbone.used_layers();
        let layers = format!("{BACKBONE}.encoder.layer.");
        w.ignore(|name| {
            decoder::is_of_another_group(name)
                || layer_of(name, &layers).is_some_and(|layer| layer >= used)
                || config.is_unused(name)
        });
        Ok(())
    }

    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize> {
        rows(checkpoint)
    }
}
