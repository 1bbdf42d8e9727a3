//! What the points of deformable attention lie around: the queries' boxes, points, or the cells themselves.

use graph::Value;
use graph::builder::Builder;

use super::places::placed;
use super::{Deformable, Space};
use crate::layers::deferred_floats;
use crate::weights::Weights;

/// The place of each query `[batch, queries, 1, points or 1, 2]`, with the size of its box where it has one.
///
/// Relative to the image in an exact graph, in the coordinates of the space otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    pub(super) centre: Value,
    /// Relative to the image always.
    pub(super) size: Option<Value>,
}

/// Which part of each level is image and not padding, for x and y.
#[derive(Debug, Clone)]
pub(crate) struct LevelRatios {
    levels: Value,
    points: Value,
}

impl LevelRatios {
    /// From `[batch, levels, 2]` (of the width, of the height).
    pub(crate) fn new(b: &mut Builder, levels: &Value, spec: &Deformable) -> Self {
        let points =
            if spec.levels.len() == 1 { levels.clone() } else { b.take(levels, &spec.level_of_points(), 1) };
        Self { levels: levels.clone(), points: b.unsqueeze(&points, &[1, 2]) }
    }
}

impl Reference {
    /// Boxes `[batch, queries, 4]` (centre, size), relative to the image, or to the part of the canvas that is image
    /// where `ratios` are given.
    pub(crate) fn boxes(
        b: &mut Builder,
        w: &Weights,
        boxes: &Value,
        ratios: Option<&LevelRatios>,
        spec: &Deformable,
    ) -> Self {
        let parts = b.split(boxes, &[2, 2], -1);
        let [centre, size] = [0, 1].map(|at| parts.get(at).unwrap_or(boxes));
        Self::around(b, w, [centre, size], ratios, spec)
    }

    /// As [`Reference::boxes`], from centres and sizes `[batch, queries, 2]`.
    pub(crate) fn around(
        b: &mut Builder,
        w: &Weights,
        parts: [&Value; 2],
        ratios: Option<&LevelRatios>,
        spec: &Deformable,
    ) -> Self {
        let [centre, size] = parts.map(|part| {
            let part = b.unsqueeze(part, &[2, 3]);
            on_canvas(b, &part, ratios)
        });
        Self { centre: prepared(b, w, centre, spec), size: Some(size) }
    }

    /// Points `[batch or 1, queries, 2]`, as [`Reference::boxes`].
    pub(crate) fn points(
        b: &mut Builder,
        w: &Weights,
        points: &Value,
        ratios: Option<&LevelRatios>,
        spec: &Deformable,
    ) -> Self {
        let centre = b.unsqueeze(points, &[2, 3]);
        let centre = on_canvas(b, &centre, ratios);
        Self { centre: prepared(b, w, centre, spec), size: None }
    }

    /// The middles of all cells, as queries of their own (the encoder of Deformable DETR).
    pub(crate) fn cells(
        b: &mut Builder,
        w: &Weights,
        ratios: Option<&LevelRatios>,
        spec: &Deformable,
    ) -> Self {
        let cells = spec.cells();
        let Some(ratios) = ratios else {
            let own = spec.clone();
            let in_space = !w.exact();
            let count = if in_space && spec.space() == Space::Cells { spec.all_points() } else { 1 };
            let middles = deferred_floats(&[1, cells, 1, count, 2], move || {
                let middles = middles(&own.levels);
                if in_space { in_constants(&middles, &own) } else { middles }
            });
            return Self { centre: b.weight("reference_points", middles), size: None };
        };
        // As the original: each cell's place in the valid part of its own level first, then on every level.
        let levels = spec.levels.iter().enumerate();
        let level_of_cells: Vec<usize> =
            levels.flat_map(|(level, (height, width))| vec![level; height * width]).collect();
        let own = if spec.levels.len() == 1 {
            ratios.levels.clone()
        } else {
            b.take(&ratios.levels, &level_of_cells, 1)
        };
        let sizes = spec.levels.clone();
        let table = deferred_floats(&[1, cells, 2], move || middles(&sizes));
        let middles = b.weight("reference_points", table);
        let inside = b.div(&middles, &own);
        Self::points(b, w, &inside, Some(ratios), spec)
    }
}

/// From the part that is image to the canvas of every level.
fn on_canvas(b: &mut Builder, x: &Value, ratios: Option<&LevelRatios>) -> Value {
    ratios.map_or(x.clone(), |ratios| b.mul(x, &ratios.points))
}

fn prepared(b: &mut Builder, w: &Weights, centre: Value, spec: &Deformable) -> Value {
    if w.exact() { centre } else { placed(b, &centre, spec) }
}

/// The middle of each cell, relative to its level: x, y.
fn middles(levels: &[(usize, usize)]) -> Vec<f32> {
    let mut middles = Vec::new();
    for (height, width) in levels {
        for row in 0..*height {
            for column in 0..*width {
                middles.extend([(column as f32 + 0.5) / *width as f32, (row as f32 + 0.5) / *height as f32]);
            }
        }
    }
    middles
}

/// What [`placed`] computes, of constants.
fn in_constants(middles: &[f32], spec: &Deformable) -> Vec<f32> {
    match spec.space() {
        Space::Unit => middles.to_vec(),
        Space::Grid => middles.iter().map(|x| 2.0 * x - 1.0).collect(),
        Space::Cells => {
            let sizes = spec.by_point(|(height, width)| [width as f32, height as f32]);
            let on_levels = |middle: &[f32]| -> Vec<f32> {
                sizes.iter().enumerate().map(|(at, size)| middle[at % 2] * size - 0.5).collect()
            };
            middles.chunks_exact(2).flat_map(on_levels).collect()
        }
    }
}
