//! D-FINE: RT-DETR whose decoder refines a distribution for each edge of a box instead of four numbers.
//!
//! Paper: <https://arxiv.org/abs/2410.13842>. Reference: `DFineForObjectDetection` in transformers. The graph differs from
//! the reference in what changes no number: the box head runs on the selected queries only, the memory that all decoder
//! layers share is laid out once, and the layers behind the one that counts are left out.

pub(super) mod config;
pub(super) mod decoder;
mod distribution;
pub(super) mod encoder;
pub(super) mod layer;
mod quality;

use detect::{Detector, ImageInput, Labels};
use graph::{Builder, DataType, Dim, Value};

use super::{Architecture, Source, rt_detr};
use crate::config::Limits;
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error};
use config::{ConvBackbone, DFineConfig, conv_backbone};
use decoder::Decoder;
use layer::Kind;
use rt_detr::encoder::{project, within_maps};

/// From the names of all generations of the library to those of its fifth.
static RENAMES: &[Rename] = &[
    Rename { from: "class_embed", to: "model.decoder.class_embed", anchored: true },
    Rename { from: "bbox_embed", to: "model.decoder.bbox_embed", anchored: true },
    Rename { from: "out_proj", to: "o_proj", anchored: false },
    Rename { from: "layers.#.fc1", to: "layers.#.mlp.layers.0", anchored: false },
    Rename { from: "layers.#.fc2", to: "layers.#.mlp.layers.1", anchored: false },
    Rename { from: "encoder.encoder.#.layers", to: "encoder.aifi.#.layers", anchored: false },
];

pub(super) struct DFine;

impl Architecture for DFine {
    fn model_type(&self) -> &'static str {
        "d_fine"
    }

    fn renames(&self) -> &'static [Rename] {
        RENAMES
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        rt_detr::detector(self.model_type(), source.config, labels, input)
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        let config = DFineConfig::read(source.config)?;
        let backbone = conv_backbone(source.config)?;
        let frame = Frame::read(w, detector)?;
        let pixels = frame.input(b, detector);
        let (logits, boxes) = w.scope(b, "model", |b, w| -> Result<_, Error> {
            let maps = w.scope(b, "backbone.model", |b, w| backbone.build(b, w, &pixels));
            let maps = project(b, w, &config.base, &maps)?;
            let pyramid = w.scope(b, "encoder", |b, w| {
                let maps = within_maps(b, w, &config.base, maps);
                let join = |b: &mut Builder, x: &Value, y: &Value| b.concat(&[x, y], 1);
                encoder::build(b, w, &config, &maps, join, |b, w, x| encoder::collect(b, w, &config, x))
            });
            frame.decoder(source, &config, Kind::DFine).build(b, w, &pyramid)
        })?;
        b.output("logits", &logits);
        b.output("pred_boxes", &boxes);
        ignore_training(w, &config);
        Ok(())
    }

    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize> {
        rt_detr::classes(checkpoint)
    }
}

impl ConvBackbone {
    /// The feature maps that feed the neck, the finest first.
    pub(super) fn build(&self, b: &mut Builder, w: &Weights, pixels: &Value) -> Vec<Value> {
        match self {
            Self::HgNet(network) => network.build(b, w, pixels),
            Self::ResNet(network) => network.build(b, w, pixels),
        }
    }
}

/// What the graph takes in and how many classes come out.
pub(super) struct Frame {
    /// Height and width.
    pub(super) image: (usize, usize),
    pub(super) classes: usize,
}

impl Frame {
    pub(super) fn read(w: &Weights, detector: &Detector) -> Result<Self, Error> {
        let classes = w.shape("model.enc_score_head.weight").and_then(|shape| shape.first().copied());
        let classes = classes.unwrap_or(detector.labels.len());
        Limits::of("").within("id2label", classes, 1, rt_detr::LARGEST_HEAD)?;
        let input = &detector.input;
        Ok(Self { image: (input.height as usize, input.width as usize), classes })
    }

    pub(super) fn input(&self, b: &mut Builder, detector: &Detector) -> Value {
        let shape = vec![Dim::batch(), 3.into(), self.image.0.into(), self.image.1.into()];
        b.input(&detector.input.tensor, DataType::F32, shape)
    }

    pub(super) fn decoder<'a>(&self, source: Source<'_>, config: &'a DFineConfig, kind: Kind) -> Decoder<'a> {
        let form = source.options.deformable;
        Decoder { config, kind, form, classes: self.classes, image: self.image }
    }
}

/// Names the tensors that only training needs: denoising queries, the layers behind the one that counts, and the heads
/// of the others.
pub(super) fn ignore_training(w: &Weights, config: &DFineConfig) {
    let counts = config.eval_idx;
    w.ignore(|name| {
        let layer_of = |list: &str| {
            let number = name.strip_prefix("model.decoder.")?.strip_prefix(list)?.split('.').next()?;
            number.parse::<usize>().ok()
        };
        name.ends_with(".num_batches_tracked")
            || name == "model.denoising_class_embed.weight"
            || ["layers.", "bbox_embed."].iter().any(|list| layer_of(list).is_some_and(|at| at > counts))
            || ["class_embed.", "lqe_layers."]
                .iter()
                .any(|list| layer_of(list).is_some_and(|at| at != counts))
    });
}
