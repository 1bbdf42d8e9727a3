//! Query selection and the decoder of LW-DETR, also RF-DETR's: the best cells say where the learned queries look first.
//!
//! Boxes are carried as centre and size. In the [`BoxForm::Relative`] form a box is moved by parts of its own size, in
//! [`BoxForm::Logits`] by adding to its logits.

use graph::{Builder, Tensor, Value};

use super::CLASSIFIER;
use crate::config::CONFIG;
use crate::layers::{
    Activation, BoxForm, Deformable, Level, LevelRatios, Reference, Sine, attend, attend_heads, box_sine,
    deferred_floats, deformable_attention, end_to_end, floats, head_factor, layer_norm, linear, mlp,
    proposals, rows_of, side_by_side,
};
use crate::weights::Weights;
use crate::{DeformableForm, Error};

/// ε of the layer normalizations, the default of PyTorch.
const EPSILON: f32 = 1e-5;
/// Score of a cell that does not count; finite in half precision.
const MASKED: f32 = -1e4;
/// A query reads points up to half of its box away from the centre.
const REACH: f32 = 0.5;

/// The sizes and switches of the decoder.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the file's own switches")]
pub(in crate::arch) struct Decoder {
    pub(in crate::arch) d_model: usize,
    pub(in crate::arch) ffn: usize,
    /// Points of one head on one level.
    pub(in crate::arch) points: usize,
    pub(in crate::arch) layers: usize,
    pub(in crate::arch) self_heads: usize,
    /// Width of one of them.
    pub(in crate::arch) self_head: usize,
    pub(in crate::arch) cross_heads: usize,
    pub(in crate::arch) activation: Activation,
    pub(in crate::arch) queries: usize,
    pub(in crate::arch) attention_bias: bool,
    /// How boxes are moved.
    pub(in crate::arch) form: BoxForm,
    /// Whether the queries begin at the best cells; else at learned boxes.
    pub(in crate::arch) two_stage: bool,
    /// Whether cells that do not count take part in the selection, with a score of their own.
    pub(in crate::arch) scores_padding: bool,
    /// Whether each layer moves the boxes.
    pub(in crate::arch) refines: bool,
    /// Whether a normalization stands before the heads.
    pub(in crate::arch) normalizes: bool,
    /// Learned tokens beside the queries.
    pub(in crate::arch) registers: usize,
}

/// What the decoder reads.
#[derive(Debug)]
pub(in crate::arch) struct Memory {
    /// `[batch, cells, d_model]`, level by level.
    pub(in crate::arch) cells: Value,
    pub(in crate::arch) levels: Vec<Level>,
}

/// Boxes, centre and size apart.
#[derive(Debug, Clone)]
struct Pair {
    centre: Value,
    size: Value,
}

impl Pair {
    fn split(b: &mut Builder, x: &Value) -> Self {
        let parts = b.split(x, &[2, 2], -1);
        let [centre, size] = [0, 1].map(|at| parts.get(at).unwrap_or(x).clone());
        Self { centre, size }
    }
}

/// Whether a tensor belongs to a group of queries that only training has.
pub(in crate::arch) fn is_of_another_group(name: &str) -> bool {
    ["enc_output", "enc_output_norm", "enc_out_class_embed", "enc_out_bbox_embed"]
        .iter()
        .any(|module| super::layer_of(name, &format!("model.{module}.")).is_some_and(|group| group > 0))
}

/// Builds everything behind the backbone and declares the outputs.
pub(in crate::arch) fn build(
    b: &mut Builder,
    w: &Weights,
    config: &Decoder,
    memory: &Memory,
    classes: usize,
    form: DeformableForm,
) -> Result<(), Error> {
    let boxes = w.scope(b, "model", |b, w| config.first_boxes(b, w, memory, classes))?;
    let (x, boxes) = config.decode(b, w, memory, boxes, form);
    let logits = linear(b, w, CLASSIFIER.trim_end_matches(".weight"), &x, classes);
    let moves = config.moves(b, w, &x);
    let mut boxes = config.moved(b, &boxes, &moves);
    if config.form == BoxForm::Logits {
        boxes = b.sigmoid(&boxes);
    }
    b.output("logits", &logits);
    b.output("pred_boxes", &boxes);
    Ok(())
}

impl Decoder {
    /// What the box head says of these queries.
    fn moves(&self, b: &mut Builder, w: &Weights, x: &Value) -> Value {
        mlp(b, w, "bbox_embed", x, &[self.d_model, self.d_model, 4])
    }

