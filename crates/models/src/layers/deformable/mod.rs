//! Multi-scale deformable attention: each query reads a few points around its box, or its place, on every level of a
//! pyramid.
//!
//! Paper: <https://arxiv.org/abs/2010.04159>; RT-DETRv2 (<https://arxiv.org/abs/2407.17140>) adds the discrete form, which
//! reads the nearest cell instead of interpolating. Points are ordered level by level.

mod cells;
mod memory;
mod places;
mod reference;

use graph::Value;
use graph::builder::Builder;

use super::linear;
use crate::DeformableForm;
use crate::weights::Weights;

pub(crate) use memory::Memory;
pub(crate) use reference::{LevelRatios, Reference};

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
    /// Factor of each point's offset, in widths and heights of the query's box; level by level. Offsets from a point
    /// count cells of their level and have no factor.
    pub(crate) scales: Vec<f32>,
    pub(crate) sampling: Sampling,
    pub(crate) form: DeformableForm,
    /// Height and width of each level.
    pub(crate) levels: Vec<(usize, usize)>,
}

/// The coordinates that points are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Space {
    /// From 0 to 1.
    Unit,
    /// From -1 to 1, as `GridSample` wants them.
    Grid,
    /// Cells of the point's level; the middle of the first is 0.
    Cells,
}

impl Deformable {
    /// `points` on each level, whose offsets count in `factor / points` of the box.
    pub(crate) fn uniform(
        heads: usize,
        points: usize,
        factor: f32,
        levels: &[(usize, usize)],
        form: DeformableForm,
    ) -> Self {
        Self {
            heads,
            points: vec![points; levels.len()],
            scales: vec![factor / points as f32; points * levels.len()],
            sampling: Sampling::Bilinear,
            form,
            levels: levels.to_vec(),
        }
    }

    fn space(&self) -> Space {
        match (self.sampling, self.form) {
            (Sampling::Discrete, _) => Space::Unit,
            (Sampling::Bilinear, DeformableForm::GridSample) => Space::Grid,
            (Sampling::Bilinear, DeformableForm::Gather) => Space::Cells,
        }
    }

    fn all_points(&self) -> usize {
        self.points.iter().sum()
    }

    fn cells(&self) -> usize {
        self.levels.iter().map(|(height, width)| height * width).sum()
    }

    /// The level of each point.
    fn level_of_points(&self) -> Vec<usize> {
        let levels = self.points.iter().enumerate();
        levels.flat_map(|(level, points)| std::iter::repeat_n(level, *points)).collect()
    }

    /// Something about the level of each point, for x and y: `[points, 2]`.
    fn by_point<T>(&self, of: impl Fn((usize, usize)) -> [T; 2]) -> Vec<T> {
        self.level_of_points().into_iter().flat_map(|level| of(self.levels[level])).collect()
    }

    /// Width and height of the level of each point `[points, 2]`.
    fn sizes(&self, b: &mut Builder) -> Value {
        let sizes = self.by_point(|(height, width)| [width as f32, height as f32]);
        b.floats(&[self.all_points(), 2], sizes)
    }
}

/// Attention of the queries `x` `[batch, queries, width]` to `memory` `[batch, cells, width]`, with projections
/// `value_proj` and `output_proj`. Where `valid` `[batch, cells, 1]` is 0 (elsewhere it is 1), zeros are read.
#[expect(clippy::too_many_arguments, reason = "the parts of one module, each used once")]
pub(crate) fn deformable_attention(
    b: &mut Builder,
    w: &Weights,
    name: &str,
    x: &Value,
    memory: &Value,
    valid: Option<&Value>,
    reference: &Reference,
    spec: &Deformable,
) -> Value {
    w.scope(b, name, |b, w| {
        let width = x.size(-1);
        let mut values = linear(b, w, "value_proj", memory, width);
        if let Some(valid) = valid {
            values = b.mul(&values, valid);
        }
        let memory = Memory::from_cells(b, &values, spec);
        let mixed = read(b, w, x, &memory, reference, spec);
        linear(b, w, "output_proj", &mixed, width)
    })
}

/// The same without the two projections (D-FINE), so that layers share one memory.
pub(crate) fn bare_deformable_attention(
    b: &mut Builder,
    w: &Weights,
    name: &str,
    x: &Value,
    memory: &Memory,
    reference: &Reference,
    spec: &Deformable,
) -> Value {
    w.scope(b, name, |b, w| read(b, w, x, memory, reference, spec))
}

/// What the queries read `[batch, queries, width]`.
fn read(
    b: &mut Builder,
    w: &Weights,
    x: &Value,
    memory: &Memory,
    reference: &Reference,
    spec: &Deformable,
) -> Value {
    let places = places::places(b, w, x, reference, spec);
    let shares = shares(b, w, x, spec);
    memory.read(b, &places, &shares, spec)
}

/// The share of each point: `[batch, heads, queries, points]`.
fn shares(b: &mut Builder, w: &Weights, x: &Value, spec: &Deformable) -> Value {
    let points = spec.all_points();
    let scores = linear(b, w, "attention_weights", x, spec.heads * points);
    let scores = b.reshape(&scores, &[0, 0, spec.heads as i64, points as i64]);
    let shares = b.softmax(&scores, -1);
    b.transpose(&shares, &[0, 2, 1, 3])
}
