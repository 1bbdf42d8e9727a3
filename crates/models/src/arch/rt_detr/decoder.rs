//! Query selection and the decoder: the best cells become queries, and each layer moves their boxes.

use graph::{Builder, Value};

use super::anchors::{BoxShape, shaped_anchors};
use super::config::{Generation, RtDetrConfig};
use super::encoder::{PROJECTIONS, fed, tokens};
use crate::config::CONFIG;
use crate::layers::{
    Attention, ConvNorm, Deformable, Reference, Sampling, conv_norm, deferred_floats, deformable_attention,
    layer_norm, linear, mlp, self_attention,
};
use crate::weights::Weights;
use crate::{DeformableForm, Error};

/// The inverse sigmoid of the smallest number that the reference lets through, 1e-5.
pub(in crate::arch) const LARGEST_LOGIT: f32 = 11.512_925;
/// Smallest number that the reference takes the inverse sigmoid of.
const EPSILON: f32 = 1e-5;
/// Logit of an anchor that does not count: its sigmoid is 1, as that of the reference's largest float, and it stays
/// finite in half precision.
pub(in crate::arch) const MASKED: f32 = 1e4;

/// The maps that the decoder reads: each level of the pyramid projected, and coarser ones made of the last.
fn project(
    b: &mut Builder,
    w: &Weights,
    config: &RtDetrConfig,
    pyramid: &[Value],
) -> Result<Vec<Value>, Error> {
    let levels = config.num_feature_levels;
    if levels < pyramid.len() {
        let expected = format!("at least {}, the levels of the encoder", pyramid.len());
        return Err(Error::unsupported(CONFIG, "num_feature_levels", levels, expected));
    }
    let last = &pyramid[pyramid.len() - 1];
    Ok((0..levels)
        .map(|level| {
            let (kernel, stride) = if level < config.decoder_inputs { (1, 1) } else { (3, 2) };
            let spec = ConvNorm {
                names: ["0", "1"],
                epsilon: config.batch_norm_eps,
                ..ConvNorm::new(config.d_model, kernel, stride)
            };
            let source = pyramid.get(level).unwrap_or(last);
            w.scope(b, &format!("decoder_input_proj.{level}"), |b, w| conv_norm(b, w, source, spec))
        })
        .collect())
}

/// Anchors for another image size only work when they come out the same.
pub(in crate::arch) fn require_same_anchors(
    config: &RtDetrConfig,
    (height, width): (usize, usize),
    levels: &[(usize, usize)],
    image: (usize, usize),
) -> Result<(), Error> {
    let expected: Vec<(usize, usize)> =
        config.feat_strides.iter().map(|stride| (height / stride, width / stride)).collect();
    if expected == levels {
        return Ok(());
    }
    let wanted = format!("null, or the input size {}×{} with fitting `feat_strides`", image.0, image.1);
    Err(Error::unsupported(CONFIG, "anchor_image_size", format!("{height}×{width}"), wanted))
}

/// The best cells.
pub(in crate::arch) struct Chosen {
    /// What the encoder says about them `[batch, queries, d_model]`.
    pub(in crate::arch) rows: Value,
    /// Their boxes as logits `[batch, queries, numbers]`.
    pub(in crate::arch) logits: Value,
}

impl Chosen {
    /// What the decoder starts from: the rows, or queries that are learned.
    pub(in crate::arch) fn queries(&self, b: &mut Builder, w: &Weights, config: &RtDetrConfig) -> Value {
        if !config.learn_initial_query {
            return self.rows.clone();
        }
        let shape = [config.num_queries, config.d_model];
        let learned = w.child("weight_embedding").tensor("weight", &shape);
        let learned = deferred_floats(&[1, shape[0], shape[1]], move || {
            learned.to_f32().expect("`Weights` hands out floating-point tensors only")
        });
        let learned = b.weight(&w.full("weight_embedding.weight"), learned);
        b.expand_batch(&learned, &self.rows)
    }
}

/// The best cells of `memory`: what the decoder starts from `[batch, queries, d_model]`, and their boxes as logits
/// `[batch, queries, 4]`.
pub(in crate::arch) fn select(
    b: &mut Builder,
    w: &Weights,
    config: &RtDetrConfig,
    memory: &Value,
    levels: &[(usize, usize)],
    classes: usize,
) -> Result<(Value, Value), Error> {
    let chosen = choose(b, w, config, memory, levels, classes, BoxShape::Rectangle)?;
    Ok((chosen.queries(b, w, config), chosen.logits))
}