    /// Boxes `[batch, queries, 4]` moved.
    fn moved(&self, b: &mut Builder, boxes: &Value, moves: &Value) -> Value {
        if self.form == BoxForm::Logits {
            return b.add(boxes, moves);
        }
        let (boxes, moves) = (Pair::split(b, boxes), Pair::split(b, moves));
        let moved = relatively_moved(b, &boxes, &moves);
        b.concat(&[&moved.centre, &moved.size], -1)
    }

    /// The boxes that the decoder begins with, registers' last.
    fn first_boxes(
        &self,
        b: &mut Builder,
        w: &Weights,
        memory: &Memory,
        classes: usize,
    ) -> Result<Value, Error> {
        let learned = first_rows(w, "reference_point_embed.weight", self.queries, 4);
        let mut boxes = if self.two_stage {
            let best = self.best(b, w, memory, classes)?;
            self.moved_by_learned(b, w, &best, learned)
        } else {
            let learned = b.weight(&w.full("reference_point_embed.weight"), learned);
            b.expand_batch(&learned, &memory.cells)
        };
        if self.registers > 0 {
            let own = first_rows(w, "register_ref_points", self.registers, 4);
            let own = b.weight(&w.full("register_ref_points"), own);
            let own = b.expand_batch(&own, &memory.cells);
            boxes = b.concat(&[&boxes, &own], 1);
        }
        Ok(boxes)
    }

    /// The boxes around the best cells.
    fn best(&self, b: &mut Builder, w: &Weights, memory: &Memory, classes: usize) -> Result<Value, Error> {
        let cells = memory.cells.size(1);
        if cells < self.queries {
            let expected = format!("at most {cells}, the cells of this input size");
            return Err(Error::unsupported(CONFIG, "num_queries", self.queries, expected));
        }
        let proposals = proposals(b, &memory.levels, self.form);
        // With enough cells that count, those that do not are never chosen and may hold anything.
        let chosen_at_all = self.scores_padding || w.exact() || proposals.least < self.queries;
        let kept = match &proposals.counts {
            Some(counts) if chosen_at_all => b.mul(&memory.cells, counts),
            _ => memory.cells.clone(),
        };
        let tokens = linear(b, w, "enc_output.0", &kept, self.d_model);
        let tokens = layer_norm(b, w, "enc_output_norm.0", &tokens, EPSILON);
        let scores = linear(b, w, "enc_out_class_embed.0", &tokens, classes);
        let mut best = b.reduce_max(&scores, &[-1], false);
        if !self.scores_padding {
            best = proposals.masked(b, &best, MASKED);
        }
        let (_, chosen) = b.top_k(&best, self.queries, 1);
        let rows = b.gather_rows(&tokens, &chosen);
        let moves = mlp(b, w, "enc_out_bbox_embed.0", &rows, &[self.d_model, self.d_model, 4]);
        let boxes = proposals.of(b, &chosen);
        Ok(self.moved(b, &boxes, &moves))
    }

    /// Boxes moved by a constant.
    fn moved_by_learned(&self, b: &mut Builder, w: &Weights, boxes: &Value, learned: Tensor) -> Value {
        let name = w.full("reference_point_embed.weight");
        if w.exact() || self.form == BoxForm::Logits {
            let learned = b.weight(&name, learned);
            return self.moved(b, boxes, &learned);
        }
        // The exponential of a constant is one.
        let part = |start: usize, of: fn(f32) -> f32| {
            let learned = learned.clone();
            deferred_floats(&[1, self.queries, 2], move || {
                let rows = floats(&learned);
                rows.chunks_exact(4).flat_map(|row| [of(row[start]), of(row[start + 1])]).collect()
            })
        };
        let shift = b.weight(&format!("{name}.centre"), part(0, |x| x));
        let factor = b.weight(&format!("{name}.size"), part(2, f32::exp));
        let boxes = Pair::split(b, boxes);
        let moved = b.mul(&boxes.size, &shift);
        let centre = b.add(&moved, &boxes.centre);
        let size = b.mul(&boxes.size, &factor);
        b.concat(&[&centre, &size], -1)
    }

