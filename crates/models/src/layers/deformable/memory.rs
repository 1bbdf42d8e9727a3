//! What deformable attention reads from: one map a level, or the cells of all levels in one row.

use graph::Value;
use graph::builder::Builder;

use super::cells::{gather, nearest, neighbours};
use super::{Deformable, Sampling, Space};

/// What queries read from.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    values: Values,
    /// Something as long as the batch.
    batch: Value,
}

/// The values of all cells, heads in the batch.
#[derive(Debug, Clone)]
enum Values {
    /// `[batch × heads, head, height, width]` for each level.
    Maps(Vec<Value>),
    /// `[batch × heads, cells, head]`.
    Cells(Value),
}

impl Memory {
    /// From `[batch, cells, width]`, level by level.
    pub(crate) fn from_cells(b: &mut Builder, values: &Value, spec: &Deformable) -> Self {
        let (heads, cells) = (spec.heads as i64, spec.cells() as i64);
        let head = (values.size(-1) / spec.heads.max(1)) as i64;
        if spec.space() != Space::Grid {
            let by_head = b.reshape(values, &[0, 0, heads, head]);
            let by_head = b.transpose(&by_head, &[0, 2, 1, 3]);
            let cells = Values::Cells(b.reshape(&by_head, &[-1, cells, head]));
            return Self { values: cells, batch: values.clone() };
        }
        let batch = values.clone();
        let values = b.transpose(values, &[0, 2, 1]);
        let values = b.reshape(&values, &[-1, head, cells]);
        let sizes: Vec<usize> = spec.levels.iter().map(|(height, width)| height * width).collect();
        let levels = if sizes.len() == 1 { vec![values] } else { b.split(&values, &sizes, 2) };
        let map = |(level, (height, width)): (&Value, &(usize, usize))| {
            b.reshape(level, &[0, 0, *height as i64, *width as i64])
        };
        Self { values: Values::Maps(levels.iter().zip(&spec.levels).map(map).collect()), batch }
    }

    /// From one map `[batch, width, height, width]` a level.
    pub(crate) fn from_maps(b: &mut Builder, maps: &[Value], spec: &Deformable) -> Self {
        let heads = spec.heads.max(1);
        let values = if spec.space() == Space::Grid {
            let by_head = |map: &Value| {
                let [head, height, width] = [map.size(1) / heads, map.size(2), map.size(3)];
                b.reshape(map, &[-1, head as i64, height as i64, width as i64])
            };
            Values::Maps(maps.iter().map(by_head).collect())
        } else {
            let flat: Vec<Value> = maps.iter().map(|map| b.flatten_from(map, 2)).collect();
            let values = b.concat(&flat.iter().collect::<Vec<_>>(), 2);
            let head = (values.size(1) / heads) as i64;
            let values = b.reshape(&values, &[-1, head, spec.cells() as i64]);
            Values::Cells(b.transpose(&values, &[0, 2, 1]))
        };
        Self { values, batch: maps[0].clone() }
    }

    /// The values at `places` `[batch or 1, queries, heads, points, 2]`, mixed by `shares`
    /// `[batch or 1, heads, queries, points]`: `[batch, queries, width]`.
    pub(super) fn read(&self, b: &mut Builder, places: &Value, shares: &Value, spec: &Deformable) -> Value {
        // Heads become part of the batch, so that what is the same for every image has to be there for each.
        let [places, shares] = [places, shares].map(|value| {
            let of_one = value.size(0) == 1 && self.batch.size(0) != 1;
            if of_one { b.expand_batch(value, &self.batch) } else { value.clone() }
        });
        match (&self.values, spec.sampling) {
            (Values::Maps(maps), _) => sample(b, maps, &places, &shares, spec),
            (Values::Cells(values), Sampling::Discrete) => {
                let cells = nearest(b, &places, spec);
                gather(b, values, &cells, &shares, spec)
            }
            (Values::Cells(values), Sampling::Bilinear) => {
                let (cells, parts) = neighbours(b, &places, spec);
                let parts = b.transpose(&parts, &[0, 2, 1, 3, 4]);
                let shares = b.unsqueeze(&shares, &[4]);
                let shares = b.mul(&shares, &parts);
                gather(b, values, &cells, &shares, spec)
            }
        }
    }
}

/// By `GridSample`, a node a level.
fn sample(b: &mut Builder, maps: &[Value], grid: &Value, shares: &Value, spec: &Deformable) -> Value {
    let (queries, points) = (grid.size(1) as i64, spec.all_points() as i64);
    let grid = b.transpose(grid, &[0, 2, 1, 3, 4]);
    let grid = b.reshape(&grid, &[-1, queries, points, 2]);
    let grids = if maps.len() == 1 { vec![grid] } else { b.split(&grid, &spec.points, 2) };
    let samples: Vec<Value> = maps.iter().zip(&grids).map(|(map, grid)| b.grid_sample(map, grid)).collect();
    let samples = b.concat(&samples.iter().collect::<Vec<_>>(), -1);

    let width = (samples.size(1) * spec.heads) as i64;
    let shares = b.reshape(shares, &[-1, 1, queries, points]);
    let weighted = b.mul(&samples, &shares);
    let mixed = b.reduce_sum(&weighted, &[-1], false);
    let mixed = b.reshape(&mixed, &[-1, width, queries]);
    b.transpose(&mixed, &[0, 2, 1])
}
