//! Anchors: a box around each cell of the pyramid, as logits, and which of them count.
//!
//! Computed in single precision, operation by operation as the reference does, so that the same anchors count.

/// Side of an anchor on the finest level, relative to the image.
const SIDE: f64 = 0.05;
/// How far an anchor's numbers must stay away from 0 and 1.
const MARGIN: f32 = 1e-2;

/// What the numbers of a box are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::arch) enum BoxShape {
    /// Centre and size.
    Rectangle,
    /// Centre and the places of four corners around it, each plus one half so that a sigmoid reaches them.
    Quadrilateral,
}

impl BoxShape {
    /// Numbers a box.
    pub(in crate::arch) fn numbers(self) -> usize {
        match self {
            Self::Rectangle => 4,
            Self::Quadrilateral => 10,
        }
    }

    /// The square around a cell, one half of whose side is `half`, in relative coordinates.
    fn square(self, [x, y]: [f32; 2], half: f64) -> Vec<f32> {
        let side = (2.0 * half) as f32;
        let [low, high] = [(0.5 - half) as f32, (0.5 + half) as f32];
        match self {
            Self::Rectangle => vec![x, y, side, side],
            Self::Quadrilateral => vec![x, y, low, low, high, low, high, high, low, high],
        }
    }
}

/// Anchors of all levels, the finest first.
pub(in crate::arch) struct Anchors {
    /// The logits of each cell's numbers.
    pub(in crate::arch) logits: Vec<f32>,
    /// Whether a cell's anchor counts.
    pub(in crate::arch) valid: Vec<bool>,
}

/// The anchors of levels of these heights and widths; those that do not count get `masked` as logits.
pub(in crate::arch) fn anchors(levels: &[(usize, usize)], masked: f32) -> Anchors {
    shaped_anchors(levels, BoxShape::Rectangle, masked)
}

/// As [`anchors`], for boxes of any shape.
pub(super) fn shaped_anchors(levels: &[(usize, usize)], shape: BoxShape, masked: f32) -> Anchors {
    let cells = levels.iter().map(|(height, width)| height * width).sum();
    let logits = Vec::with_capacity(shape.numbers() * cells);
    let mut anchors = Anchors { logits, valid: Vec::with_capacity(cells) };
    for (level, (height, width)) in levels.iter().enumerate() {
        let half = SIDE * 2.0_f64.powi(level as i32) / 2.0;
        for row in 0..*height {
            for column in 0..*width {
                let centre = [(column as f32 + 0.5) / *width as f32, (row as f32 + 0.5) / *height as f32];
                let cell = shape.square(centre, half);
                let valid = cell.iter().all(|number| *number > MARGIN && *number < 1.0 - MARGIN);
                anchors.valid.push(valid);
                let logits = cell.iter().map(|x| if valid { (x / (1.0 - x)).ln() } else { masked });
                anchors.logits.extend(logits);
            }
        }
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_near_the_border_of_a_fine_level_do_not_count() {
        let fine = anchors(&[(80, 80)], 0.0);
        assert_eq!(fine.valid.iter().filter(|valid| **valid).count(), 78 * 78);
        let coarse = anchors(&[(20, 20)], 0.0);
        assert!(coarse.valid.iter().all(|valid| *valid));
        let centre = &anchors(&[(1, 1)], 0.0).logits;
        assert!(centre[0].abs() < 1e-6 && (centre[2] - (0.05_f32 / 0.95).ln()).abs() < 1e-6);
    }

    #[test]
    fn the_corners_of_a_quadrilateral_go_around() {
        let logits = shaped_anchors(&[(1, 1)], BoxShape::Quadrilateral, 0.0).logits;
        let numbers: Vec<f32> = logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
        let expected = [0.5, 0.5, 0.475, 0.475, 0.525, 0.475, 0.525, 0.525, 0.475, 0.525];
        assert!(numbers.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{numbers:?}");
    }
}
