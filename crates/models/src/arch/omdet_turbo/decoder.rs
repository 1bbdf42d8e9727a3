//! Query selection and the decoder: the cells that fit a class best become queries, which attend to each other and to the
//! task, and read the image around their boxes.

use graph::{Builder, Value};

use super::config::OmDetConfig;
use super::encoder::{PROJECTIONS, projected};
use super::language;
use crate::arch::rt_detr::anchors::anchors;
use crate::arch::rt_detr::decoder::{LARGEST_LOGIT, MASKED, inverse_sigmoid};
use crate::arch::rt_detr::encoder::tokens;
use crate::config::CONFIG;
use crate::layers::{
    Attended, Attention, Deformable, Reference, attention, deferred_floats, deformable_attention, floats,
    layer_norm, linear, mlp,
};
use crate::weights::Weights;
use crate::{DeformableForm, Error};

/// What scores of the cosine are divided by.
const TEMPERATURE: f64 = 0.07;
/// What lengths are at least.
const SHORTEST: f32 = 1e-12;

/// Offsets count in half a box divided by the number of points.
const OFFSETS: f32 = 0.5;

/// Class logits `[batch, queries, classes]` and boxes `[batch, queries, 4]` of the last layer.
pub(super) fn build(
    b: &mut Builder,
    w: &Weights,
    config: &OmDetConfig,
    pyramid: &[Value],
    [classes, task]: [&Value; 2],
    form: DeformableForm,
) -> Result<(Value, Value), Error> {
    let maps = projected(b, w, config, pyramid);
    let levels: Vec<(usize, usize)> = maps.iter().map(|map| (map.size(2), map.size(3))).collect();
    let flat: Vec<Value> = maps.iter().map(|map| tokens(b, map)).collect();
    let memory = b.concat(&flat.iter().collect::<Vec<_>>(), 1);
    if memory.size(1) < config.queries {
        let expected = format!("at most {}, the cells of this input size", memory.size(1));
        return Err(Error::unsupported(CONFIG, "num_queries", config.queries, expected));
    }
    let task = language::task(b, w, config, task);
    let (mut x, mut logits) = select(b, w, config, &memory, &levels, classes);
    let spec = Deformable::uniform(config.decoder_heads, config.points, OFFSETS, &levels, form);
    let mut boxes = b.sigmoid(&logits);
    let mut task = Task::Constant(task);
    for index in 0..config.decoder_layers {
        let width = config.width;
        let position = mlp(b, w, "query_position_head", &boxes, &[2 * width, width]);
        let last = index + 1 == config.decoder_layers;
        (x, task) = w.scope(b, &format!("layers.{index}"), |b, w| {
            let (attended, task) = attend(b, w, config, &x, &position, &task, last);
            let reference = Reference::boxes(b, w, &boxes, None, &spec);
            let placed = b.add(&attended, &position);
            let seen = deformable_attention(b, w, "cross_attn", &placed, &memory, None, &reference, &spec);
            (feed(b, w, config, &attended, &seen), task)
        });
        let moves = mlp(b, w, &format!("decoder_bbox_head.{index}"), &x, &[width, width, 4]);
        let from = if w.exact() {
            inverse_sigmoid(b, &boxes)
        } else {
            b.clip(&logits, -LARGEST_LOGIT, LARGEST_LOGIT)
        };
        logits = b.add(&moves, &from);
        boxes = b.sigmoid(&logits);
    }
    let head = format!("decoder_class_head.{}", config.decoder_layers - 1);
    let classes = class_vectors(b, w, config, &head, classes);
    let scores = b.matmul(&x, &classes);
    Ok((by_length(b, config, scores, &x, true), boxes))
}

/// The best cells: what the decoder starts from `[batch, queries, width]`, and their boxes as logits
/// `[batch, queries, 4]`.
fn select(
    b: &mut Builder,
    w: &Weights,
    config: &OmDetConfig,
    memory: &Value,
    levels: &[(usize, usize)],
    classes: &Value,
) -> (Value, Value) {
    let (cells, width) = (memory.size(1), config.width);
    let masked = if w.exact() { f32::MAX } else { MASKED };
    let valid = anchors(levels, masked).valid;
    let kept = if valid.iter().all(|valid| *valid) {
        memory.clone()
    } else {
        let mask = valid.iter().map(|valid| f32::from(u8::from(*valid))).collect();
        let mask = b.floats(&[1, cells, 1], mask);
        b.mul(memory, &mask)
    };
    let candidates = w.scope(b, "encoder_vision_features", |b, w| {
        let x = linear(b, w, "0", &kept, width);
        layer_norm(b, w, "1", &x, config.layer_norm_eps)
    });
    let classes = class_vectors(b, w, config, "encoder_class_head", classes);
    let scores = b.matmul(&candidates, &classes);
    // All classes of a cell are divided by the same length.
    let best = b.reduce_max(&scores, &[-1], false);
    let best = by_length(b, config, best, &candidates, false);
    let (_, chosen) = b.top_k(&best, config.queries, 1);

    let rows = b.gather_rows(&candidates, &chosen);
    let offsets = mlp(b, w, "encoder_bbox_head", &rows, &[width, width, 4]);
    let own = levels.to_vec();
    let table = deferred_floats(&[cells, 4], move || anchors(&own, masked).logits);
    let table = b.weight(&w.full("anchors"), table);
    let nearby = b.gather(&table, &chosen, 0);
    let logits = b.add(&offsets, &nearby);
    if !config.learned_queries {
        return (rows, logits);
    }
    let shape = [config.queries, width];
    let learned = w.child("tgt_embed").tensor("weight", &shape);
    let learned = deferred_floats(&[1, shape[0], width], move || floats(&learned).into_owned());
    let learned = b.weight(&w.full("tgt_embed.weight"), learned);
    (b.expand_batch(&learned, memory), logits)
}

