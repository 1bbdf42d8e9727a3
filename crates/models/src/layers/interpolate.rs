//! Interpolation of grids as `torch.nn.functional.interpolate` does it (`align_corners=False`), for position tables that
//! were trained at another size.
//!
//! The size of an exported input is fixed, so positions are constants: they are computed here, once, instead of by nodes
//! at every inference. With `antialias` the kernel widens where the grid shrinks, and the cubic one is another (the
//! coefficient is that of Pillow).

/// How new cells come from old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interpolate {
    pub(crate) kernel: Kernel,
    pub(crate) antialias: bool,
}

/// The weight of a cell by its distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// Falls linearly, over one cell.
    Bilinear,
    /// A piecewise cubic, over two cells.
    Bicubic,
}

/// The cells along one side that make a new cell: the first, and the weight of each from there on.
type Taps = Vec<(usize, Vec<f32>)>;

impl Interpolate {
    /// `mode="bicubic"`.
    pub(crate) const BICUBIC: Self = Self { kernel: Kernel::Bicubic, antialias: false };

    /// The grid `from` (rows, columns) of vectors of `width` numbers at the size `to`; rows come first.
    pub(crate) fn grid(self, values: &[f32], width: usize, from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
        if from == to {
            return values.to_vec();
        }
        let across = self.taps(from[1], to[1]);
        let mut narrow = Vec::with_capacity(from[0] * to[1] * width);
        for row in values.chunks_exact(from[1] * width) {
            weigh(row, width, &across, &mut narrow);
        }
        let mut grid = Vec::with_capacity(to[0] * to[1] * width);
        weigh(&narrow, to[1] * width, &self.taps(from[0], to[0]), &mut grid);
        grid
    }

    /// What each of `to` cells is made of along a side of `from` cells.
    fn taps(self, from: usize, to: usize) -> Taps {
        let scale = from as f32 / to as f32;
        let cells = 0..to;
        if self.antialias {
            cells.map(|cell| self.smooth(from, scale, cell)).collect()
        } else {
            cells.map(|cell| self.sharp(from, scale, cell)).collect()
        }
    }

    /// A kernel as wide as the cells that it skips.
    fn smooth(self, from: usize, scale: f32, cell: usize) -> (usize, Vec<f32>) {
        let stretch = scale.max(1.0);
        let reach = stretch * if self.kernel == Kernel::Bicubic { 2.0 } else { 1.0 };
        let centre = scale * (cell as f32 + 0.5);
        let first = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(from);
        let weight = |at: usize| self.weight((at as f32 - centre + 0.5) / stretch);
        let weights: Vec<f32> = (first..end).map(weight).collect();
        let total: f32 = weights.iter().sum();
        (first, weights.into_iter().map(|weight| weight / total).collect())
    }

    /// The nearest two or four cells; beyond the border its own cell counts.
    fn sharp(self, from: usize, scale: f32, cell: usize) -> (usize, Vec<f32>) {
        let place = scale * (cell as f32 + 0.5) - 0.5;
        let (place, before, count) = match self.kernel {
            Kernel::Bilinear => (place.max(0.0), 0, 2),
            Kernel::Bicubic => (place, 1, 4),
        };
        let left = place.floor();
        let share = place - left;
        let last = from.saturating_sub(1);
        let inside = |tap: usize| (left as i64 + tap as i64 - before).clamp(0, last as i64) as usize;
        let (first, end) = (inside(0), inside(count - 1));
        let mut weights = vec![0.0; end - first + 1];
        for tap in 0..count {
            weights[inside(tap) - first] += self.weight(share - (tap as f32 - before as f32));
        }
        (first, weights)
    }

    fn weight(self, distance: f32) -> f32 {
        let x = distance.abs();
        if self.kernel == Kernel::Bilinear {
            return (1.0 - x).max(0.0);
        }
        let a = if self.antialias { -0.5 } else { -0.75 };
        if x <= 1.0 {
            ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
        } else if x < 2.0 {
            ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
        } else {
            0.0
        }
    }
}