    /// The queries after the last layer `[batch, queries, d_model]`, and the boxes that the last layer read around.
    fn decode(
        &self,
        b: &mut Builder,
        w: &Weights,
        memory: &Memory,
        mut boxes: Value,
        form: DeformableForm,
    ) -> (Value, Value) {
        let sizes: Vec<(usize, usize)> =
            memory.levels.iter().map(|level| (level.size[0], level.size[1])).collect();
        let spec = Deformable::uniform(self.cross_heads, self.points, REACH, &sizes, form);
        let scene = Scene::find(b, memory, &spec);
        let model = w.child("model");
        let mut x = self.first_queries(b, &model);
        let mut look = None;
        for layer in 0..self.layers {
            let (reference, position) = look.take().unwrap_or_else(|| {
                b.scoped("model", |b| {
                    b.scoped("decoder", |b| self.look(b, &model.child("decoder"), &boxes, &scene, &spec))
                })
            });
            let name = format!("model.decoder.layers.{layer}");
            x = w.scope(b, &name, |b, w| self.layer(b, w, &x, &position, memory, &scene, &reference, &spec));
            if !self.refines {
                look = Some((reference, position));
            } else if layer + 1 < self.layers {
                let moves = self.moves(b, w, &x);
                boxes = self.moved(b, &boxes, &moves);
            }
        }
        if self.registers > 0 {
            x = b.slice(&x, 1, 0, self.queries);
            boxes = b.slice(&boxes, 1, 0, self.queries);
        }
        if self.normalizes {
            x = w.scope(b, "model.decoder", |b, w| layer_norm(b, w, "layernorm", &x, EPSILON));
        }
        (x, boxes)
    }

    /// The learned queries `[1, queries, d_model]`, registers last.
    fn first_queries(&self, b: &mut Builder, w: &Weights) -> Value {
        let learned = first_rows(w, "query_feat.weight", self.queries, self.d_model);
        let learned = b.weight(&w.full("query_feat.weight"), learned);
        if self.registers == 0 {
            return learned;
        }
        let own = first_rows(w, "register_tokens", self.registers, self.d_model);
        let own = b.weight(&w.full("register_tokens"), own);
        b.concat(&[&learned, &own], 1)
    }

