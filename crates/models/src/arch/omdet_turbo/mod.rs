//! OmDet-Turbo: RT-DETR for classes that are texts, and a task that the queries read along.
//!
//! Paper: <https://arxiv.org/abs/2403.06892>. Reference: `OmDetTurboForObjectDetection` in transformers. The texts are
//! fixed at export, so that the language backbone is constant; boxes are carried from layer to layer as logits.

mod backbone;
mod config;
mod decoder;
mod encoder;
mod language;

use std::sync::LazyLock;

use detect::{Activation, BoxFormat, Detector, Head, ImageInput, Labels, Resize, Selection};
use graph::{Builder, DataType, Dim};

use super::{Architecture, Source};
use crate::layers::SWIN_RENAMES;
use crate::prompt::labels_of;
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error, Prompt};

use config::OmDetConfig;
use language::Texts;

/// From the names of all generations of the library to those of its fifth.
static RENAMES: LazyLock<Vec<Rename>> = LazyLock::new(|| {
    let own = [
        ("language_backbone.model.text_model", "language_backbone.model"),
        ("vision_backbone.vision_backbone.embeddings", "vision_backbone.vision_backbone.swin.embeddings"),
        (
            "vision_backbone.vision_backbone.encoder.layers",
            "vision_backbone.vision_backbone.swin.encoder.layers",
        ),
    ];
    let own = own.map(|(from, to)| Rename { from, to, anchored: true });
    own.into_iter().chain(SWIN_RENAMES.iter().copied()).collect()
});

pub(super) struct OmDetTurbo;

impl Architecture for OmDetTurbo {
    fn model_type(&self) -> &'static str {
        "omdet_turbo"
    }

    fn renames(&self) -> &'static [Rename] {
        &RENAMES
    }

    fn prompted_labels(&self, prompt: &Prompt) -> Option<Result<Labels, Error>> {
        Some(labels_of(&prompt.texts))
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        let config = OmDetConfig::read(source.config)?;
        if matches!(input.resize, Resize::ShortestEdge { .. }) {
            return Err(Error::Underivable {
                what: "the resize policy",
                reason: "this family has no mask of padded pixels".into(),
                option: "--resize stretch",
            });
        }
        let head = Head::Queries {
            logits: "decoder_class_logits".into(),
            boxes: "decoder_coord_logits".into(),
            format: BoxFormat::CxcywhNormalized,
            activation: Activation::Sigmoid,
            selection: Selection::TopK { count: config.queries as u32 },
            iou: Some(0.5),
            confidence: 0.3,
        };
        Ok(Detector::new(self.model_type(), labels, input, head))
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        let config = OmDetConfig::read(source.config)?;
        let input = &detector.input;
        let shape =
            vec![Dim::batch(), 3.into(), (input.height as usize).into(), (input.width as usize).into()];
        let pixels = b.input(&input.tensor, DataType::F32, shape);
        let texts = Texts::read(source, &config)?;
        let epsilon = config.layer_norm_eps;
        let maps = w.scope(b, "vision_backbone", |b, w| config.backbone.build(b, w, &pixels, epsilon))?;
        let pyramid = w.scope(b, "encoder", |b, w| encoder::build(b, w, &config, &maps))?;
        let [classes, task] =
            w.scope(b, "language_backbone", |b, w| language::build(b, w, &config, &texts))?;
        let form = source.options.deformable;
        let (logits, boxes) =
            w.scope(b, "decoder", |b, w| decoder::build(b, w, &config, &pyramid, [&classes, &task], form))?;
        b.output("decoder_class_logits", &logits);
        b.output("decoder_coord_logits", &boxes);

        // Only training needs the class scores of all layers but the last.
        let last = format!("decoder.decoder_class_head.{}.", config.decoder_layers - 1);
        let normalizes = config.backbone.normalizes();
        w.ignore(|name| {
            name.ends_with(".num_batches_tracked")
                || (name.starts_with("decoder.decoder_class_head.") && !name.starts_with(&last))
                || (name.starts_with("vision_backbone.layer_norms.") && !normalizes)
        });
        Ok(())
    }

    fn classes(&self, _checkpoint: &Checkpoint) -> Option<usize> {
        None
    }
}
