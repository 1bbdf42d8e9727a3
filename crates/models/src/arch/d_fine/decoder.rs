//! The decoder: each layer sharpens the distributions of the box edges, around an estimate that the first layer makes.

use graph::{Builder, Value};

use super::config::DFineConfig;
use super::distribution::Edges;
use super::layer::{Kind, Sources, decoder_layer};
use super::quality::rescore;
use crate::arch::rt_detr::decoder::{LARGEST_LOGIT, inverse_sigmoid, require_same_anchors, select};
use crate::arch::rt_detr::encoder::tokens;
use crate::config::CONFIG;
use crate::layers::{ConvNorm, Deformable, Memory, Reference, activated_mlp, conv_norm, linear, mlp};
use crate::weights::Weights;
use crate::{DeformableForm, Error};

/// To which the position of a query is kept.
const LARGEST_POSITION: f32 = 10.0;

/// The decoder's input and what it is built with.
pub(in crate::arch) struct Decoder<'a> {
    pub(in crate::arch) config: &'a DFineConfig,
    pub(in crate::arch) kind: Kind,
    pub(in crate::arch) form: DeformableForm,
    pub(in crate::arch) classes: usize,
    /// Height and width.
    pub(in crate::arch) image: (usize, usize),
}

impl Decoder<'_> {
    /// Class logits `[batch, queries, classes]` and boxes `[batch, queries, 4]` of the layer that counts.
    pub(in crate::arch) fn build(
        &self,
        b: &mut Builder,
        w: &Weights,
        pyramid: &[Value],
    ) -> Result<(Value, Value), Error> {
        let base = &self.config.base;
        let maps = self.project(b, w, pyramid)?;
        let levels: Vec<(usize, usize)> = maps.iter().map(|map| (map.size(2), map.size(3))).collect();
        if let Some(size) = base.anchor_image_size {
            require_same_anchors(base, size, &levels, self.image)?;
        }
        let attention = self.attention(&levels)?;
        let flat: Vec<Value> = maps.iter().map(|map| tokens(b, map)).collect();
        let cells = b.concat(&flat.iter().collect::<Vec<_>>(), 1);
        let (queries, logits) = select(b, w, base, &cells, &levels, self.classes)?;
        Ok(w.scope(b, "decoder", |b, w| {
            let memory = Memory::from_maps(b, &maps, &attention);
            self.decode(b, w, &attention, &memory, queries, &logits)
        }))
    }

    /// The maps that the decoder reads: those of the pyramid where they are wide enough, projected ones otherwise.
    fn project(&self, b: &mut Builder, w: &Weights, pyramid: &[Value]) -> Result<Vec<Value>, Error> {
        let base = &self.config.base;
        let levels = base.num_feature_levels;
        let Some(last) = pyramid.last().filter(|_| levels >= pyramid.len()) else {
            let expected = format!("at least {}, the levels of the encoder", pyramid.len());
            return Err(Error::unsupported(CONFIG, "num_feature_levels", levels, expected));
        };
        let project = |level: usize| {
            let source = pyramid.get(level).unwrap_or(last);
            if base.d_model == base.decoder_input_width {
                return source.clone();
            }
            let (kernel, stride) = if level < base.decoder_inputs { (1, 1) } else { (3, 2) };
            let names = if self.kind == Kind::DFine { ["0", "1"] } else { ["conv", "norm"] };
            let spec = ConvNorm {
                names,
                epsilon: base.batch_norm_eps,
                ..ConvNorm::new(base.d_model, kernel, stride)
            };
            w.scope(b, &format!("decoder_input_proj.{level}"), |b, w| conv_norm(b, w, source, spec))
        };
        Ok((0..levels).map(project).collect())
    }

    /// The sizes of the attention, without what each layer's own tensors say.
    fn attention(&self, levels: &[(usize, usize)]) -> Result<Deformable, Error> {
        let base = &self.config.base;
        let points = base.points(levels.len())?;
        let inverse = |points: &usize| vec![1.0 / *points as f32; *points];
        let scales = points.iter().flat_map(inverse).collect();
        Ok(Deformable {
            heads: base.decoder_attention_heads,
            points,
            scales,
            sampling: base.sampling,
            form: self.form,
            levels: levels.to_vec(),
        })
    }

    fn decode(
        &self,
        b: &mut Builder,
        w: &Weights,
        attention: &Deformable,
        memory: &Memory,
        queries: Value,
        logits: &Value,
    ) -> (Value, Value) {
        let config = self.config;
        let (d_model, layers) = (config.base.d_model, config.base.decoder_layers);
        let edges = Edges::read(w, config.max_num_bins);
        let corner_sizes = [d_model, d_model, 4 * config.bins()];
        let mut boxes = b.sigmoid(logits);
        let mut x = queries;
        let (mut estimate, mut shares) = (None, None);
        let mut earlier: Option<(Value, Value)> = None;
        for index in 0..=config.eval_idx {
            let position = self.position(b, w, &boxes);
            x = w.scope(b, &format!("layers.{index}"), |b, w| {
                let attention = self.with_own_scales(w, attention);
                let reference = &Reference::boxes(b, w, &boxes, None, &attention);
                let from = Sources { memory, position: &position, reference, attention: &attention };
                decoder_layer(b, w, config, self.kind, &x, &from)
            });
            let around = estimate.take().unwrap_or_else(|| {
                let moves = mlp(b, w, "pre_bbox_head", &x, &[d_model, d_model, 4]);
                let from = if w.exact() {
                    inverse_sigmoid(b, &boxes)
                } else {
                    b.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT)
                };
                let estimated = b.add(&moves, &from);
                let estimated = b.sigmoid(&estimated);
                Edges::around(b, w, &estimated)
            });
            let head = w.member("bbox_embed", index, layers, "layers.0.weight");
            let corners = match &earlier {
                None => mlp(b, w, &head, &x, &corner_sizes),
                Some((before, corners)) => {
                    let sum = b.add(&x, before);
                    let moves = mlp(b, w, &head, &sum, &corner_sizes);
                    b.add(&moves, corners)
                }
            };
            let likely = edges.shares(b, &corners);
            boxes = edges.boxes(b, w, &likely, &around);
            (estimate, shares) = (Some(around), Some(likely));
            earlier = Some((x.clone(), corners));
        }
        let class_head = w.member("class_embed", config.eval_idx, layers, "weight");
        let scores = linear(b, w, &class_head, &x, self.classes);
        let Some(shares) = shares else { return (scores, boxes) };
        let name = format!("lqe_layers.{}", config.eval_idx);
        (w.scope(b, &name, |b, w| rescore(b, w, config, &scores, &shares)), boxes)
    }

    /// What is added to the queries because of where they look.
    fn position(&self, b: &mut Builder, w: &Weights, boxes: &Value) -> Value {
        let width = self.config.base.d_model;
        let position = match self.kind {
            Kind::DFine => mlp(b, w, "query_pos_head", boxes, &[2 * width, width]),
            Kind::Deimv2 { .. } => {
                let activation = self.config.base.decoder_activation;
                activated_mlp(b, w, "query_pos_head", boxes, &[width; 3], activation)
            }
        };
        b.clip(&position, -LARGEST_POSITION, LARGEST_POSITION)
    }

    /// The inverse number of points is stored; what is stored counts.
    fn with_own_scales(&self, w: &Weights, attention: &Deformable) -> Deformable {
        let own = w.child("encoder_attn");
        let mut scales = attention.scales.clone();
        if own.shape("num_points_scale").is_some() {
            let stored = own.tensor("num_points_scale", &[scales.len()]);
            scales = stored.to_f32().unwrap_or_default();
        }
        let factor = self.config.base.decoder_offset_scale;
        let scales = scales.into_iter().map(|scale| scale * factor).collect();
        Deformable { scales, ..attention.clone() }
    }
}
