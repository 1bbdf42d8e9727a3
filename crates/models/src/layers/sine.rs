//! Sine position embeddings of an image grid, as a constant.
//!
//! Frequencies are computed in double precision and rounded once, as the reference does.

use graph::Tensor;

use super::deferred_floats;

/// Positions `[1, height × width, size]`, rows first: sine and cosine of the row, then of the column, `size / 4` each.
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
