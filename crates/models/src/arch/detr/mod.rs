//! DETR: a `ResNet`, a transformer over its last map, learned queries, one class or none for each of them.
//!
//! Paper: <https://arxiv.org/abs/2005.12872>. Reference: `DetrForObjectDetection` in transformers. The graph differs from
//! the reference in what changes no number: what the decoder does before its first look at the image is a constant.

mod config;
mod decoder;
mod encoder;

use detect::{Activation, Background, Detector, Head, ImageInput, Labels, Selection};
use graph::{Builder, DataType, Dim, Value};

use super::{Architecture, Source};
use crate::config::Limits;
use crate::layers::{Backbone, Padding, Sine, layer_norm, linear, mlp};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error};

pub(super) use config::{Defaults, DetrConfig, refuse};
pub(super) use encoder::{Scene, encode, fed};

/// ε of the layer normalizations, the default of PyTorch.
pub(super) const EPSILON: f32 = 1e-5;
/// Most classes of a head: as many ids as labels may have.
const LARGEST_HEAD: usize = 65_536;
/// The classifier of most families.
const CLASSIFIER: &str = "class_labels_classifier.weight";

/// From the names of all generations of the library to those of its fifth.
pub(super) static RENAMES: &[Rename] = &[
    Backbone::RENAMES[0],
    Backbone::RENAMES[1],
    Rename { from: "backbone.position_embedding", to: "position_embedding", anchored: false },
    Rename { from: "out_proj", to: "o_proj", anchored: false },
    Rename { from: "layers.#.fc1", to: "layers.#.mlp.fc1", anchored: false },
    Rename { from: "layers.#.fc2", to: "layers.#.mlp.fc2", anchored: false },
    Rename { from: "layers.#.activation_fn", to: "layers.#.mlp.activation_fn", anchored: false },
];

/// Where the layers normalize.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NormPlace {
    /// The sums, as DETR.
    After,
    /// What goes into a block, as Table Transformer.
    Before,
}

const DEFAULTS: Defaults = Defaults { queries: 100, activation: "relu" };

pub(super) struct Detr;

impl Architecture for Detr {
    fn model_type(&self) -> &'static str {
        "detr"
    }

    fn renames(&self) -> &'static [Rename] {
        RENAMES
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        detector(self.model_type(), source, labels, input)
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        build(NormPlace::After, source, detector, w, b)
    }

    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize> {
        rows(checkpoint, CLASSIFIER)?.checked_sub(1)
    }
}

/// The rows of a tensor of the checkpoint.
pub(super) fn rows(checkpoint: &Checkpoint, wanted: &str) -> Option<usize> {
    let mut tensors = checkpoint.tensors();
    tensors.find(|(name, _)| *name == wanted).and_then(|(_, stored)| stored.shape.first().copied())
}

/// The description of a detector whose head has a column for "no object".
pub(super) fn detector(
    architecture: &str,
    source: Source<'_>,
    labels: Labels,
    input: ImageInput,
) -> Result<Detector, Error> {
    DetrConfig::read(source.config, DEFAULTS)?;
    let head = Head::queries(Activation::Softmax { background: Background::Last }, Selection::PerQuery);
    Ok(Detector::new(architecture, labels, input, head))
}

/// The graph of DETR and Table Transformer.
pub(super) fn build(
    place: NormPlace,
    source: Source<'_>,
    detector: &Detector,
    w: &Weights,
    b: &mut Builder,
) -> Result<(), Error> {
    let config = DetrConfig::read(source.config, DEFAULTS)?;
    let (pixels, padding) = image(b, detector);
    let columns = columns(w, CLASSIFIER, detector.labels.len() + 1)?;
    let x = w.scope(b, "model", |b, w| -> Result<_, Error> {
        let scene = Scene::find(b, w, &config, &padding, &pixels, Sine::new(config.width))?;
        let memory = encode(b, w, &config, place, &scene, |_, _, _| scene.position.clone());
        let memory = match place {
            NormPlace::After => memory,
            NormPlace::Before => layer_norm(b, &w.child("encoder"), "layernorm", &memory, EPSILON),
        };
        Ok(decoder::decode(b, w, &config, place, &scene, &memory))
    })?;
    let logits = linear(b, w, "class_labels_classifier", &x, columns);
    let boxes = mlp(b, w, "bbox_predictor", &x, &[config.width, config.width, 4]);
    let boxes = b.sigmoid(&boxes);
    b.output("logits", &logits);
    b.output("pred_boxes", &boxes);
    ignore_counters(w);
    Ok(())
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

/// The columns of a head: what its tensor has, else what the labels ask for.
pub(super) fn columns(w: &Weights, tensor: &str, named: usize) -> Result<usize, Error> {
    let columns = w.shape(tensor).and_then(|shape| shape.first().copied()).unwrap_or(named);
    Limits::of("").within("id2label", columns, 1, LARGEST_HEAD)?;
    Ok(columns)
}

/// Only training counts batches.
pub(super) fn ignore_counters(w: &Weights) {
    w.ignore(|name| name.ends_with(".num_batches_tracked"));
}
