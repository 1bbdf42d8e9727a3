//! The pyramid of Deformable DETR and its relatives: feature maps of the backbone, projected to one width, coarser ones
//! made of the last, all as one row of cells.

use graph::builder::Conv;
use graph::{Builder, DataType, Tensor, Value};

use super::stored::widened;
use super::{Level, Padding, Sine, conv2d, deferred_floats, group_norm};
use crate::Error;
use crate::config::CONFIG;
use crate::weights::Weights;

/// Groups of channels that are normalized together.
pub(crate) const GROUPS: usize = 32;

/// ε of the normalizations behind the projections; the reference leaves it at the default.
const GROUP_EPSILON: f32 = 1e-5;
/// Rows (columns) that learned positions know.
const LEARNED_LINES: usize = 50;
/// Added to the score of a cell that is padding: far below any score, and finite in half precision.
const MASKED: f32 = -1e4;
const FLOATS: &str = "`Weights` hands out floating-point tensors only";

/// All levels, the finest first.
pub(crate) struct Pyramid {
    /// `[batch, cells, d_model]`.
    pub(crate) cells: Value,
    /// What is added to cells where they ask or are asked: `[1 or batch, cells, d_model]`.
    pub(crate) positions: Value,
    pub(crate) levels: Vec<Level>,
    pub(crate) padded: Option<Padded>,
}

/// What follows from the padding of images.
pub(crate) struct Padded {
    /// 1 where a cell is image, else 0: `[batch, cells, 1]`.
    pub(crate) is_image: Value,
    /// What is added to the scores of cells as keys: `[batch, 1, 1, cells]`.
    pub(crate) bias: Value,
    /// The part of each level that is image: `[batch, levels, 2]`.
    pub(crate) ratios: Value,
}

impl Pyramid {
    /// Height and width of each level.
    pub(crate) fn sizes(&self) -> Vec<(usize, usize)> {
        self.levels.iter().map(|level| (level.size[0], level.size[1])).collect()
    }
}

/// What a pyramid is made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PyramidSpec<'a> {
    /// Levels, with those that the backbone does not have.
    pub(crate) levels: usize,
    /// Elements of a cell.
    pub(crate) width: usize,
    /// The list of projections.
    pub(crate) projections: &'a str,
    pub(crate) positions: Positions<'a>,
}

/// Where the places of cells come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Positions<'a> {
    Sine(Sine),
    /// Tables for rows and columns below this module.
    Learned(&'a str),
}

/// The pyramid of the backbone's `maps`.
pub(crate) fn pyramid(
    b: &mut Builder,
    w: &Weights,
    maps: &[Value],
    spec: PyramidSpec<'_>,
    padding: &Padding,
) -> Result<Pyramid, Error> {
    if maps.is_empty() || maps.len() > spec.levels {
        let expected = format!("at least {}, the maps of the backbone", maps.len().max(1));
        return Err(Error::unsupported(CONFIG, "num_feature_levels", spec.levels, expected));
    }
    let maps = project(b, w, spec, maps);
    let levels: Vec<Level> = maps.iter().map(|map| padding.level(b, [map.size(2), map.size(3)])).collect();
    let rows: Vec<Value> = maps
        .iter()
        .map(|map| {
            let flat = b.flatten_from(map, 2);
            b.transpose(&flat, &[0, 2, 1])
        })
        .collect();
    Ok(Pyramid {
        cells: b.concat(&rows.iter().collect::<Vec<_>>(), 1),
        positions: positions(b, w, spec, &levels)?,
        padded: padded(b, &levels),
        levels,
    })
}

/// Each map projected, and coarser ones made of the last.
fn project(b: &mut Builder, w: &Weights, spec: PyramidSpec<'_>, maps: &[Value]) -> Vec<Value> {
    let mut projected: Vec<Value> = Vec::with_capacity(spec.levels);
    for level in 0..spec.levels {
        let (source, kernel, stride) = match (maps.get(level), level == maps.len()) {
            (Some(map), _) => (map, 1, 1),
            (None, true) => (&maps[level - 1], 3, 2),
            (None, false) => (&projected[level - 1], 3, 2),
        };
        let moves = Conv::new(stride, kernel / 2);
        let map = w.scope(b, &format!("{}.{level}", spec.projections), |b, w| {
            let x = conv2d(b, w, "0", source, [spec.width, kernel], moves, true);
            group_norm(b, w, "1", &x, GROUPS, GROUP_EPSILON)
        });
        projected.push(map);
    }
    projected
}

