//! Sine position embeddings of an image grid.
//!
//! RT-DETR counts cells from 0 and computes frequencies in double precision; DETR and its relatives count from 1, divide
//! by the number of cells that are image and compute in single precision. Both as their references.

use std::f32::consts::FRAC_PI_2;

use graph::{Builder, Tensor, Value};

use super::{Rows, deferred_floats};

/// What DETR adds to a number of cells before it divides by it.
pub(super) const EPSILON: f32 = 1e-6;

/// Positions of DETR: the row's in the first half, the column's in the second, sines and cosines taking turns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sine {
    /// Elements of a position, a multiple of 4.
    pub(crate) size: usize,
    /// How slow the slowest wave is, for rows and for columns.
    pub(crate) temperatures: [f64; 2],
    /// The angle that the image spans.
    pub(crate) scale: f64,
    /// Added to places that are counted from 1: 0, or -0.5 for the middle of a cell.
    pub(crate) offset: f32,
}

impl Sine {
    /// The positions of DETR itself.
    pub(crate) fn new(size: usize) -> Self {
        Self { size, temperatures: [10_000.0; 2], scale: 2.0 * std::f64::consts::PI, offset: 0.0 }
    }

    /// The place of line `line`, counted from 1.
    pub(super) fn place(self, line: usize) -> f32 {
        (line + 1) as f32 + self.offset
    }

    fn half(self) -> usize {
        self.size / 2
    }

    /// The divisor of the angle in each element of one half.
    fn slowness(self, side: usize) -> impl Iterator<Item = f32> {
        let half = self.half();
        (0..half).map(move |at| {
            let exponent = (2 * (at / 2)) as f32 / half as f32;
            self.temperatures[side].powf(f64::from(exponent)) as f32
        })
    }

    /// The angle of a whole image in each element that belongs to rows (side 0) or columns (side 1), 0 elsewhere.
    pub(super) fn speeds(self, side: usize) -> Vec<f32> {
        let mut speeds = vec![0.0; 2 * self.half()];
        for (speed, slowness) in speeds[side * self.half()..].iter_mut().zip(self.slowness(side)) {
            *speed = (self.scale / f64::from(slowness)) as f32;
        }
        speeds
    }

    /// What makes a cosine out of a sine, in each element.
    pub(super) fn phases(self) -> Vec<f32> {
        (0..2 * self.half()).map(|at| if at % 2 == 0 { 0.0 } else { FRAC_PI_2 }).collect()
    }

    /// Positions `[1, height × width, size]` of a map that is image everywhere.
    pub(crate) fn positions(self, [height, width]: [usize; 2]) -> Tensor {
        deferred_floats(&[1, height * width, 2 * self.half()], move || {
            let waves = |side: usize, lines: usize| -> Vec<Vec<f32>> {
                let wave = |line| {
                    let place = self.place(line) / (lines as f32 + EPSILON) * self.scale as f32;
                    let angles = self.slowness(side).map(|slowness| f64::from(place / slowness));
                    let turns = angles.enumerate();
                    turns.map(|(at, a)| if at % 2 == 0 { a.sin() } else { a.cos() } as f32).collect()
                };
                (0..lines).map(wave).collect()
            };
            let (rows, columns) = (waves(0, height), waves(1, width));
            rows.iter()
                .flat_map(|row| columns.iter().flat_map(move |column| [row, column]))
                .flatten()
                .copied()
                .collect()
        })
    }
}

/// Sines and cosines, taking turns, of coordinates from 0 to 1: `[batch, n, coordinates]` to
/// `[batch, n, coordinates, size]`.
pub(crate) fn sine_of(b: &mut Builder, x: &Value, size: usize) -> Value {
    let sine = Sine::new(2 * size);
    let [speeds, phases] = [sine.speeds(0), sine.phases()].map(|mut values| {
        values.truncate(size);
        b.floats(&[size], values)
    });
    let x = b.unsqueeze(x, &[3]);
    let angles = b.mul(&x, &speeds);
    let angles = b.add(&angles, &phases);
    b.sin(&angles)
}

/// The same for rows of coordinates, those of one row behind each other.
pub(crate) fn sine_rows(rows: &Rows, size: usize) -> Rows {
    let slowness: Vec<f64> = Sine::new(2 * size).slowness(0).map(f64::from).collect();
    let turn = |(at, angle): (usize, f64)| if at % 2 == 0 { angle.sin() } else { angle.cos() };
    let waves = |x: &f64| {
        let place = x * 2.0 * std::f64::consts::PI;
        slowness.iter().map(move |slowness| place / slowness).enumerate().map(turn).collect::<Vec<_>>()
    };
    Rows::new(rows.width() * size, rows.iter().flatten().flat_map(waves).collect())
}

/// Positions of RT-DETR `[1, height × width, size]`, rows first: sine and cosine of the row, then of the column,
/// `size / 4` each.
pub(crate) fn sine_positions(height: usize, width: usize, size: usize, temperature: f64) -> Tensor {
    let quarter = size / 4;
    deferred_floats(&[1, height * width, 4 * quarter], move || {
        let frequencies: Vec<f64> =
            (0..quarter).map(|at| 1.0 / temperature.powf(at as f64 / quarter as f64)).collect();
        let mut values = Vec::with_capacity(height * width * 4 * quarter);
        for row in 0..height {
            for column in 0..width {
                for place in [row, column] {
                    let angles = frequencies.iter().map(|frequency| place as f64 * frequency);
                    values.extend(angles.clone().map(|angle| angle.sin() as f32));
                    values.extend(angles.map(|angle| angle.cos() as f32));
                }
            }
        }
        values
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_take_turns_and_the_last_line_is_the_whole_angle() {
        let sine = Sine { temperatures: [100.0, 10_000.0], ..Sine::new(8) };
        let values = sine.positions([2, 3]).to_f32().unwrap();
        let token = &values[3 * 8..][..8];
        let (row, column) = (2.0 * std::f64::consts::PI, 2.0 * std::f64::consts::PI / 3.0);
        let expected = [
            row.sin(),
            row.cos(),
            (row / 10.0).sin(),
            (row / 10.0).cos(),
            column.sin(),
            column.cos(),
            (column / 100.0).sin(),
            (column / 100.0).cos(),
        ];
        for (at, (value, expected)) in token.iter().zip(expected).enumerate() {
            assert!((f64::from(*value) - expected).abs() < 5e-6, "token (1, 0), element {at}: {value}");
        }
    }

    #[test]
    fn rows_come_before_columns() {
        let positions = sine_positions(2, 3, 8, 10_000.0);
        assert_eq!(positions.shape(), [1, 6, 8]);
        let values = positions.to_f32().unwrap();
        let (one, slow) = (1.0_f64, 0.01_f64);
        let expected = [0.0, 0.0, 1.0, 1.0, one.sin(), slow.sin(), one.cos(), slow.cos()];
        for (at, expected) in expected.into_iter().enumerate() {
            assert!((f64::from(values[8 + at]) - expected).abs() < 1e-7, "token (0, 1), element {at}");
        }
        let row = &values[3 * 8..][..8];
        assert_eq!(row[4..], [0.0, 0.0, 1.0, 1.0], "token (1, 0) stands in column 0");
    }
}
