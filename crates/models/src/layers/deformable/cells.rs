//! Reading by the numbers of cells: the nearest one, or the four around a point (bilinear without `GridSample`).

use graph::builder::Builder;
use graph::{DataType, Tensor, Value};

use super::Deformable;

/// The four cells around a point: x and y, counted from the first.
const CORNERS: [f32; 8] = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0];

/// The cells of these numbers `[batch, queries, heads, …]`, mixed by as many `shares` `[batch, heads, queries, …]`:
/// `[batch, queries, width]`.
pub(super) fn gather(
    b: &mut Builder,
    values: &Value,
    cells: &Value,
    shares: &Value,
    spec: &Deformable,
) -> Value {
    let (queries, heads, head) = (cells.size(1) as i64, spec.heads as i64, values.size(-1) as i64);
    let each = (3..cells.rank()).map(|axis| cells.size(axis as i64)).product::<usize>() as i64;
    let order: Vec<usize> = [0, 2, 1].into_iter().chain(3..cells.rank()).collect();
    let rows = b.transpose(cells, &order);
    let rows = b.reshape(&rows, &[-1, queries * each]);
    let samples = b.gather_rows(values, &rows);
    let samples = b.reshape(&samples, &[0, queries, each, head]);

    let shares = b.reshape(shares, &[-1, queries, 1, each]);
    let mixed = b.matmul(&shares, &samples);
    let mixed = b.reshape(&mixed, &[-1, heads, queries, head]);
    let mixed = b.transpose(&mixed, &[0, 2, 1, 3]);
    b.reshape(&mixed, &[0, 0, heads * head])
}

/// The number of the cell that each point, relative to the image, falls into: `[batch, queries, heads, points]`.
pub(super) fn nearest(b: &mut Builder, places: &Value, spec: &Deformable) -> Value {
    let (sizes, half) = (spec.sizes(b), b.scalar(0.5));
    let scaled = b.mul(places, &sizes);
    let shifted = b.add(&scaled, &half);
    // Clamping before rounding down gives what the reference gets by truncating first, for negative numbers too.
    let inside = clamped(b, &shifted, spec, &[]);
    let cell = b.floor(&inside);
    numbers(b, &cell, spec, &[])
}

/// The numbers of the four cells around each point, counted in cells, and the part that each has in the point's value,
/// 0 for a cell outside its level: `[batch, queries, heads, points, 4]` each.
pub(super) fn neighbours(b: &mut Builder, places: &Value, spec: &Deformable) -> (Value, Value) {
    let first = b.floor(places);
    let corners = b.floats(&[4, 2], CORNERS.to_vec());
    let [first, places] = [&first, places].map(|value| b.unsqueeze(value, &[4]));
    let corner = b.add(&first, &corners);
    let inside = clamped(b, &corner, spec, &[1]);
    // A cell's part falls with the distance along each axis; a cell that is outside is 1 or more away from the level.
    let [near, far] = [(&places, &corner), (&corner, &inside)].map(|(from, to)| {
        let apart = b.sub(from, to);
        b.abs(&apart)
    });
    let distance = b.add(&near, &far);
    let one = b.scalar(1.0);
    let parts = b.sub(&one, &distance);
    let parts = b.relu(&parts);
    let parts = match &b.split(&parts, &[1, 1], -1)[..] {
        [x, y] => b.mul(x, y),
        _ => parts,
    };
    let parts = b.squeeze(&parts, -1);
    (numbers(b, &inside, spec, &[1]), parts)
}

/// Columns and rows `[…, points, between…, 2]` moved into the level of their point.
fn clamped(b: &mut Builder, x: &Value, spec: &Deformable, between: &[usize]) -> Value {
    let last = spec.by_point(|(height, width)| [width, height].map(|size| size.saturating_sub(1) as f32));
    let shape = [&[spec.all_points()], between, &[2]].concat();
    let (zero, last) = (b.scalar(0.0), b.floats(&shape, last));
    let inside = b.maximum(x, &zero);
    b.minimum(&inside, &last)
}

/// The numbers, counted over all levels, of cells given by column and row `[…, points, between…, 2]`. In integers: half
/// precision does not hold them.
fn numbers(b: &mut Builder, cells: &Value, spec: &Deformable, between: &[usize]) -> Value {
    let starts = spec.levels.iter().scan(0, |next, (height, width)| {
        let start = *next;
        *next += height * width;
        Some(start as i64)
    });
    let starts: Vec<i64> = starts.collect();
    let starts: Vec<i64> = spec.level_of_points().into_iter().map(|level| starts[level]).collect();
    let strides = spec.by_point(|(_, width)| [1, width as i64]);
    let shape = [&[spec.all_points()], between].concat();
    let starts = integers(b, &shape, starts);
    let strides = integers(b, &[&shape[..], &[2]].concat(), strides);

    let cells = b.cast(cells, DataType::I64);
    let parts = b.mul(&cells, &strides);
    let number = b.reduce_sum(&parts, &[-1], false);
    b.add(&number, &starts)
}

fn integers(b: &mut Builder, shape: &[usize], values: Vec<i64>) -> Value {
    match Tensor::from_i64(shape, values) {
        Ok(tensor) => b.constant(tensor),
        Err(error) => {
            b.fail("Constant", error.to_string());
            b.ints(&[])
        }
    }
}