/// The classes as one head sees them `[width, classes]`: for the cosine of length one, divided by the temperature.
fn class_vectors(b: &mut Builder, w: &Weights, config: &OmDetConfig, head: &str, classes: &Value) -> Value {
    let projected = linear(b, w, head, classes, config.width);
    b.scoped(head, |b| {
        let vectors = if config.cosine {
            let length = b.reduce_l2(&projected, &[-1], true);
            let length = b.at_least(&length, SHORTEST);
            let unit = b.div(&projected, &length);
            // Through its logarithm, as the reference.
            let factor = ((1.0 / TEMPERATURE) as f32).ln().exp();
            let factor = b.scalar(factor);
            b.mul(&unit, &factor)
        } else {
            projected
        };
        b.transpose(&vectors, &[1, 0])
    })
}

/// For the cosine, scores divided by the length of the features `x` that they were made of.
fn by_length(b: &mut Builder, config: &OmDetConfig, scores: Value, x: &Value, keep: bool) -> Value {
    if !config.cosine {
        return scores;
    }
    let length = b.reduce_l2(x, &[-1], keep);
    let length = b.at_least(&length, SHORTEST);
    b.div(&scores, &length)
}

/// The features of the task's tokens.
enum Task {
    /// The same for every image `[1, tokens, width]`.
    Constant(Value),
    /// Behind the first layer `[batch, tokens, width]`.
    OfImage(Value),
    /// Not wanted any more.
    Gone,
}

/// Queries and task attend to each other and themselves; the last layer has no use for what becomes of the task.
fn attend(
    b: &mut Builder,
    w: &Weights,
    config: &OmDetConfig,
    x: &Value,
    position: &Value,
    task: &Task,
    last: bool,
) -> (Value, Task) {
    let spec = Attention { heads: config.decoder_heads, names: PROJECTIONS };
    let placed = b.add(x, position);
    let [all, all_placed] = match task {
        Task::Constant(task) => behind(b, w, [x, &placed], task),
        Task::OfImage(task) => [x, &placed].map(|x| b.concat(&[x, task], 1)),
        Task::Gone => [x.clone(), placed.clone()],
    };
    let queries = if last && !w.exact() { &placed } else { &all_placed };
    let of = Attended { queries, keys: &all_placed, values: &all, bias: None };
    let attended = attention(b, w, "self_attn", of, spec);
    let own = if last && !w.exact() { x } else { &all };
    let sum = b.add(own, &attended);
    let sum = layer_norm(b, w, "norm1", &sum, config.layer_norm_eps);
    let (count, tokens) = (x.size(1), all.size(1) - x.size(1));
    if sum.size(1) == count {
        return (sum, Task::Gone);
    }
    match &b.split(&sum, &[count, tokens], 1)[..] {
        [x, task] => (x.clone(), Task::OfImage(task.clone())),
        _ => (sum, Task::Gone),
    }
}

/// Each of `parts` `[batch, queries, width]` with the constant `task` behind it.
fn behind(b: &mut Builder, w: &Weights, parts: [&Value; 2], task: &Value) -> [Value; 2] {
    if w.exact() {
        let task = b.expand_batch(task, parts[0]);
        return parts.map(|part| b.concat(&[part, &task], 1));
    }
    // Zeros where the task goes, and the task where there are zeros: fewer nodes than repeating it along the batch.
    let queries = parts[0].size(1);
    let table = b.pad(task, 1, queries, 0);
    parts.map(|part| {
        let room = b.pad(part, 1, 0, task.size(1));
        b.add(&room, &table)
    })
}

/// What the queries saw, and the two linear layers.
fn feed(b: &mut Builder, w: &Weights, config: &OmDetConfig, x: &Value, seen: &Value) -> Value {
    let x = b.add(x, seen);
    let x = layer_norm(b, w, "norm2", &x, config.layer_norm_eps);
    let inner = linear(b, w, "linear1", &x, config.decoder_inner);
    let inner = config.decoder_activation.apply(b, &inner);
    let fed = linear(b, w, "linear2", &inner, config.width);
    let x = b.add(&x, &fed);
    layer_norm(b, w, "norm3", &x, config.layer_norm_eps)
}
