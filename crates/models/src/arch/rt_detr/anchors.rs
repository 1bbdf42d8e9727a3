//! Anchors: a box around each cell of the pyramid, as logits, and which of them count.
//!
//! Computed in single precision, operation by operation as the reference does, so that the same anchors count.

/// Side of an anchor on the finest level, relative to the image.
const SIDE: f32 = 0.05;
/// How far an anchor's numbers must stay away from 0 and 1.
const MARGIN: f32 = 1e-2;

/// Anchors of all levels, the finest first.
pub(in crate::arch) struct Anchors {
    /// Four logits a cell: centre and size.
    pub(in crate::arch) logits: Vec<f32>,
    /// Whether a cell's anchor counts.
    pub(in crate::arch) valid: Vec<bool>,
}

/// The anchors of levels of these heights and widths; those that do not count get `masked` as logits.
pub(in crate::arch) fn anchors(levels: &[(usize, usize)], masked: f32) -> Anchors {
    let cells = levels.iter().map(|(height, width)| height * width).sum();
    let mut anchors = Anchors { logits: Vec::with_capacity(4 * cells), valid: Vec::with_capacity(cells) };
    for (level, (height, width)) in levels.iter().enumerate() {
        let side = SIDE * 2.0_f32.powi(level as i32);
        for row in 0..*height {
            for column in 0..*width {
                let centre = [(column as f32 + 0.5) / *width as f32, (row as f32 + 0.5) / *height as f32];
                let cell = [centre[0], centre[1], side, side];
                let valid = cell.iter().all(|number| *number > MARGIN && *number < 1.0 - MARGIN);
                anchors.valid.push(valid);
                anchors.logits.extend(cell.map(|x| if valid { (x / (1.0 - x)).ln() } else { masked }));
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
}
