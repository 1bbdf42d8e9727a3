//! Multi-scale deformable attention: each query reads a few points around its box, on every level of a pyramid.
//!
//! Paper: <https://arxiv.org/abs/2010.04159>; RT-DETRv2 (<https://arxiv.org/abs/2407.17140>) adds the discrete form, which
//! reads the nearest cell instead of interpolating. Points are ordered level by level.

use graph::builder::Builder;
use graph::{DataType, Value};

use super::linear::scaled_linear;
use super::{linear, stored::RowScale};
use crate::weights::Weights;

/// How a point is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sampling {
    /// Bilinear, zero outside (`default`).
    Bilinear,
    /// The nearest cell, the border outside (`discrete`).
    Discrete,
}

/// The sizes of a deformable attention.
#[derive(Debug, Clone)]
pub(crate) struct Deformable {
    pub(crate) heads: usize,
    /// Points on each level.
    pub(crate) points: Vec<usize>,
    /// Factor of each point's offset, in widths and heights of the query's box; level by level.
    pub(crate) scales: Vec<f32>,
    pub(crate) sampling: Sampling,
    /// Height and width of each level.
    pub(crate) levels: Vec<(usize, usize)>,
}

/// The box of each query, centre and size apart: `[batch, queries, 1, 1, 2]` each, relative to the image.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    centre: Value,
    size: Value,
}

impl Reference {
    /// From boxes `[batch, queries, 4]` (centre, size).
    pub(crate) fn split(b: &mut Builder, boxes: &Value) -> Self {
        let parts = b.split(boxes, &[2, 2], -1);
        let [centre, size] = [0, 1].map(|at| b.unsqueeze(parts.get(at).unwrap_or(boxes), &[2, 3]));
        Self { centre, size }
    }
}

/// Attention of the queries `x` `[batch, queries, width]` to `memory` `[batch, cells, width]`.
pub(crate) fn deformable_attention(
    b: &mut Builder,
    w: &Weights,
    name: &str,
    x: &Value,
    memory: &Value,
    reference: &Reference,
    spec: &Deformable,
) -> Value {
    w.scope(b, name, |b, w| {
        let width = x.size(-1);
        let values = linear(b, w, "value_proj", memory, width);
        let shares = shares(b, w, x, spec);
        let mixed = match spec.sampling {
            Sampling::Bilinear => {
                let grid = places(b, w, x, reference, spec);
                bilinear(b, &values, &grid, &shares, spec)
            }
            Sampling::Discrete => {
                let places = places(b, w, x, reference, spec);
                discrete(b, &values, &places, &shares, spec)
            }
        };
        linear(b, w, "output_proj", &mixed, width)
    })
}

/// The share of each point: `[batch, heads, queries, points]`.
fn shares(b: &mut Builder, w: &Weights, x: &Value, spec: &Deformable) -> Value {
    let points: usize = spec.points.iter().sum();
    let scores = linear(b, w, "attention_weights", x, spec.heads * points);
    let scores = b.reshape(&scores, &[0, 0, spec.heads as i64, points as i64]);
    let shares = b.softmax(&scores, -1);
    b.transpose(&shares, &[0, 2, 1, 3])
}

/// Where each point lies: `[batch, queries, heads, points, 2]`, from 0 to 1 for the discrete form, from -1 to 1 for
/// `GridSample`.
fn places(b: &mut Builder, w: &Weights, x: &Value, reference: &Reference, spec: &Deformable) -> Value {
    let points: usize = spec.points.iter().sum();
    let out = spec.heads * points * 2;
    let grid = spec.sampling == Sampling::Bilinear;
    let shape = [0, 0, spec.heads as i64, points as i64, 2];
    if w.exact() {
        let offsets = linear(b, w, "sampling_offsets", x, out);
        let offsets = b.reshape(&offsets, &shape);
        let scales = b.floats(&[points, 1], spec.scales.clone());
        let offsets = b.mul(&offsets, &scales);
        let offsets = b.mul(&offsets, &reference.size);
        let places = b.add(&reference.centre, &offsets);
        return if grid { stretched(b, &places) } else { places };
    }
    // Factor and stretch to -1..1 are folded into the projection.
    let stretch = if grid { 2.0 } else { 1.0 };
    let each = spec.scales.iter().flat_map(|scale| [scale * stretch; 2]);
    let factors: Vec<f32> = std::iter::repeat_n(each, spec.heads).flatten().collect();
    let offsets = scaled_linear(b, w, "sampling_offsets", x, out, Some(RowScale::each(factors)));
    let offsets = b.reshape(&offsets, &shape);
    let offsets = b.mul(&offsets, &reference.size);
    let centre = if grid { stretched(b, &reference.centre) } else { reference.centre.clone() };
    b.add(&offsets, &centre)
}

