//! Transformers of the library: `AIFI` (RT-DETR's encoder), `C3TR`, and `torch.nn.MultiheadAttention`, whose three
//! projections lie in one matrix.

use std::ops::Range;

use graph::{Builder, Tensor, Value};

use super::module::Layer;
use crate::Error;
use crate::layers::{
    RowScale, attend, deferred_floats, floats, head_factor, layer_norm, linear, rescaled, sine_positions,
    transposed, unbiased_linear,
};

/// Temperature of the positions, which the library does not change.
const TEMPERATURE: f64 = 10_000.0;

/// A `MultiheadAttention` with its projections in one matrix.
pub(super) struct Packed<'a> {
    layer: Layer<'a>,
    heads: usize,
    width: usize,
}

/// Which of the three projections.
pub(super) const QUERIES: usize = 0;
pub(super) const VALUES: usize = 2;

impl<'a> Packed<'a> {
    pub(super) fn new(layer: Layer<'a>, width: usize) -> Result<Self, Error> {
        if layer.kind() != "MultiheadAttention" {
            return Err(layer.unsupported("MultiheadAttention"));
        }
        let heads = layer.divisor("num_heads")?;
        if width == 0 || !width.is_multiple_of(heads) {
            return Err(layer.unusable("num_heads", &format!("a divisor of {width}")));
        }
        if !layer.flag_or("_qkv_same_embed_dim", true) || layer.flag_or("add_zero_attn", false) {
            return Err(layer.unsupported("an attention with queries, keys and values of one width"));
        }
        Ok(Self { layer, heads, width })
    }

    /// The projections `which` of `x` `[batch, tokens, width]`.
    pub(super) fn project(&self, b: &mut Builder, which: Range<usize>, x: &Value) -> Vec<Value> {
        let (w, width) = (&self.layer.w, self.width);
        let rows = which.start * width..which.end * width;
        let matrix = self.matrix(rows.clone());
        let bias = rescaled(self.bias(rows.clone()), self.scale(&which));
        let name = ["q", "k", "v"][which.clone()].concat();
        let matrix = transposed(matrix, self.scale(&which));
        let matrix = b.weight(&w.full(&format!("in_proj_weight.{name}")), matrix);
        let bias = b.weight(&w.full(&format!("in_proj_bias.{name}")), bias);
        let product = b.matmul(x, &matrix);
        let sum = b.add(&product, &bias);
        thirds(b, &sum, self.width)
    }

    /// Queries, keys and values of `x` where `position` `[tokens, width]` is added to what queries and keys are made
    /// of: what it contributes is a constant.
    fn project_placed(&self, b: &mut Builder, x: &Value, position: Tensor) -> Vec<Value> {
        let (w, width) = (&self.layer.w, self.width);
        let all = 0..3 * width;
        let matrix = transposed(self.matrix(all.clone()), self.scale(&(0..3)));
        let bias = rescaled(self.bias(all), self.scale(&(0..3)));
        let (rows, tokens) = (matrix.clone(), x.size(1));
        let table = deferred_floats(&[1, tokens, 3 * width], move || {
            let (matrix, position, bias) = (floats(&rows), floats(&position), floats(&bias));
            let mut table = Vec::with_capacity(tokens * 3 * width);
            for place in position.chunks_exact(width) {
                let mut sums: Vec<f64> = bias.iter().map(|bias| f64::from(*bias)).collect();
                for (element, row) in place.iter().zip(matrix.chunks_exact(3 * width)) {
                    for (sum, weight) in sums[..2 * width].iter_mut().zip(row) {
                        *sum += f64::from(*element) * f64::from(*weight);
                    }
                }
                table.extend(sums.into_iter().map(|sum| sum as f32));
            }
            table
        });
        let matrix = b.weight(&w.full("in_proj_weight"), matrix);
        let table = b.weight(&w.full("in_proj_bias"), table);
        let product = b.matmul(x, &matrix);
        let sum = b.add(&product, &table);
        thirds(b, &sum, self.width)
    }

    /// The result of attention, projected.
    pub(super) fn mix(&self, b: &mut Builder, qkv: [&Value; 3]) -> Value {
        let mixed = attend(b, qkv, None, self.heads, !self.layer.w.exact());
        linear(b, &self.layer.w, "out_proj", &mixed, self.width)
    }

    fn matrix(&self, rows: Range<usize>) -> Tensor {
        let whole = self.layer.w.tensor("in_proj_weight", &[3 * self.width, self.width]);
        let width = self.width;
        deferred_floats(&[rows.len(), width], move || {
            floats(&whole)[rows.start * width..rows.end * width].to_vec()
        })
    }

    fn bias(&self, rows: Range<usize>) -> Tensor {
        let whole = self.layer.w.tensor("in_proj_bias", &[3 * self.width]);
        deferred_floats(&[rows.len()], move || floats(&whole)[rows.clone()].to_vec())
    }

    /// The factor of the scores, which goes into the queries.
    fn scale(&self, which: &Range<usize>) -> Option<RowScale> {
        let factor = head_factor(self.width, self.heads);
        let of = |at: usize| if at == QUERIES { factor } else { 1.0 };
        (!self.layer.w.exact())
            .then(|| RowScale::each(which.clone().flat_map(|at| vec![of(at); self.width]).collect()))
    }
}

