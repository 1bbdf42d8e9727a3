//! YOLOS: a plain vision transformer whose last tokens are the detections.
//!
//! Paper: <https://arxiv.org/abs/2106.00666>. Reference: `YolosForObjectDetection` in transformers. The graph differs from
//! the reference in what changes no number: the tokens that are the same for every image stand before those of the image,
//! and only detection tokens are normalized at the end.
//!
//! **Padding.** The network has no mask: padding would be attended to like any part of the image, and the position table
//! would be spread over it. The authors' models were trained on single images and lose most of their accuracy on padded
//! ones (42.0 to 13.8 mAP, <https://github.com/hustvl/YOLOS/issues/10>). A graph of a fixed size therefore wants images
//! that are stretched to it, and where a processor names a shortest edge the size is shortest × longest, the shape of the
//! position table, instead of a square. Where the caller insists on padding, boxes come out as the reference gives them.

mod config;
mod tokens;

use detect::{Activation, Background, Detector, Head, ImageInput, Labels, Resize, Selection};
use graph::{Builder, DataType, Dim};

use super::{Architecture, Source};
use crate::config::Limits;
use crate::layers::mlp;
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error};
use config::YolosConfig;

/// The last layer of the class head: a row for each class and one for "no object".
const CLASSIFIER: &str = "class_labels_classifier.layers.2.weight";

const RENAMES: &[Rename] = &[Rename {
    from: "encoder.mid_position_embeddings",
    to: "encoder.interpolation.mid_position_embeddings",
    anchored: false,
}];

pub(super) struct Yolos;

impl Architecture for Yolos {
    fn model_type(&self) -> &'static str {
        "yolos"
    }

    fn renames(&self) -> &'static [Rename] {
        RENAMES
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        YolosConfig::read(source.config)?;
        let options = source.options;
        let input = if options.resize.is_none() { stretched(input, options.size.is_none()) } else { input };
        let head = Head::queries(Activation::Softmax { background: Background::Last }, Selection::PerQuery);
        Ok(Detector::new(self.model_type(), labels, input, head))
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        let config = YolosConfig::read(source.config)?;
        let rows = w.shape(CLASSIFIER).and_then(|shape| shape.first().copied());
        let rows = rows.unwrap_or(detector.labels.len() + 1);
        Limits::of("").within("id2label", rows, 2, 65_537)?;
        let input = &detector.input;
        let (height, width) = (input.height as usize, input.width as usize);
        let grid = config.grid(height, width)?;
        let shape = vec![Dim::batch(), 3.into(), height.into(), width.into()];
        let pixels = b.input(&input.tensor, DataType::F32, shape);

        let x = w.scope(b, "vit", |b, w| tokens::detections(b, w, &config, &pixels, grid));
        let size = config.hidden_size;
        let logits = mlp(b, w, "class_labels_classifier", &x, &[size, size, rows]);
        let boxes = mlp(b, w, "bbox_predictor", &x, &[size, size, 4]);
        let boxes = b.sigmoid(&boxes);
        b.output("logits", &logits);
        b.output("pred_boxes", &boxes);
        let mid = config.use_mid_position_embeddings;
        w.ignore(|name| {
            name.starts_with("vit.pooler.") || (!mid && name.ends_with(".mid_position_embeddings"))
        });
        Ok(())
    }

    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize> {
        let mut tensors = checkpoint.tensors();
        let (_, stored) = tensors.find(|(name, _)| *name == CLASSIFIER)?;
        stored.shape.first()?.checked_sub(1)
    }
}

/// An input that keeps the ratio, changed for images that are stretched; see the module's documentation.
fn stretched(mut input: ImageInput, free: bool) -> ImageInput {
    let Resize::ShortestEdge { shortest, longest, multiple_of } = input.resize else { return input };
    input.resize = Resize::Stretch;
    if free {
        let step = multiple_of.unwrap_or(1).max(1);
        [input.height, input.width] = [shortest, longest].map(|side| (side - side % step).max(step));
    }
    input
}
