//! Where the points of deformable attention lie.

use graph::Value;
use graph::builder::Builder;

use super::{Deformable, Reference, Space};
use crate::layers::linear;
use crate::layers::linear::scaled_linear;
use crate::layers::stored::RowScale;
use crate::weights::Weights;

/// The place of each point, in the coordinates of `spec.space()`: `[batch, queries, heads, points, 2]` (x, y).
pub(super) fn places(
    b: &mut Builder,
    w: &Weights,
    x: &Value,
    reference: &Reference,
    spec: &Deformable,
) -> Value {
    let points = spec.all_points();
    let out = spec.heads * points * 2;
    let shape = [0, 0, spec.heads as i64, points as i64, 2];
    if w.exact() {
        let offsets = linear(b, w, "sampling_offsets", x, out);
        let offsets = b.reshape(&offsets, &shape);
        let offsets = if let Some(size) = &reference.size {
            let scales = b.floats(&[points, 1], spec.scales.clone());
            let offsets = b.mul(&offsets, &scales);
            b.mul(&offsets, size)
        } else {
            let sizes = spec.sizes(b);
            b.div(&offsets, &sizes)
        };
        let places = b.add(&reference.centre, &offsets);
        return placed(b, &places, spec);
    }
    let factors = factors(spec, reference.size.is_some());
    let offsets = scaled_linear(b, w, "sampling_offsets", x, out, Some(RowScale::each(factors)));
    let mut offsets = b.reshape(&offsets, &shape);
    if let Some(size) = &reference.size {
        offsets = b.mul(&offsets, size);
    }
    b.add(&offsets, &reference.centre)
}

/// What each row of the offsets' projection is multiplied by, so that it counts in the coordinates of the space.
fn factors(spec: &Deformable, boxes: bool) -> Vec<f32> {
    let scales: Vec<f32> = if boxes {
        spec.scales.iter().flat_map(|scale| [*scale; 2]).collect()
    } else {
        spec.by_point(|(height, width)| [1.0 / width as f32, 1.0 / height as f32])
    };
    let units: Vec<f32> = spec.by_point(|(height, width)| match spec.space() {
        Space::Unit => [1.0; 2],
        Space::Grid => [2.0; 2],
        Space::Cells => [width as f32, height as f32],
    });
    let each: Vec<f32> = scales.iter().zip(&units).map(|(scale, unit)| scale * unit).collect();
    each.repeat(spec.heads)
}

/// Places relative to the image `[…, points or 1, 2]` in the coordinates of the space.
pub(super) fn placed(b: &mut Builder, x: &Value, spec: &Deformable) -> Value {
    match spec.space() {
        Space::Unit => x.clone(),
        Space::Grid => {
            let (two, one) = (b.scalar(2.0), b.scalar(1.0));
            let doubled = b.mul(x, &two);
            b.sub(&doubled, &one)
        }
        Space::Cells => {
            let (sizes, half) = (spec.sizes(b), b.scalar(0.5));
            let cells = b.mul(x, &sizes);
            b.sub(&cells, &half)
        }
    }
}