/// Parts of one width.
fn thirds(b: &mut Builder, x: &Value, width: usize) -> Vec<Value> {
    let count = x.size(-1) / width.max(1);
    if count == 1 { vec![x.clone()] } else { b.split(x, &vec![width; count], -1) }
}

/// A map `[batch, channels, height, width]` as tokens `[batch, height × width, channels]`.
pub(super) fn tokens(b: &mut Builder, map: &Value) -> Value {
    let flat = b.flatten_from(map, 2);
    b.transpose(&flat, &[0, 2, 1])
}

fn as_map(b: &mut Builder, tokens: &Value, like: &Value) -> Value {
    let x = b.transpose(tokens, &[0, 2, 1]);
    b.reshape(&x, &[0, 0, like.size(2) as i64, like.size(3) as i64])
}

/// The normalization over channels of this name.
pub(super) fn normalized(b: &mut Builder, layer: &Layer<'_>, name: &str, x: &Value) -> Result<Value, Error> {
    let norm = layer.child(name)?;
    if norm.kind() != "LayerNorm" {
        return Err(norm.unsupported("LayerNorm"));
    }
    let epsilon = norm.float_or("eps", 1e-5) as f32;
    Ok(layer_norm(b, &layer.w, name, x, epsilon))
}

/// A linear layer with a bias; its width is read from the file.
pub(super) fn dense(b: &mut Builder, layer: &Layer<'_>, name: &str, x: &Value) -> Result<Value, Error> {
    let part = layer.child(name)?;
    if part.kind() != "Linear" {
        return Err(part.unsupported("Linear"));
    }
    let out = part.divisor("out_features")?;
    if part.w.shape("bias").is_none() {
        return Ok(unbiased_linear(b, &layer.w, name, x, out));
    }
    Ok(linear(b, &layer.w, name, x, out))
}

/// `AIFI`: one layer of a transformer over the cells of a map.
pub(super) fn aifi(b: &mut Builder, layer: &Layer<'_>, map: &Value) -> Result<Value, Error> {
    let before = layer.flag_or("normalize_before", false);
    let width = map.size(1);
    if !width.is_multiple_of(4) {
        return Err(layer.unsupported("a width that is a multiple of 4"));
    }
    let x = tokens(b, map);
    let position = sine_positions(map.size(2), map.size(3), width, TEMPERATURE);
    let seen = if before { normalized(b, layer, "norm1", &x)? } else { x.clone() };

    let ma = Packed::new(layer.child("ma")?, width)?;
    let attended = b.scoped("ma", |b| {
        let qkv = if layer.w.exact() {
            let position = b.weight(&layer.w.full("position"), position);
            let placed = b.add(&seen, &position);
            let mut qkv = ma.project(b, QUERIES..VALUES, &placed);
            qkv.extend(ma.project(b, VALUES..VALUES + 1, &seen));
            qkv
        } else {
            ma.project_placed(b, &seen, position)
        };
        ma.mix(b, std::array::from_fn(|at| qkv.get(at).unwrap_or(&seen)))
    });
    let mut x = b.add(&x, &attended);
    if !before {
        x = normalized(b, layer, "norm1", &x)?;
    }
    let seen = if before { normalized(b, layer, "norm2", &x)? } else { x.clone() };
    let fed = dense(b, layer, "fc1", &seen)?;
    let fed = layer.apply(b, "act", &fed)?;
    let fed = dense(b, layer, "fc2", &fed)?;
    x = b.add(&x, &fed);
    if !before {
        x = normalized(b, layer, "norm2", &x)?;
    }
    Ok(as_map(b, &x, map))
}

/// `TransformerBlock` of `C3TR`.
pub(super) fn transformer_block(b: &mut Builder, layer: &Layer<'_>, map: &Value) -> Result<Value, Error> {
    let map = if layer.optional("conv").is_some() { layer.apply(b, "conv", map)? } else { map.clone() };
    let x = tokens(b, &map);
    let places = dense(b, layer, "linear", &x)?;
    let mut x = b.add(&x, &places);
    let layers = layer.child("tr")?;
    for name in layers.names() {
        let part = layers.child(name)?;
        x = b.scoped(format!("tr/{name}"), |b| transformer_layer(b, &part, &x))?;
    }
    Ok(as_map(b, &x, &map))
}

/// A layer without normalizations; the projections of its attention come after linear layers of its own.
fn transformer_layer(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let ma = Packed::new(layer.child("ma")?, x.size(-1))?;
    let mut qkv = Vec::with_capacity(3);
    for (at, name) in ["q", "k", "v"].into_iter().enumerate() {
        let own = dense(b, layer, name, x)?;
        qkv.extend(b.scoped("ma", |b| ma.project(b, at..at + 1, &own)));
    }
    let attended = b.scoped("ma", |b| ma.mix(b, std::array::from_fn(|at| qkv.get(at).unwrap_or(x))));
    let x = b.add(&attended, x);
    let fed = dense(b, layer, "fc1", &x)?;
    let fed = dense(b, layer, "fc2", &fed)?;
    Ok(b.add(&fed, &x))
}