/// Appends, for each of `taps`, the weighted sum of vectors of `width` numbers.
fn weigh(values: &[f32], width: usize, taps: &Taps, out: &mut Vec<f32>) {
    for (first, weights) in taps {
        let start = out.len();
        out.resize(start + width, 0.0);
        for (cell, weight) in weights.iter().enumerate() {
            let source = &values[(first + cell) * width..][..width];
            for (sum, value) in out[start..].iter_mut().zip(source) {
                *sum += value * weight;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grid of 3 rows and 4 columns of pairs.
    fn grid() -> Vec<f32> {
        let cell = |row: usize, column: usize, at: usize| (row * 7 + column * 3 + at * 5) % 11;
        let cells = (0..3).flat_map(|row| (0..4).map(move |column| (row, column)));
        let values = cells.flat_map(|(row, column)| (0..2).map(move |at| cell(row, column, at)));
        values.map(|value| value as f32 / 4.0 - 1.0).collect()
    }

    /// What torch 2.15 says: the beginning, the sum, and the sum of each number times its place.
    #[test]
    #[expect(clippy::unreadable_literal, reason = "torch's own numbers")]
    fn grids_come_out_as_torch_makes_them() {
        use Kernel::{Bicubic, Bilinear};
        type Case = (Kernel, bool, [usize; 2], [f32; 12], f64, f64);
        #[rustfmt::skip]
        let cases: [Case; 12] = [
            (Bilinear, false, [5, 6], [-1.0, 0.25, -0.625, 0.625, -0.1249999, 0.6666665, 0.375, -0.6666667, 0.875, -0.625, 1.25, -0.25], 13.05, 430.766_647),
            (Bilinear, false, [2, 3], [-0.4375, 0.125, 0.21875, 0.09375, 0.8750001, 0.06250012, 0.125, 0.34375, 0.78125, -0.375, -0.2812502, 0.6250001], 2.156_25, 14.75),
            (Bilinear, false, [1, 9], [0.75, -0.75, 0.875, -0.625, 1.208333, -0.2916667, 1.388889, 0.04166669, 0.5, 0.375, -0.3888888, 0.7083333], 7.875, 85.319_442),
            (Bilinear, true, [5, 6], [-1.0, 0.25, -0.625, 0.625, -0.1249999, 0.6666665, 0.3750001, -0.666667, 0.875, -0.625, 1.25, -0.25], 13.05, 430.766_654),
            (Bilinear, true, [2, 3], [-0.11875, 0.09999999, 0.265625, 0.140625, 0.6500001, 0.1812501, 0.35, 0.05312498, 0.734375, -0.25, -0.08437509, 0.6500001], 2.671_875, 16.962_501),
            (Bilinear, true, [1, 9], [-0.03571426, 0.03571427, 0.08928574, 0.02976187, 0.4226191, 0.01388888, 0.6904762, -0.001984129, 0.5, -0.01785713, 0.3095238, -0.03373012], 4.339_286, 47.910_714),
            (Bicubic, false, [5, 6], [-1.233105, 0.2808959, -0.8880625, 0.9332501, -0.2203892, 0.8231575, 0.3983887, -0.8951574, 1.066063, -1.00525, 1.411104, -0.352896], 12.753, 425.104_314),
            (Bicubic, false, [2, 3], [-0.4612462, 0.1073337, 0.1877136, 0.1291809, 0.9376053, 0.05009672, 0.1451993, 0.3560418, 1.002625, -0.5846558, -0.3604497, 0.6951461], 2.204_590, 15.035_901),
            (Bicubic, false, [1, 9], [0.6684996, -0.8315006, 0.8923612, -0.655382, 1.436085, -0.3634576, 1.438443, 0.05915661, 0.5, 0.375, -0.4384429, 0.6908435], 7.875_001, 86.567_868),
            (Bicubic, true, [5, 6], [-1.181417, 0.2761297, -0.8354605, 0.8082686, -0.2320929, 0.8444706, 0.4254892, -0.9010745, 1.028857, -0.8648723, 1.374814, -0.3327332], 12.390_418, 414.090_129),
            (Bicubic, true, [2, 3], [-0.1437001, 0.101849, 0.2372871, 0.1752329, 0.7091242, 0.1577673, 0.3739564, 0.04183088, 0.821758, -0.3229619, -0.2022041, 0.7840091], 2.733_949, 17.533_476),
            (Bicubic, true, [1, 9], [-0.1578139, 0.09517189, 0.001950302, 0.07801355, 0.3926957, 0.04000442, 0.6712413, -0.006050679, 0.5523098, -0.09578806, 0.3507159, -0.102863], 4.108_696, 46.569_912),
        ];
        for (kernel, antialias, to, beginning, sum, placed) in cases {
            let values = Interpolate { kernel, antialias }.grid(&grid(), 2, [3, 4], to);
            assert_eq!(values.len(), 2 * to[0] * to[1]);
            let near = |a: f64, b: f64, what: &str| {
                assert!(
                    (a - b).abs() < 2e-6 * b.abs().max(1.0),
                    "{kernel:?}, {antialias}, {to:?}: {what} {a}, {b}"
                );
            };
            for (value, expected) in values.iter().zip(beginning) {
                near(f64::from(*value), f64::from(expected), "value");
            }
            near(values.iter().map(|value| f64::from(*value)).sum(), sum, "sum");
            let by_place = values.iter().enumerate().map(|(at, value)| at as f64 * f64::from(*value));
            near(by_place.sum(), placed, "sum by place");
        }
        assert_eq!(Interpolate::BICUBIC.grid(&grid(), 2, [3, 4], [3, 4]), grid());
    }
}