/// The place of each cell in its level, and its level.
fn positions(b: &mut Builder, w: &Weights, spec: PyramidSpec<'_>, levels: &[Level]) -> Result<Value, Error> {
    let width = spec.width;
    let shape = [spec.levels, width];
    let sine = match spec.positions {
        Positions::Sine(sine) => sine,
        Positions::Learned(module) => {
            let places = learned(&w.child(module), levels, width)?;
            return Ok(constant(b, w, w.tensor("level_embed", &shape), places));
        }
    };
    if !levels.iter().any(Level::is_padded) {
        let places = levels.iter().map(|level| sine.positions(level.size)).collect();
        return Ok(constant(b, w, w.tensor("level_embed", &shape), places));
    }
    let own = w.constant(b, "level_embed", &shape, widened);
    let own = b.split(&own, &vec![1; levels.len()], 0);
    let placed: Vec<Value> = levels
        .iter()
        .zip(own)
        .map(|(level, own)| {
            let places = level.sine(b, "position_embedding", sine);
            b.add(&places, &own)
        })
        .collect();
    Ok(b.concat(&placed.iter().collect::<Vec<_>>(), 1))
}

/// Places `[1, cells, width]` of each level with the level's own vector added, as one constant.
fn constant(b: &mut Builder, w: &Weights, own: Tensor, places: Vec<Tensor>) -> Value {
    let width = own.shape()[1];
    let cells = places.iter().map(|level| level.shape()[1]).sum();
    let sums = deferred_floats(&[1, cells, width], move || {
        let own = own.to_f32().expect(FLOATS);
        let levels = places.iter().zip(own.chunks_exact(width));
        let sum = |(level, own): (&Tensor, &[f32])| -> Vec<f32> {
            let values = level.to_f32().expect(FLOATS);
            values.iter().zip(own.iter().cycle()).map(|(place, own)| place + own).collect()
        };
        levels.flat_map(sum).collect()
    });
    b.weight(&w.full("position_embedding"), sums)
}

/// Places that were trained: half of the elements is the column's, half the row's.
fn learned(w: &Weights, levels: &[Level], width: usize) -> Result<Vec<Tensor>, Error> {
    if let Some(level) = levels.iter().find(|level| level.size.iter().any(|size| *size > LEARNED_LINES)) {
        return Err(Error::Underivable {
            what: "a usable input size",
            reason: format!(
                "positions are trained for maps of {LEARNED_LINES} rows, one has {:?}",
                level.size
            ),
            option: "--size WIDTHxHEIGHT",
        });
    }
    let half = width / 2;
    let table = |name: &str| w.child(name).tensor("weight", &[LEARNED_LINES, half]);
    let (rows, columns) = (table("row_embeddings"), table("column_embeddings"));
    let of_level = |level: &Level| {
        let [height, width] = level.size;
        let (rows, columns) = (rows.clone(), columns.clone());
        deferred_floats(&[1, height * width, 2 * half], move || {
            let [rows, columns] = [&rows, &columns].map(|table| table.to_f32().expect(FLOATS));
            let cells = (0..height * width).map(|cell| (cell / width * half, cell % width * half));
            cells
                .flat_map(|(row, column)| [&columns[column..][..half], &rows[row..][..half]].concat())
                .collect()
        })
    };
    Ok(levels.iter().map(of_level).collect())
}

fn padded(b: &mut Builder, levels: &[Level]) -> Option<Padded> {
    let is_image: Vec<Value> = levels.iter().map(|level| level.is_image(b)).collect::<Option<_>>()?;
    let ratios: Vec<Value> = levels.iter().map(|level| level.valid_ratio(b)).collect::<Option<_>>()?;
    Some(b.scoped("pixel_mask", |b| {
        let is_image = b.concat(&is_image.iter().collect::<Vec<_>>(), 1);
        let as_keys = b.reshape(&is_image, &[0, 1, 1, -1]);
        let (zero, masked) = (b.scalar(0.0), b.scalar(MASKED));
        let ratios = b.concat(&ratios.iter().collect::<Vec<_>>(), 1);
        Padded {
            bias: b.select(&as_keys, &zero, &masked),
            is_image: b.cast(&is_image, DataType::F32),
            ratios: b.squeeze(&ratios, 2),
        }
    }))
}
