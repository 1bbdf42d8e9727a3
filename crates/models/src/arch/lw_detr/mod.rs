//! LW-DETR: a vision transformer with windows, a projector, query selection, a light decoder with deformable attention.
//!
//! Paper: <https://arxiv.org/abs/2406.03459>. Reference: `LwDetrForObjectDetection` in transformers. The graph differs from
//! the reference in what changes no number: of the groups of queries only the first exists, as at the reference's own
//! inference; the box head of the selection runs on the selected cells only; stages that feed nothing are left out.

pub(super) mod config;
pub(super) mod decoder;
pub(super) mod projector;
pub(super) mod vit;

use detect::{Activation, Detector, Head, ImageInput, Labels, Selection};
use graph::{Builder, DataType, Dim, Value};

use super::{Architecture, Source};
use crate::config::Limits;
use crate::layers::{Level, Padding};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error};
use config::LwDetrConfig;
use decoder::Memory;

/// Most classes of a head: as many ids as labels may have.
const LARGEST_HEAD: usize = 65_536;
/// The class head.
pub(super) const CLASSIFIER: &str = "class_embed.weight";
/// How many detections the reference's post-processing keeps.
const DETECTIONS: u32 = 100;

const RENAMES: &[Rename] = &[
    Rename { from: "attention.attention.query", to: "attention.q_proj", anchored: false },
    Rename { from: "attention.attention.key", to: "attention.k_proj", anchored: false },
    Rename { from: "attention.attention.value", to: "attention.v_proj", anchored: false },
    Rename { from: "attention.output", to: "attention.o_proj", anchored: false },
];

pub(super) struct LwDetr;

impl Architecture for LwDetr {
    fn model_type(&self) -> &'static str {
        "lw_detr"
    }

    fn renames(&self) -> &'static [Rename] {
        RENAMES
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        LwDetrConfig::read(source.config)?;
        Ok(Detector::new(self.model_type(), labels, input, head(DETECTIONS)))
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        let config = LwDetrConfig::read(source.config)?;
        let (pixels, padding) = image(b, detector);
        let maps = w.scope(b, "model.backbone.backbone", |b, w| config.backbone.build(b, w, &pixels))?;
        let pyramid = w.scope(b, "model.backbone.projector", |b, w| config.projector.build(b, w, &maps));
        let memory = Memory::new(b, &padding, &pyramid);
        let classes = classes_of(w, detector)?;
        decoder::build(b, w, &config.decoder, &memory, classes, source.options.deformable)?;
        let used = config.backbone.used_layers();
        w.ignore(|name| {
            name.ends_with(".num_batches_tracked")
                || decoder::is_of_another_group(name)
                || layer_of(name, "model.backbone.backbone.encoder.layer.").is_some_and(|layer| layer >= used)
        });
        Ok(())
    }

    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize> {
        rows(checkpoint)
    }
}

/// The head of detectors whose classes do not exclude each other.
pub(super) fn head(count: u32) -> Head {
    Head::queries(Activation::Sigmoid, Selection::TopK { count })
}

/// The rows of the class head of a checkpoint.
pub(super) fn rows(checkpoint: &Checkpoint) -> Option<usize> {
    let mut tensors = checkpoint.tensors();
    let is_head = |name: &str| {
        let name = name.strip_prefix("model.").unwrap_or(name);
        name.strip_prefix("_orig_mod.").unwrap_or(name) == CLASSIFIER
    };
    tensors.find(|(name, _)| is_head(name)).and_then(|(_, stored)| stored.shape.first().copied())
}

/// The classes that the head has room for.
pub(super) fn classes_of(w: &Weights, detector: &Detector) -> Result<usize, Error> {
    let classes = w.shape(CLASSIFIER).and_then(|shape| shape.first().copied());
    let classes = classes.unwrap_or(detector.labels.len());
    Limits::of("").within("id2label", classes, 1, LARGEST_HEAD)?;
    Ok(classes)
}

/// The image input, and how far an image reaches into it.
pub(super) fn image(b: &mut Builder, detector: &Detector) -> (Value, Padding) {
    let input = &detector.input;
    let (height, width) = (input.height as usize, input.width as usize);
    let shape = vec![Dim::batch(), 3.into(), height.into(), width.into()];
    let pixels = b.input(&input.tensor, DataType::F32, shape);
    let padding = Padding::find(b, input, &pixels);
    (pixels, padding)
}

/// The number behind `prefix` in a tensor's name.
pub(super) fn layer_of(name: &str, prefix: &str) -> Option<usize> {
    name.strip_prefix(prefix)?.split('.').next()?.parse().ok()
}

/// One level of what the decoder reads: tokens `[batch, height × width, width]`.
#[derive(Debug, Clone)]
pub(super) struct Tokens {
    pub(super) value: Value,
    pub(super) size: [usize; 2],
}

impl Memory {
    /// The levels of a pyramid, and which of their cells are image.
    pub(super) fn new(b: &mut Builder, padding: &Padding, pyramid: &[Tokens]) -> Self {
        let cells: Vec<&Value> = pyramid.iter().map(|tokens| &tokens.value).collect();
        let levels: Vec<Level> = pyramid.iter().map(|tokens| padding.level(b, tokens.size)).collect();
        Self { cells: b.concat(&cells, 1), levels }
    }
}