    /// Where the queries look, and what that makes their position.
    fn look(
        &self,
        b: &mut Builder,
        w: &Weights,
        boxes: &Value,
        scene: &Scene,
        spec: &Deformable,
    ) -> (Reference, Value) {
        let boxes = if self.form == BoxForm::Logits { b.sigmoid(boxes) } else { boxes.clone() };
        let reference = Reference::boxes(b, w, &boxes, scene.ratios.as_ref(), spec);
        let placed = match &scene.first_ratio {
            Some(ratio) => b.mul(&boxes, ratio),
            None => boxes,
        };
        let waves = box_sine(b, &placed, Sine::new(self.d_model));
        let position = mlp(b, w, "ref_point_head", &waves, &[self.d_model, self.d_model]);
        (reference, position)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one module, each used once")]
    fn layer(
        &self,
        b: &mut Builder,
        w: &Weights,
        x: &Value,
        position: &Value,
        memory: &Memory,
        scene: &Scene,
        reference: &Reference,
        spec: &Deformable,
    ) -> Value {
        let attended = w.scope(b, "self_attn", |b, w| self.attend(b, w, x, position));
        let x = b.add(x, &attended);
        let x = layer_norm(b, w, "self_attn_layer_norm", &x, EPSILON);

        let placed = b.add(&x, position);
        let valid = scene.valid.as_ref();
        let seen = deformable_attention(b, w, "cross_attn", &placed, &memory.cells, valid, reference, spec);
        let x = b.add(&x, &seen);
        let x = layer_norm(b, w, "cross_attn_layer_norm", &x, EPSILON);

        let fed = w.scope(b, "mlp", |b, w| {
            let inner = linear(b, w, "fc1", &x, self.ffn);
            let inner = self.activation.apply(b, &inner);
            linear(b, w, "fc2", &inner, self.d_model)
        });
        let x = b.add(&x, &fed);
        layer_norm(b, w, "layer_norm", &x, EPSILON)
    }

    /// Attention of the queries to each other; positions are added to what queries and keys are made of.
    fn attend(&self, b: &mut Builder, w: &Weights, x: &Value, position: &Value) -> Value {
        let placed = b.add(x, position);
        let mixed = if w.exact() {
            let [q, k, v] =
                [(0, &placed), (1, &placed), (2, x)].map(|(at, from)| self.project(b, w, from, &[(at, 1.0)]));
            attend(b, [&q, &k, &v], None, self.self_heads, false)
        } else {
            let (heads, head) = (self.self_heads as i64, self.self_head as i64);
            let factor = head_factor(self.self_heads * self.self_head, self.self_heads);
            let both = self.project(b, w, &placed, &[(0, factor), (1, 1.0)]);
            let both = b.reshape(&both, &[0, 0, 2 * heads, head]);
            let both = b.transpose(&both, &[0, 2, 1, 3]);
            let parts = b.split(&both, &[self.self_heads; 2], 1);
            let [q, k] = [0, 1].map(|at| parts.get(at).unwrap_or(&both));
            let k = b.transpose(k, &[0, 1, 3, 2]);
            let v = self.project(b, w, x, &[(2, 1.0)]);
            let v = b.reshape(&v, &[0, 0, heads, head]);
            let v = b.transpose(&v, &[0, 2, 1, 3]);
            let mixed = attend_heads(b, [q, &k, &v], &[], None);
            b.flatten_from(&mixed, 2)
        };
        self.linear_or_not(b, w, "o_proj", &mixed)
    }

    fn linear_or_not(&self, b: &mut Builder, w: &Weights, name: &str, x: &Value) -> Value {
        let project = if self.attention_bias { linear } else { crate::layers::unbiased_linear };
        project(b, w, name, x, self.d_model)
    }

    /// Some of queries (0), keys (1) and values (2), side by side, each multiplied by a factor.
    fn project(&self, b: &mut Builder, w: &Weights, x: &Value, parts: &[(usize, f32)]) -> Value {
        let names: Vec<&str> = parts.iter().map(|(part, _)| PROJECTIONS[*part]).collect();
        let name = names.join("_");
        let stored: Vec<_> =
            parts.iter().map(|(part, factor)| (self.projection(w, *part), *factor)).collect();
        let inner = self.self_heads * self.self_head;
        let weights = stored.iter().map(|((weight, _), factor)| (weight.clone(), *factor)).collect();
        let weight = b.weight(&w.full(&format!("{name}.weight")), side_by_side(weights));
        let biases = stored.into_iter().map(|((_, bias), factor)| (bias, factor)).collect();
        b.scoped(name.clone(), |b| {
            let product = b.matmul(x, &weight);
            if !self.attention_bias {
                return product;
            }
            let bias = b.weight(&w.full(&format!("{name}.bias")), end_to_end(biases, inner));
            b.add(&product, &bias)
        })
    }

    /// Weight and bias of queries (0), keys (1) or values (2): tensors of their own, or a third of one.
    fn projection(&self, w: &Weights, part: usize) -> (Tensor, Option<Tensor>) {
        let inner = self.self_heads * self.self_head;
        if w.shape("in_proj_weight").is_some() {
            let weight = w.tensor("in_proj_weight", &[3 * inner, self.d_model]);
            let bias = self.attention_bias.then(|| w.tensor("in_proj_bias", &[3 * inner]));
            let third = |tensor: &Tensor| rows_of(tensor, part * inner, inner);
            return (third(&weight), bias.as_ref().map(third));
        }
        let w = w.child(PROJECTIONS[part]);
        let bias = self.attention_bias.then(|| w.tensor("bias", &[inner]));
        (w.tensor("weight", &[inner, self.d_model]), bias)
    }
}

const PROJECTIONS: [&str; 3] = ["q_proj", "k_proj", "v_proj"];

/// Centres moved by parts of the size, sizes multiplied by an exponential.
fn relatively_moved(b: &mut Builder, boxes: &Pair, moves: &Pair) -> Pair {
    let shift = b.mul(&moves.centre, &boxes.size);
    let centre = b.add(&shift, &boxes.centre);
    let factor = b.exp(&moves.size);
    Pair { centre, size: b.mul(&factor, &boxes.size) }
}

/// The first `count` rows of a table, the first group's, as a batch of one.
fn first_rows(w: &Weights, name: &str, count: usize, width: usize) -> Tensor {
    let stored = w.shape(name).and_then(|shape| shape.first().copied());
    let table = w.tensor(name, &[stored.filter(|rows| *rows >= count).unwrap_or(count), width]);
    deferred_floats(&[1, count, width], move || floats(&table)[..count * width].to_vec())
}

/// What follows from the padding of the image.
struct Scene {
    /// 1 where a cell is image, `[batch, cells, 1]`.
    valid: Option<Value>,
    ratios: Option<LevelRatios>,
    /// The part of the finest level that is image, twice `[batch, 1, 4]`.
    first_ratio: Option<Value>,
}

impl Scene {
    fn find(b: &mut Builder, memory: &Memory, spec: &Deformable) -> Self {
        let all: Option<Vec<(Value, Value)>> =
            memory.levels.iter().map(|level| Some((level.is_image(b)?, level.valid_ratio(b)?))).collect();
        let Some(all) = all else { return Self { valid: None, ratios: None, first_ratio: None } };
        let valid: Vec<&Value> = all.iter().map(|(valid, _)| valid).collect();
        let valid = b.concat(&valid, 1);
        let valid = b.cast(&valid, graph::DataType::F32);
        let ratios: Vec<Value> = all.iter().map(|(_, ratio)| b.squeeze(ratio, 1)).collect();
        let first_ratio = ratios.first().map(|ratio| b.concat(&[ratio, ratio], -1));
        let ratios = b.concat(&ratios.iter().collect::<Vec<_>>(), 1);
        let ratios = Some(LevelRatios::new(b, &ratios, spec));
        Self { valid: Some(valid), ratios, first_ratio }
    }
}
