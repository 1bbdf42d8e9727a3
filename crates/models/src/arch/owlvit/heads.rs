//! The heads: how well each patch fits each query, and the box that each patch proposes.

use graph::{Builder, Value};

use crate::layers::{Activation, deferred_floats, joined_tensors, linear, side_by_side, sum_of, transposed};
use crate::weights::Weights;

/// What norms are kept away from zero by.
const EPSILON: f32 = 1e-6;

/// The similarity of patches `x` `[batch, patches, width]` and queries `[queries, size]`, shifted and scaled by what the
/// patch says: `[batch, patches, queries]`. Queries that do not count (`false` in `real`) get the least number.
pub(super) fn classes(b: &mut Builder, w: &Weights, x: &Value, queries: &Value, real: &[bool]) -> Value {
    w.scope(b, "class_head", |b, w| {
        let size = queries.size(-1);
        let queries = unit(b, queries, EPSILON);
        let queries = b.transpose(&queries, &[1, 0]);
        let one = b.scalar(1.0);
        let logits = if w.exact() {
            let features = linear(b, w, "dense0", x, size);
            let features = unit(b, &features, EPSILON);
            let similar = b.matmul(&features, &queries);
            let shift = linear(b, w, "logit_shift", x, 1);
            let scale = linear(b, w, "logit_scale", x, 1);
            let scale = b.elu(&scale);
            let scale = b.add(&scale, &one);
            let shifted = b.add(&similar, &shift);
            b.mul(&shifted, &scale)
        } else {
            // The three projections are one product; a patch's similarities are divided by its norm, not its features.
            let parts = joined(b, w, x, [("dense0", size), ("logit_shift", 1), ("logit_scale", 1)]);
            let parts = b.split(&parts, &[size, 1, 1], -1);
            let [features, shift, scale] = &parts[..] else { return x.clone() };
            let similar = b.matmul(features, &queries);
            let norm = b.reduce_l2(features, &[-1], true);
            let epsilon = b.scalar(EPSILON);
            let norm = b.add(&norm, &epsilon);
            let similar = b.div(&similar, &norm);
            let scale = b.elu(scale);
            let scale = b.add(&scale, &one);
            let shifted = b.add(&similar, shift);
            b.mul(&shifted, &scale)
        };
        masked(b, &logits, real)
    })
}

/// Vectors divided by their length, to which ε is added.
pub(super) fn unit(b: &mut Builder, x: &Value, epsilon: f32) -> Value {
    let mut norm = b.reduce_l2(x, &[-1], true);
    if epsilon > 0.0 {
        let epsilon = b.scalar(epsilon);
        norm = b.add(&norm, &epsilon);
    }
    b.div(x, &norm)
}

fn masked(b: &mut Builder, logits: &Value, real: &[bool]) -> Value {
    if real.iter().all(|real| *real) {
        return logits.clone();
    }
    let keep = b.floats(&[real.len()], real.iter().map(|real| f32::from(u8::from(*real))).collect());
    let least = real.iter().map(|real| if *real { 0.0 } else { f32::MIN });
    let least = b.floats(&[real.len()], least.collect());
    let logits = b.mul(logits, &keep);
    b.add(&logits, &least)
}

/// Linear layers of the same input, their results side by side.
fn joined(b: &mut Builder, w: &Weights, x: &Value, parts: [(&str, usize); 3]) -> Value {
    let inner = x.size(-1);
    let total = parts.iter().map(|(_, out)| out).sum();
    let weights = parts.map(|(name, out)| (w.child(name).tensor("weight", &[out, inner]), 1.0));
    let biases = parts.map(|(name, out)| w.child(name).tensor("bias", &[out]));
    let weight = b.weight(&w.full("joined.weight"), side_by_side(weights.to_vec()));
    let bias = b.weight(&w.full("joined.bias"), joined_tensors(biases.to_vec(), &[total]));
    b.scoped("joined", |b| {
        let product = b.matmul(x, &weight);
        b.add(&product, &bias)
    })
}

/// The box of each patch `[batch, patches, 4]`: centre and size, relative to the image.
pub(super) fn boxes(b: &mut Builder, w: &Weights, x: &Value, grid: [usize; 2]) -> Value {
    let width = x.size(-1);
    let patches = grid[0] * grid[1];
    w.scope(b, "box_head", |b, w| {
        let mut x = x.clone();
        for name in ["dense0", "dense1"] {
            x = linear(b, w, name, &x, width);
            x = Activation::Gelu.apply(b, &x);
        }
        let place = deferred_floats(&[1, patches, 4], move || box_bias(grid));
        let logits = if w.exact() {
            let moves = linear(b, w, "dense2", &x, 4);
            let place = b.weight(&w.full("box_bias"), place);
            b.add(&moves, &place)
        } else {
            w.scope(b, "dense2", |b, w| {
                let weight = w.constant(b, "weight", &[4, width], |weight| transposed(weight, None));
                let bias = sum_of(place, w.tensor("bias", &[4]));
                let bias = b.weight(&w.full("bias"), bias);
                let product = b.matmul(&x, &weight);
                b.add(&product, &bias)
            })
        };
        b.sigmoid(&logits)
    })
}

/// Logits of a box in the lower right corner of each patch, as large as a patch; four numbers a patch.
fn box_bias([rows, columns]: [usize; 2]) -> Vec<f32> {
    let logit = |x: f32| (x + 1e-4).ln() - (1e-4 - x).ln_1p();
    let size = [logit(1.0 / columns as f32), logit(1.0 / rows as f32)];
    let mut bias = Vec::with_capacity(rows * columns * 4);
    for row in 1..=rows {
        for column in 1..=columns {
            bias.extend([logit(column as f32 / columns as f32), logit(row as f32 / rows as f32)]);
            bias.extend(size);
        }
    }
    bias
}
