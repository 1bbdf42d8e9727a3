//! The texts: a feature for each class, and one for each token of the task. All of it is constant.

use graph::{Builder, Value};

use super::config::{LONGEST_TEXT, OmDetConfig};
use crate::arch::Source;
use crate::layers::{cut, layer_norm, linear, pooled, widened};
use crate::prompt::Tokenizer;
use crate::weights::Weights;
use crate::{Error, Prompt};

/// The numbers of a prompt.
pub(super) struct Texts {
    classes: Vec<Vec<u32>>,
    task: Vec<u32>,
}

impl Texts {
    /// The prompt through the checkpoint's tokenizer, as the processor does it.
    pub(super) fn read(source: Source<'_>, config: &OmDetConfig) -> Result<Self, Error> {
        let tokenizer = Tokenizer::read(source.files)?;
        tokenizer.require_padding_behind()?;
        let none = Prompt::default();
        let prompt = source.options.prompt.as_ref().unwrap_or(&none);
        let length = LONGEST_TEXT.min(config.text.positions);
        let numbers = |text: &String| Ok(tokenizer.encode_padded(text, length)?.ids);
        let classes: Vec<Vec<u32>> = prompt.texts.iter().map(numbers).collect::<Result<_, Error>>()?;
        let task = prompt.task.clone().unwrap_or_else(|| format!("Detect {}.", prompt.texts.join(", ")));
        let task = tokenizer.encode(&task, Some(length))?;
        Ok(Self { classes: cut(&classes), task })
    }
}

/// Features of the classes `[classes, class_dim]` and of the task's tokens `[1, tokens, class_dim]`; `w` is the language
/// backbone.
pub(super) fn build(
    b: &mut Builder,
    w: &Weights,
    config: &OmDetConfig,
    texts: &Texts,
) -> Result<[Value; 2], Error> {
    let task = [texts.task.clone()];
    let (classes, task) = w.scope(b, "model", |b, w| -> Result<_, Error> {
        Ok((config.text.build(b, w, &texts.classes)?, config.text.build(b, w, &task)?))
    })?;
    let classes = pooled(b, &classes, &texts.classes);
    let projection = w.constant(b, "text_projection", &[config.text.width, config.class_dim], widened);
    Ok([b.matmul(&classes, &projection), task])
}

/// What the decoder takes of the task `[1, tokens, width]`; `w` is the decoder.
pub(super) fn task(b: &mut Builder, w: &Weights, config: &OmDetConfig, task: &Value) -> Value {
    let encoded = w.scope(b, "task_encoder", |b, w| {
        let inner = linear(b, w, "mlp.linear1", task, config.task_hidden);
        let inner = config.decoder_activation.apply(b, &inner);
        let fed = linear(b, w, "mlp.linear2", &inner, config.class_dim);
        let sum = b.add(task, &fed);
        layer_norm(b, w, "res1.norm1", &sum, config.layer_norm_eps)
    });
    if config.class_dim == config.width {
        return encoded;
    }
    linear(b, w, "task_project", &encoded, config.width)
}