/// The best cells of `memory` `[batch, cells, d_model]`.
pub(in crate::arch) fn choose(
    b: &mut Builder,
    w: &Weights,
    config: &RtDetrConfig,
    memory: &Value,
    levels: &[(usize, usize)],
    classes: usize,
    shape: BoxShape,
) -> Result<Chosen, Error> {
    let cells = memory.size(1);
    if cells < config.num_queries {
        let expected = format!("at most {cells}, the cells of this input size");
        return Err(Error::unsupported(CONFIG, "num_queries", config.num_queries, expected));
    }
    let masked = if w.exact() { f32::MAX } else { MASKED };
    let valid = shaped_anchors(levels, shape, masked).valid;
    let kept = if valid.iter().all(|valid| *valid) {
        memory.clone()
    } else {
        let mask = valid.iter().map(|valid| f32::from(u8::from(*valid))).collect();
        let mask = b.floats(&[1, cells, 1], mask);
        b.mul(memory, &mask)
    };
    let candidates = w.scope(b, "enc_output", |b, w| {
        let x = linear(b, w, "0", &kept, config.d_model);
        layer_norm(b, w, "1", &x, config.layer_norm_eps)
    });
    let scores = linear(b, w, "enc_score_head", &candidates, classes);
    let best = b.reduce_max(&scores, &[-1], false);
    let (_, chosen) = b.top_k(&best, config.num_queries, 1);

    let rows = b.gather_rows(&candidates, &chosen);
    let d_model = config.d_model;
    let offsets = mlp(b, w, "enc_bbox_head", &rows, &[d_model, d_model, shape.numbers()]);
    let own = levels.to_vec();
    let table =
        deferred_floats(&[cells, shape.numbers()], move || shaped_anchors(&own, shape, masked).logits);
    let table = b.weight(&w.full("anchors"), table);
    let nearby = b.gather(&table, &chosen, 0);
    let logits = b.add(&offsets, &nearby);
    Ok(Chosen { rows, logits })
}

/// What all layers of the decoder share.
pub(in crate::arch) struct Decoder<'a> {
    pub(in crate::arch) config: &'a RtDetrConfig,
    generation: Generation,
    /// The sizes of the attention, without what each layer's own tensors say.
    attention: Deformable,
    /// All cells of the maps `[batch, cells, d_model]`.
    pub(in crate::arch) memory: Value,
}

impl<'a> Decoder<'a> {
    /// A decoder of the levels of a pyramid, for images of this height and width.
    pub(in crate::arch) fn new(
        b: &mut Builder,
        w: &Weights,
        config: &'a RtDetrConfig,
        generation: Generation,
        pyramid: &[Value],
        image: (usize, usize),
        form: DeformableForm,
    ) -> Result<Self, Error> {
        let maps = project(b, w, config, pyramid)?;
        let levels: Vec<(usize, usize)> = maps.iter().map(|map| (map.size(2), map.size(3))).collect();
        let attention = deformable(config, generation, &levels, form)?;
        if let Some(size) = config.anchor_image_size {
            require_same_anchors(config, size, &levels, image)?;
        }
        let flat: Vec<Value> = maps.iter().map(|map| tokens(b, map)).collect();
        let memory = b.concat(&flat.iter().collect::<Vec<_>>(), 1);
        Ok(Self { config, generation, attention, memory })
    }

    /// The best cells.
    pub(in crate::arch) fn choose(
        &self,
        b: &mut Builder,
        w: &Weights,
        classes: usize,
        shape: BoxShape,
    ) -> Result<Chosen, Error> {
        choose(b, w, self.config, &self.memory, &self.attention.levels, classes, shape)
    }

    /// The queries `x` and their boxes behind the last layer. `around` says what a layer's attention looks at, from the
    /// boxes; `moves` by how much the box logits change, from the layer's index and its queries.
    pub(in crate::arch) fn refine(
        &self,
        b: &mut Builder,
        w: &Weights,
        (mut x, mut logits): (Value, Value),
        around: impl Fn(&mut Builder, &Weights, &Value, &Deformable) -> Reference,
        moves: impl Fn(&mut Builder, &Weights, usize, &Value) -> Value,
    ) -> (Value, Value) {
        let d_model = self.config.d_model;
        let mut boxes = b.sigmoid(&logits);
        for index in 0..self.config.decoder_layers {
            let position = mlp(b, w, "query_pos_head", &boxes, &[2 * d_model, d_model]);
            x = w.scope(b, &format!("layers.{index}"), |b, w| {
                let attention = self.with_own_scales(w);
                let reference = around(b, w, &boxes, &attention);
                self.layer(b, w, &attention, &x, &position, &reference)
            });
            let moves = moves(b, w, index, &x);
            let from = if w.exact() {
                inverse_sigmoid(b, &boxes)
            } else {
                b.clip(&logits, -LARGEST_LOGIT, LARGEST_LOGIT)
            };
            logits = b.add(&moves, &from);
            boxes = b.sigmoid(&logits);
        }
        (x, boxes)
    }

