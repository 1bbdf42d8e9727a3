//! OWL-ViT: the image and text encoders of CLIP; every patch of the image proposes a box and is compared with the
//! queries, which are texts.
//!
//! Paper: <https://arxiv.org/abs/2205.06230>. Reference: `OwlViTForObjectDetection` in transformers. The queries are fixed
//! at export, so that the text encoder is constant. A size that is not the trained one gets interpolated positions
//! (`interpolate_pos_encoding` there).

mod config;
mod heads;
mod vision;

use detect::{Activation, BoxFormat, Detector, Head, ImageInput, Labels, Selection};
use graph::{Builder, DataType, Dim, Value};

use super::{Architecture, Source};
use crate::config::Config;
use crate::layers::{cut, layer_norm, pooled, unbiased_linear};
use crate::prompt::{Tokenizer, labels_of};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error, Prompt};

use config::{OwlConfig, Vision};

pub(super) struct OwlVit;

/// Side of a patch where the configuration does not say.
const PATCH: usize = 32;

impl Architecture for OwlVit {
    fn model_type(&self) -> &'static str {
        "owlvit"
    }

    fn renames(&self) -> &'static [Rename] {
        &[]
    }

    fn prompted_labels(&self, prompt: &Prompt) -> Option<Result<Labels, Error>> {
        Some(labels(prompt))
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        detector(self.model_type(), PATCH, source.config, labels, input)
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        build("owlvit", PATCH, source, detector, w, b)
    }

    fn classes(&self, _checkpoint: &Checkpoint) -> Option<usize> {
        None
    }
}

/// Each text is a class, called as it is written.
pub(super) fn labels(prompt: &Prompt) -> Result<Labels, Error> {
    if prompt.task.is_some() {
        let reason =
            "is for models that take a task beside their classes; this one takes queries only".into();
        return Err(Error::Refused { option: "--task", reason });
    }
    labels_of(&prompt.texts)
}

pub(super) fn detector(
    architecture: &str,
    patch: usize,
    config: &Config,
    labels: Labels,
    input: ImageInput,
) -> Result<Detector, Error> {
    OwlConfig::read(config, patch)?;
    let head = Head::Queries {
        logits: "logits".into(),
        boxes: "pred_boxes".into(),
        format: BoxFormat::CxcywhNormalized,
        activation: Activation::Sigmoid,
        selection: Selection::PerQuery,
        iou: None,
        confidence: 0.1,
    };
    Ok(Detector::new(architecture, labels, input, head))
}

/// The graph; `base` is the module of both encoders.
pub(super) fn build(
    base: &str,
    patch: usize,
    source: Source<'_>,
    detector: &Detector,
    w: &Weights,
    b: &mut Builder,
) -> Result<(), Error> {
    let config = OwlConfig::read(source.config, patch)?;
    let input = &detector.input;
    let (height, width) = (input.height as usize, input.width as usize);
    let grid = config.vision.grid(height, width)?;
    let shape = vec![Dim::batch(), 3.into(), height.into(), width.into()];
    let pixels = b.input(&input.tensor, DataType::F32, shape);

    let texts = queries(source, &config)?;
    let real: Vec<bool> = texts.iter().map(|ids| ids.first().is_some_and(|first| *first > 0)).collect();
    let (queries, patches) = w.scope(b, base, |b, w| -> Result<_, Error> {
        let queries = text_side(b, w, &config, &texts)?;
        let patches = w.scope(b, "vision_model", |b, w| image_side(b, w, &config.vision, &pixels, grid))?;
        Ok((queries, patches))
    })?;
    let patches = layer_norm(b, w, "layer_norm", &patches, config.vision.epsilon);
    let logits = heads::classes(b, w, &patches, &queries, &real);
    b.output("logits", &logits);
    let boxes = heads::boxes(b, w, &patches, grid);
    b.output("pred_boxes", &boxes);

    // Contrastive training, image queries and the choice among boxes for those.
    let unused = ["logit_scale", "visual_projection.weight"].map(|name| format!("{base}.{name}"));
    w.ignore(|name| {
        name == "box_bias" || name.starts_with("objectness_head.") || unused.iter().any(|own| own == name)
    });
    Ok(())
}

/// The numbers of the queries, as the processor makes them.
fn queries(source: Source<'_>, config: &OwlConfig) -> Result<Vec<Vec<u32>>, Error> {
    let tokenizer = Tokenizer::read(source.files)?;
    tokenizer.require_padding_behind()?;
    let most = config.text.positions;
    let length = tokenizer.longest().map_or(most, |longest| longest.min(most));
    let texts = source.options.prompt.iter().flat_map(|prompt| &prompt.texts);
    texts.map(|text| Ok(tokenizer.encode_padded(text, length)?.ids)).collect()
}

/// Queries as vectors of length one `[queries, size]`.
fn text_side(b: &mut Builder, w: &Weights, config: &OwlConfig, texts: &[Vec<u32>]) -> Result<Value, Error> {
    let texts = cut(texts);
    let features = w.scope(b, "text_model", |b, w| config.text.build(b, w, &texts))?;
    let last = pooled(b, &features, &texts);
    let projected = unbiased_linear(b, w, "text_projection", &last, config.text.width);
    Ok(heads::unit(b, &projected, 0.0))
}

/// Patches `[batch, patches, width]`, each multiplied by the class token.
fn image_side(
    b: &mut Builder,
    w: &Weights,
    vision: &Vision,
    pixels: &Value,
    grid: [usize; 2],
) -> Result<Value, Error> {
    let x = vision.build(b, w, pixels, grid)?;
    let x = layer_norm(b, w, "post_layernorm", &x, vision.epsilon);
    let parts = b.split(&x, &[1, grid[0] * grid[1]], 1);
    let [class, patches] = &parts[..] else { return Ok(x) };
    Ok(b.mul(patches, class))
}
