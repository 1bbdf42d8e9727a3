//! `RTDETRDecoder`: the best cells become queries, and each layer of the decoder moves their boxes.
//!
//! Paper: <https://arxiv.org/abs/2304.08069>. The network is RT-DETR's under the library's names; its export picks the
//! best pairs of query and class in the graph.

use graph::{Builder, Value};

use super::head::{LARGEST_COUNT, pick};
use super::module::Layer;
use super::transformer::{Packed, QUERIES, VALUES, dense, normalized, tokens};
use crate::arch::rt_detr::anchors::anchors;
use crate::arch::rt_detr::decoder::{LARGEST_LOGIT, MASKED, inverse_sigmoid};
use crate::layers::{Deformable, Reference, deferred_floats, deformable_attention, floats};
use crate::{DeformableForm, Error};

/// Most queries.
const MOST_QUERIES: usize = 100_000;

/// What the head is made of.
pub(super) struct Decoder<'a> {
    layer: Layer<'a>,
    pub(super) classes: usize,
    queries: usize,
    /// The layer whose result counts.
    last: usize,
    form: DeformableForm,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(layer: &Layer<'a>, form: DeformableForm) -> Result<Self, Error> {
        let decoder = layer.child("decoder")?;
        let queries = layer.divisor("num_queries")?;
        if queries > MOST_QUERIES {
            return Err(layer.unusable("num_queries", &format!("at most {MOST_QUERIES}")));
        }
        let count = decoder.child("layers")?.names().count();
        let last = decoder.size_or("eval_idx", count.saturating_sub(1))?;
        if last >= count {
            return Err(decoder.unusable("eval_idx", &format!("less than {count}, the layers")));
        }
        Ok(Self { layer: layer.clone(), classes: layer.divisor("nc")?, queries, last, form })
    }

    /// Whether the graph needs a tensor of this name: training needs the denoising queries and the heads of the other
    /// layers.
    pub(super) fn needs(&self, name: &str) -> bool {
        let path = self.layer.w.full("");
        let Some(own) = name.strip_prefix(&path) else { return true };
        let number = |list: &str| own.strip_prefix(list)?.split('.').next()?.parse::<usize>().ok();
        let later = |list: &str| number(list).is_some_and(|at| at > self.last);
        let scores = number("dec_score_head.");
        !(own.starts_with("denoising_class_embed.")
            || scores.is_some_and(|at| at != self.last)
            || later("dec_bbox_head.")
            || later("decoder.layers."))
    }

    /// Rows `[batch, count, 6]`: centre and size relative to the image, score, class.
    pub(super) fn build(&self, b: &mut Builder, maps: &[Value]) -> Result<Value, Error> {
        let projections = self.layer.child("input_proj")?;
        let mut levels = Vec::with_capacity(maps.len());
        let mut flat = Vec::with_capacity(maps.len());
        for (at, map) in maps.iter().enumerate() {
            let projected = b.scoped("input_proj", |b| projections.apply(b, &at.to_string(), map))?;
            levels.push((projected.size(2), projected.size(3)));
            flat.push(tokens(b, &projected));
        }
        let memory = b.concat(&flat.iter().collect::<Vec<_>>(), 1);
        let (queries, logits) = self.select(b, &memory, &levels)?;
        let decoder = self.layer.child("decoder")?;
        let (x, boxes) =
            b.scoped("decoder", |b| self.decode(b, &decoder, queries, logits, &memory, &levels))?;
        let heads = self.layer.child("dec_score_head")?;
        let last = self.last.to_string();
        let mut scores = b.scoped("dec_score_head", |b| dense(b, &heads, &last, &x))?;
        if scores.size(-1) != self.classes {
            return Err(self.layer.unusable("nc", "as many classes as the score head has"));
        }
        let exact = self.layer.w.exact();
        if exact {
            scores = b.sigmoid(&scores);
        }
        let count = self.queries.min(LARGEST_COUNT).min(x.size(1) * self.classes);
        Ok(pick(b, &boxes, &scores, count, exact))
    }

    /// The best cells, and their boxes as logits.
    fn select(
        &self,
        b: &mut Builder,
        memory: &Value,
        levels: &[(usize, usize)],
    ) -> Result<(Value, Value), Error> {
        let (layer, cells) = (&self.layer, memory.size(1));
        let count = self.queries.min(cells);
        let masked = if layer.w.exact() { f32::MAX } else { MASKED };
        let valid = anchors(levels, masked).valid;
        let kept = if valid.iter().all(|valid| *valid) {
            memory.clone()
        } else {
            let mask = valid.iter().map(|valid| f32::from(u8::from(*valid))).collect();
            let mask = b.floats(&[1, cells, 1], mask);
            b.mul(&mask, memory)
        };
        let output = layer.child("enc_output")?;
        let candidates = b.scoped("enc_output", |b| {
            let x = dense(b, &output, "0", &kept)?;
            normalized(b, &output, "1", &x)
        })?;
        let scores = dense(b, layer, "enc_score_head", &candidates)?;
        let best = b.reduce_max(&scores, &[-1], false);
        let (_, chosen) = b.top_k(&best, count, 1);
        let rows = b.gather_rows(&candidates, &chosen);
        let offsets = mlp(b, layer, "enc_bbox_head", &rows)?;
        let own = levels.to_vec();
        let table = deferred_floats(&[cells, 4], move || anchors(&own, masked).logits);
        let table = b.weight(&layer.w.full("anchors"), table);
        let nearby = b.gather(&table, &chosen, 0);
        let logits = b.add(&offsets, &nearby);
        if !layer.flag_or("learnt_init_query", false) {
            return Ok((rows, logits));
        }
        let width = memory.size(2);
        let learned = layer.w.tensor("tgt_embed.weight", &[self.queries, width]);
        let learned = deferred_floats(&[1, count, width], move || floats(&learned)[..count * width].to_vec());
        let learned = b.weight(&layer.w.full("tgt_embed.weight"), learned);
        Ok((b.expand_batch(&learned, memory), logits))
    }

    fn decode(
        &self,
        b: &mut Builder,
        decoder: &Layer<'_>,
        queries: Value,
        logits: Value,
        memory: &Value,
        levels: &[(usize, usize)],
    ) -> Result<(Value, Value), Error> {
        let (mut x, mut logits) = (queries, logits);
        let mut boxes = b.sigmoid(&logits);
        let (layers, heads) = (decoder.child("layers")?, self.layer.child("dec_bbox_head")?);
        for at in 0..=self.last {
            let name = at.to_string();
            let position = mlp(b, &self.layer, "query_pos_head", &boxes)?;
            let layer = layers.child(&name)?;
            x = b.scoped(format!("layers/{name}"), |b| {
                self.decoder_layer(b, &layer, &x, &position, memory, &boxes, levels)
            })?;
            let moves = b.scoped("dec_bbox_head", |b| mlp(b, &heads, &name, &x))?;
            let from = if self.layer.w.exact() {
                inverse_sigmoid(b, &boxes)
            } else {
                b.clip(&logits, -LARGEST_LOGIT, LARGEST_LOGIT)
            };
            logits = b.add(&moves, &from);
            boxes = b.sigmoid(&logits);
        }
        Ok((x, boxes))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one module, each used once")]
    fn decoder_layer(
        &self,
        b: &mut Builder,
        layer: &Layer<'_>,
        x: &Value,
        position: &Value,
        memory: &Value,
        boxes: &Value,
        levels: &[(usize, usize)],
    ) -> Result<Value, Error> {
        let attention = Packed::new(layer.child("self_attn")?, x.size(-1))?;
        let placed = b.add(x, position);
        let attended = b.scoped("self_attn", |b| {
            let mut qkv = attention.project(b, QUERIES..VALUES, &placed);
            qkv.extend(attention.project(b, VALUES..VALUES + 1, x));
            attention.mix(b, std::array::from_fn(|at| qkv.get(at).unwrap_or(x)))
        });
        let x = b.add(x, &attended);
        let x = normalized(b, layer, "norm1", &x)?;

        let placed = b.add(&x, position);
        let cross = layer.child("cross_attn")?;
        let spec = self.points(&cross, x.size(-1), levels)?;
        let reference = Reference::boxes(b, &layer.w, boxes, None, &spec);
        let seen = deformable_attention(b, &layer.w, "cross_attn", &placed, memory, None, &reference, &spec);
        let x = b.add(&x, &seen);
        let x = normalized(b, layer, "norm2", &x)?;

        let fed = dense(b, layer, "linear1", &x)?;
        let fed = layer.apply(b, "act", &fed)?;
        let fed = dense(b, layer, "linear2", &fed)?;
        let x = b.add(&x, &fed);
        normalized(b, layer, "norm3", &x)
    }

    /// The sizes of a deformable attention.
    fn points(
        &self,
        cross: &Layer<'_>,
        width: usize,
        levels: &[(usize, usize)],
    ) -> Result<Deformable, Error> {
        if cross.kind() != "MSDeformAttn" {
            return Err(cross.unsupported("MSDeformAttn"));
        }
        let (heads, points) = (cross.divisor("n_heads")?, cross.divisor("n_points")?);
        if !width.is_multiple_of(heads) {
            return Err(cross.unusable("n_heads", &format!("a divisor of {width}")));
        }
        if points > 256 {
            return Err(cross.unusable("n_points", "at most 256"));
        }
        if cross.size("n_levels")? != levels.len() {
            return Err(cross.unusable("n_levels", &format!("{}, the maps of the head", levels.len())));
        }
        Ok(Deformable::uniform(heads, points, 0.5, levels, self.form))
    }
}

/// The `MLP` of this name: linear layers with an activation between them.
fn mlp(b: &mut Builder, layer: &Layer<'_>, name: &str, x: &Value) -> Result<Value, Error> {
    let part = layer.child(name)?;
    let plain = !part.flag_or("sigmoid", false) && !part.flag_or("residual", false);
    let unnormalized = part.optional("out_norm").is_none_or(|norm| norm.kind() == "Identity");
    if part.kind() != "MLP" || !plain || !unnormalized {
        return Err(part.unsupported("MLP, without sigmoid, residual and normalization"));
    }
    let list = part.child("layers")?;
    let count = list.names().count();
    b.scoped(name, |b| {
        let mut x = x.clone();
        for (at, layer) in list.names().enumerate() {
            x = b.scoped("layers", |b| dense(b, &list, layer, &x))?;
            if at + 1 < count {
                // Early files do not say it.
                x = if part.optional("act").is_some() { part.apply(b, "act", &x)? } else { b.relu(&x) };
            }
        }
        Ok(x)
    })
}