    /// RT-DETRv2 stores the inverse number of points; what is stored counts.
    fn with_own_scales(&self, w: &Weights) -> Deformable {
        let own = w.child("encoder_attn");
        let points = self.attention.scales.len();
        if self.generation == Generation::First || own.shape("n_points_scale").is_none() {
            return self.attention.clone();
        }
        let stored = own.tensor("n_points_scale", &[points]).to_f32().unwrap_or_default();
        let scales = stored.into_iter().map(|scale| scale * self.config.decoder_offset_scale).collect();
        Deformable { scales, ..self.attention.clone() }
    }

    fn layer(
        &self,
        b: &mut Builder,
        w: &Weights,
        attention: &Deformable,
        x: &Value,
        position: &Value,
        reference: &Reference,
    ) -> Value {
        let config = self.config;
        let epsilon = config.layer_norm_eps;
        let spec = Attention { heads: config.decoder_attention_heads, names: PROJECTIONS };
        let attended = self_attention(b, w, "self_attn", x, Some(position), spec);
        let x = b.add(x, &attended);
        let x = layer_norm(b, w, "self_attn_layer_norm", &x, epsilon);

        let placed = b.add(&x, position);
        let memory = &self.memory;
        let seen = deformable_attention(b, w, "encoder_attn", &placed, memory, None, reference, attention);
        let x = b.add(&x, &seen);
        let x = layer_norm(b, w, "encoder_attn_layer_norm", &x, epsilon);

        let sizes = [config.decoder_ffn_dim, config.d_model];
        let fed = fed(b, w, config, &x, sizes, config.decoder_activation);
        let x = b.add(&x, &fed);
        layer_norm(b, w, "final_layer_norm", &x, epsilon)
    }
}

/// The sizes of the attention to levels of these heights and widths.
fn deformable(
    config: &RtDetrConfig,
    generation: Generation,
    levels: &[(usize, usize)],
    form: DeformableForm,
) -> Result<Deformable, Error> {
    if generation == Generation::Second && config.decoder_n_levels != levels.len() {
        let expected = format!("{}, as `num_feature_levels`", levels.len());
        return Err(Error::unsupported(CONFIG, "decoder_n_levels", config.decoder_n_levels, expected));
    }
    let points = config.points(levels.len())?;
    let (factor, sampling) = match generation {
        Generation::First => (0.5, Sampling::Bilinear),
        Generation::Second => (config.decoder_offset_scale, config.sampling),
    };
    let scales = points.iter().flat_map(|points| vec![factor / *points as f32; *points]).collect();
    let heads = config.decoder_attention_heads;
    Ok(Deformable { heads, points, scales, sampling, form, levels: levels.to_vec() })
}

/// Class logits `[batch, queries, classes]` and boxes `[batch, queries, 4]` of the last layer.
pub(in crate::arch) fn build(
    b: &mut Builder,
    w: &Weights,
    decoder: &Decoder<'_>,
    classes: usize,
) -> Result<(Value, Value), Error> {
    let config = decoder.config;
    let d_model = config.d_model;
    let chosen = decoder.choose(b, w, classes, BoxShape::Rectangle)?;
    let start = (chosen.queries(b, w, config), chosen.logits);
    Ok(w.scope(b, "decoder", |b, w| {
        let around = |b: &mut Builder, w: &Weights, boxes: &Value, attention: &Deformable| {
            Reference::boxes(b, w, boxes, None, attention)
        };
        let moves = |b: &mut Builder, w: &Weights, index: usize, x: &Value| {
            mlp(b, w, &format!("bbox_embed.{index}"), x, &[d_model, d_model, 4])
        };
        let (x, boxes) = decoder.refine(b, w, start, around, moves);
        let last = format!("class_embed.{}", config.decoder_layers - 1);
        (linear(b, w, &last, &x, classes), boxes)
    }))
}

/// `log(x / (1 - x))` with both parts at least [`EPSILON`].
pub(in crate::arch) fn inverse_sigmoid(b: &mut Builder, x: &Value) -> Value {
    let (epsilon, one) = (b.scalar(EPSILON), b.scalar(1.0));
    let part = b.maximum(x, &epsilon);
    let rest = b.sub(&one, x);
    let rest = b.maximum(&rest, &epsilon);
    let odds = b.div(&part, &rest);
    b.log(&odds)
}
