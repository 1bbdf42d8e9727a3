//! RT-DETR: a ResNet-D backbone, a hybrid encoder, query selection, a decoder with deformable attention.
//!
//! Paper: <https://arxiv.org/abs/2304.08069>. Reference: `RTDetrForObjectDetection` in transformers. The graph differs
//! from the reference in what changes no number: the box head runs on the selected queries only, and boxes are carried
//! from layer to layer as logits (the inverse sigmoid of a sigmoid is a clip).

pub(super) mod anchors;
pub(super) mod config;
pub(super) mod decoder;
pub(super) mod encoder;

use detect::{Activation, Background, Detector, Head, ImageInput, Labels, Selection};
use graph::{Builder, DataType, Dim};

use super::{Architecture, Source};
use crate::config::{Config, Limits};
use crate::layers::Backbone;
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error};

use config::{Generation, RtDetrConfig};
use decoder::Decoder;

/// From the names of all generations of the library to those of its fifth.
pub(super) static RENAMES: &[Rename] = &[
    Backbone::RENAMES[1],
    Rename { from: "class_embed", to: "model.decoder.class_embed", anchored: true },
    Rename { from: "bbox_embed", to: "model.decoder.bbox_embed", anchored: true },
    Rename { from: "out_proj", to: "o_proj", anchored: false },
    Rename { from: "layers.#.fc1", to: "layers.#.mlp.fc1", anchored: false },
    Rename { from: "layers.#.fc2", to: "layers.#.mlp.fc2", anchored: false },
    Rename { from: "encoder.encoder.#.layers", to: "encoder.aifi.#.layers", anchored: false },
];

/// Most classes of a head: as many ids as labels may have.
pub(super) const LARGEST_HEAD: usize = 65_536;

pub(super) struct RtDetr;

impl Architecture for RtDetr {
    fn model_type(&self) -> &'static str {
        "rt_detr"
    }

    fn renames(&self) -> &'static [Rename] {
        RENAMES
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        detector(self.model_type(), source.config, labels, input)
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        build(Generation::First, source, detector, w, b)
    }

    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize> {
        classes(checkpoint)
    }
}

/// The rows of the score head.
pub(super) fn classes(checkpoint: &Checkpoint) -> Option<usize> {
    let mut tensors = checkpoint.tensors();
    tensors
        .find(|(name, _)| *name == "model.enc_score_head.weight")
        .and_then(|(_, stored)| stored.shape.first().copied())
}

pub(super) fn detector(
    architecture: &str,
    config: &Config,
    labels: Labels,
    input: ImageInput,
) -> Result<Detector, Error> {
    let parsed = RtDetrConfig::read(config)?;
    let (activation, selection) = if parsed.use_focal_loss {
        (Activation::Sigmoid, Selection::TopK { count: parsed.num_queries as u32 })
    } else {
        (Activation::Softmax { background: Background::Last }, Selection::PerQuery)
    };
    let head = Head::queries(activation, selection);
    Ok(Detector::new(architecture, labels, input, head))
}

pub(super) fn build(
    generation: Generation,
    source: Source<'_>,
    detector: &Detector,
    w: &Weights,
    b: &mut Builder,
) -> Result<(), Error> {
    let config = RtDetrConfig::read(source.config)?;
    let backbone = config::backbone(source.config.raw())?;
    let input = &detector.input;
    let (height, width) = (input.height as usize, input.width as usize);
    let shape = vec![Dim::batch(), 3.into(), height.into(), width.into()];
    let pixels = b.input(&input.tensor, DataType::F32, shape);
    let classes = w.shape("model.enc_score_head.weight").and_then(|shape| shape.first().copied());
    let classes = classes.unwrap_or(detector.labels.len());
    Limits::of("").within("id2label", classes, 1, LARGEST_HEAD)?;

    let (logits, boxes) = w.scope(b, "model", |b, w| -> Result<_, Error> {
        let maps = backbone.build(b, w, &pixels);
        let pyramid = encoder::build(b, w, &config, &maps)?;
        let (image, form) = ((height, width), source.options.deformable);
        let decoder = Decoder::new(b, w, &config, generation, &pyramid, image, form)?;
        decoder::build(b, w, &decoder, classes)
    })?;
    b.output("logits", &logits);
    b.output("pred_boxes", &boxes);

    ignore_training(w, &config);
    Ok(())
}

/// Names the tensors that only training needs: the denoising queries and the class scores of all layers but the last.
pub(super) fn ignore_training(w: &Weights, config: &RtDetrConfig) {
    let last = format!("model.decoder.class_embed.{}.", config.decoder_layers - 1);
    w.ignore(|name| {
        name.ends_with(".num_batches_tracked")
            || name == "model.denoising_class_embed.weight"
            || (name.starts_with("model.decoder.class_embed.") && !name.starts_with(&last))
    });
}