/// From 0..1 to -1..1.
fn stretched(b: &mut Builder, x: &Value) -> Value {
    let (two, one) = (b.scalar(2.0), b.scalar(1.0));
    let doubled = b.mul(x, &two);
    b.sub(&doubled, &one)
}

fn bilinear(b: &mut Builder, values: &Value, grid: &Value, shares: &Value, spec: &Deformable) -> Value {
    let (width, queries) = (values.size(-1), grid.size(1) as i64);
    let head = (width / spec.heads.max(1)) as i64;
    let points: usize = spec.points.iter().sum();
    let cells: Vec<usize> = spec.levels.iter().map(|(height, width)| height * width).collect();

    // Heads become part of the batch.
    let values = b.transpose(values, &[0, 2, 1]);
    let values = b.reshape(&values, &[-1, head, cells.iter().sum::<usize>() as i64]);
    let grid = b.transpose(grid, &[0, 2, 1, 3, 4]);
    let grid = b.reshape(&grid, &[-1, queries, points as i64, 2]);
    let (maps, grids) = if spec.levels.len() == 1 {
        (vec![values], vec![grid])
    } else {
        (b.split(&values, &cells, 2), b.split(&grid, &spec.points, 2))
    };
    let mut samples = Vec::with_capacity(maps.len());
    for ((map, grid), (height, width)) in maps.iter().zip(&grids).zip(&spec.levels) {
        let map = b.reshape(map, &[0, 0, *height as i64, *width as i64]);
        samples.push(b.grid_sample(&map, grid));
    }
    let samples = b.concat(&samples.iter().collect::<Vec<_>>(), -1);

    let shares = b.reshape(shares, &[-1, 1, queries, points as i64]);
    let weighted = b.mul(&samples, &shares);
    let mixed = b.reduce_sum(&weighted, &[-1], false);
    let mixed = b.reshape(&mixed, &[-1, width as i64, queries]);
    b.transpose(&mixed, &[0, 2, 1])
}

fn discrete(b: &mut Builder, values: &Value, places: &Value, shares: &Value, spec: &Deformable) -> Value {
    let (width, queries) = (values.size(-1), places.size(1) as i64);
    let (heads, head) = (spec.heads as i64, (width / spec.heads.max(1)) as i64);
    let points: usize = spec.points.iter().sum();
    let cells: usize = spec.levels.iter().map(|(height, width)| height * width).sum();
    let rows = cell_numbers(b, places, spec);
    let rows = b.transpose(&rows, &[0, 2, 1, 3]);
    let rows = b.reshape(&rows, &[-1, queries * points as i64]);

    let values = b.reshape(values, &[0, 0, heads, head]);
    let values = b.transpose(&values, &[0, 2, 1, 3]);
    let values = b.reshape(&values, &[-1, cells as i64, head]);
    let samples = b.gather_rows(&values, &rows);
    let samples = b.reshape(&samples, &[0, queries, points as i64, head]);

    let shares = b.reshape(shares, &[-1, queries, 1, points as i64]);
    let mixed = b.matmul(&shares, &samples);
    let mixed = b.reshape(&mixed, &[-1, heads, queries, head]);
    let mixed = b.transpose(&mixed, &[0, 2, 1, 3]);
    b.reshape(&mixed, &[0, 0, width as i64])
}

/// The number, counted over all levels, of the cell that each point falls into: `[batch, queries, heads, points]`.
fn cell_numbers(b: &mut Builder, places: &Value, spec: &Deformable) -> Value {
    let (mut sizes, mut last, mut strides, mut starts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut start = 0;
    for ((height, width), points) in spec.levels.iter().zip(&spec.points) {
        for _ in 0..*points {
            sizes.extend([*width as f32, *height as f32]);
            last.extend([width.saturating_sub(1) as f32, height.saturating_sub(1) as f32]);
            strides.extend([1.0, *width as f32]);
            starts.push(start as f32);
        }
        start += height * width;
    }
    let points = starts.len();
    let [sizes, last, strides] = [sizes, last, strides].map(|values| b.floats(&[points, 2], values));
    let (half, zero) = (b.scalar(0.5), b.scalar(0.0));
    let scaled = b.mul(places, &sizes);
    let shifted = b.add(&scaled, &half);
    // Clamping before rounding down gives what the reference gets by truncating first, for negative numbers too.
    let inside = b.maximum(&shifted, &zero);
    let inside = b.minimum(&inside, &last);
    let cell = b.floor(&inside);
    let parts = b.mul(&cell, &strides);
    let number = b.reduce_sum(&parts, &[-1], false);
    let starts = b.floats(&[points], starts);
    let number = b.add(&number, &starts);
    b.cast(&number, DataType::I64)
}
