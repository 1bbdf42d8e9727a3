//! Grounding DINO: a Swin backbone and BERT, an encoder that fuses image and text, queries chosen by the text, a decoder
//! that reads both, and boxes scored by the tokens that they show.
//!
//! Papers: <https://arxiv.org/abs/2303.05499>, <https://arxiv.org/abs/2401.02361> (MM Grounding DINO: another class head).
//! References: `GroundingDinoForObjectDetection` and `MMGroundingDinoForObjectDetection` in transformers. The caption is
//! fixed at export. What depends on it alone is computed from constants, for one image, and meets the batch in the
//! encoder's first fusion.

mod config;
mod decoder;
mod encoder;
mod heads;
mod prompt;
mod pyramid;
mod text;

use std::sync::LazyLock;

use detect::{Activation, BoxFormat, Detector, Head, ImageInput, Labels, Selection};
use graph::{Builder, DataType, Dim};

use super::{Architecture, Source};
use crate::config::Config;
use crate::layers::{Backbone, Deformable, Padding, SWIN_RENAMES};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error, Prompt};
use config::GroundingDinoConfig;

/// From the names of all generations of the library to those of its fifth.
static RENAMES: LazyLock<Vec<Rename>> = LazyLock::new(|| {
    let own = [
        Rename { from: "model.decoder.bbox_embed", to: "bbox_embed", anchored: true },
        Rename { from: "model.decoder.class_embed", to: "class_embed", anchored: true },
    ];
    let backbone = [
        Rename { from: "backbone.model.embeddings", to: "backbone.model.swin.embeddings", anchored: false },
        Rename {
            from: "backbone.model.encoder.layers",
            to: "backbone.model.swin.encoder.layers",
            anchored: false,
        },
    ];
    [&own[..], &Backbone::RENAMES, &backbone, SWIN_RENAMES].concat()
});

/// Which of the two models it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    /// Grounding DINO.
    First,
    /// MM Grounding DINO.
    Mm,
}

pub(super) struct GroundingDino;

impl Architecture for GroundingDino {
    fn model_type(&self) -> &'static str {
        "grounding_dino"
    }

    fn renames(&self) -> &'static [Rename] {
        renames()
    }

    fn prompted_labels(&self, prompt: &Prompt) -> Option<Result<Labels, Error>> {
        Some(labels(prompt))
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        detector(Generation::First, self.model_type(), source.config, labels, input)
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

    fn classes(&self, _checkpoint: &Checkpoint) -> Option<usize> {
        None
    }
}

pub(super) fn renames() -> &'static [Rename] {
    &RENAMES
}

/// The phrases of a prompt.
pub(super) fn labels(prompt: &Prompt) -> Result<Labels, Error> {
    prompt::labels(prompt)
}

pub(super) fn detector(
    generation: Generation,
    architecture: &str,
    config: &Config,
    labels: Labels,
    input: ImageInput,
) -> Result<Detector, Error> {
    GroundingDinoConfig::read(generation, config)?;
    let head = Head::Queries {
        logits: "class_logits".into(),
        boxes: "pred_boxes".into(),
        format: BoxFormat::CxcywhNormalized,
        activation: Activation::Sigmoid,
        // The processor names a query by all tokens above a threshold, and scores it by the best.
        selection: Selection::PerQuery,
        iou: None,
        confidence: 0.25,
    };
    Ok(Detector::new(architecture, labels, input, head))
}

pub(super) fn build(
    generation: Generation,
    source: Source<'_>,
    detector: &Detector,
    w: &Weights,
    b: &mut Builder,
) -> Result<(), Error> {
    let config = GroundingDinoConfig::read(generation, source.config)?;
    let none = Prompt::default();
    let prompt = source.options.prompt.as_ref().unwrap_or(&none);
    let caption = prompt::Caption::read(source.files, prompt, config.max_text_len)?;
    let input = &detector.input;
    let shape = vec![Dim::batch(), 3.into(), (input.height as usize).into(), (input.width as usize).into()];
    let pixels = b.input(&input.tensor, DataType::F32, shape);
    let padding = Padding::find(b, input, &pixels);

    let root = w;
    let (queries, from, tokens) = w.scope(b, "model", |b, w| -> Result<_, Error> {
        let text = text::build(b, w, &config, &caption)?;
        let pyramid = pyramid::build(b, w, &config, &pixels, &padding)?;
        let sizes = pyramid.sizes();
        let form = source.options.deformable;
        let spec = |heads, points| Deformable::uniform(heads, points, 0.5, &sizes, form);
        let around = spec(config.encoder_attention_heads, config.encoder_n_points);
        let (cells, tokens) = encoder::build(b, w, &config, &pyramid, &text, &around);
        let memory = decoder::Memory { cells: &cells, tokens: &tokens, pyramid: &pyramid };
        let boxes = decoder::select(b, w, &config, generation, &memory)?;
        let around = spec(config.decoder_attention_heads, config.decoder_n_points);
        let (queries, from) = decoder::decode(b, root, w, &config, &memory, boxes, &around);
        Ok((queries, from, tokens))
    })?;
    let moves = heads::box_moves(b, w, &config, config.decoder_layers - 1, &queries);
    let boxes = b.add(&moves, &from);
    let boxes = b.sigmoid(&boxes);
    let scores = heads::token_scores(b, w, &config, generation, &queries, &tokens);
    let logits = heads::padded_scores(b, &scores, &config);
    let classes = heads::class_scores(b, &scores, &caption.phrases);
    b.output("logits", &logits);
    b.output("pred_boxes", &boxes);
    b.output("class_logits", &classes);
    ignore(w, &config);
    Ok(())
}

/// Heads of layers that share one are stored once or once a layer; class scores of all layers but the last are for
/// training.
fn ignore(w: &Weights, config: &GroundingDinoConfig) {
    let last = config.decoder_layers - 1;
    let class = if config.decoder_cls_embed_share { 0 } else { last };
    let own_class = format!("class_embed.{class}.");
    w.ignore(|name| {
        name.ends_with(".num_batches_tracked")
            || (config.decoder_bbox_embed_share
                && name.starts_with("bbox_embed.")
                && !name.starts_with("bbox_embed.0."))
            || (name.starts_with("class_embed.") && !name.starts_with(&own_class))
    });
}
