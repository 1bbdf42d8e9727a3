//! Which cells of a map see each other: windows, shifted every other block.
//!
//! Cells are numbered row by row. All of this depends on sizes only and becomes constants.

use graph::Tensor;

use super::super::deferred_floats;
use super::Library;

/// What the reference adds to the score of a cell that a shift brought beside cells from the other end of the map.
const APART: f32 = -100.0;

/// The windows of one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Windows {
    /// Height and width of the map.
    pub(super) map: [usize; 2],
    /// Height and width of a window.
    pub(super) window: [usize; 2],
    /// How far the windows are moved down and right.
    pub(super) shift: [usize; 2],
    pub(super) library: Library,
}

impl Windows {
    /// Rows and columns of windows.
    fn grid(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.map[axis].div_ceil(self.window[axis]))
    }

    pub(super) fn count(&self) -> usize {
        let [rows, columns] = self.grid();
        rows * columns
    }

    /// Cells of one window.
    pub(super) fn cells(&self) -> usize {
        self.window[0] * self.window[1]
    }

    /// Whether windows hang over the end of the map.
    pub(super) fn hang_over(&self) -> bool {
        self.count() * self.cells() != self.map[0] * self.map[1]
    }

    /// Whether cells of one window can be from opposite ends of the map.
    pub(super) fn shifted(&self) -> bool {
        self.shift != [0, 0]
    }

    /// For each place of each window the cell that stands there; outside of the map the number of cells.
    pub(super) fn cells_by_place(&self) -> Vec<usize> {
        let [height, width] = self.map;
        let [rows, columns] = self.grid();
        let [tall, wide] = self.window;
        let mut cells = Vec::with_capacity(self.count() * self.cells());
        for window in 0..rows * columns {
            let (top, left) = (window / columns * tall, window % columns * wide);
            for place in 0..tall * wide {
                let row = self.source(0, top + place / wide);
                let column = self.source(1, left + place % wide);
                cells.push(match (row, column) {
                    (Some(row), Some(column)) => row * width + column,
                    _ => height * width,
                });
            }
        }
        cells
    }

    /// For each cell the place where it stands.
    pub(super) fn places_by_cell(&self) -> Vec<usize> {
        let cells = self.map[0] * self.map[1];
        let mut places = vec![0; cells];
        for (place, cell) in self.cells_by_place().into_iter().enumerate() {
            if let Some(found) = places.get_mut(cell) {
                *found = place;
            }
        }
        places
    }

    /// The row (column) of the map that a row (column) of the windows shows.
    fn source(&self, axis: usize, at: usize) -> Option<usize> {
        let (size, shift) = (self.map[axis], self.shift[axis]);
        let padded = self.grid()[axis] * self.window[axis];
        match self.library {
            // The padded map is rolled.
            Library::Transformers => Some((at + shift) % padded).filter(|at| *at < size),
            // The rolled map is padded.
            Library::Timm { .. } => Some(at).filter(|at| *at < size).map(|at| (at + shift) % size),
        }
    }

    /// What is added to the scores of each kind of window, `[kinds, 1, cells, cells]`, and the kind of each window: only
    /// the last row and column of windows show cells from both ends of the map.
    pub(super) fn mask(&self) -> (Vec<f32>, Vec<usize>) {
        let [rows, columns] = self.grid();
        let regions = |last_row: bool, last_column: bool| -> Vec<(bool, bool)> {
            let beyond = |axis: usize, at: usize, last: bool| {
                last && self.shift[axis] > 0 && at >= self.window[axis] - self.shift[axis]
            };
            let wide = self.window[1];
            (0..self.cells())
                .map(|place| (beyond(0, place / wide, last_row), beyond(1, place % wide, last_column)))
                .collect()
        };
        let mut values = Vec::with_capacity(4 * self.cells() * self.cells());
        for kind in 0..4 {
            let regions = regions(kind >= 2, kind % 2 == 1);
            for own in &regions {
                values.extend(regions.iter().map(|other| if own == other { 0.0 } else { APART }));
            }
        }
        let kind = |window: usize| {
            2 * usize::from(window / columns + 1 == rows) + usize::from(window % columns + 1 == columns)
        };
        (values, (0..rows * columns).map(kind).collect())
    }

    /// Cells `[height / 2 × width / 2, 4]` that are merged into one, column by column; outside the number of cells.
    pub(super) fn merged([height, width]: [usize; 2]) -> Vec<usize> {
        let mut cells = Vec::new();
        for row in (0..height).step_by(2) {
            for column in (0..width).step_by(2) {
                for (down, right) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    let inside = row + down < height && column + right < width;
                    cells.push(if inside { (row + down) * width + column + right } else { height * width });
                }
            }
        }
        cells
    }

    /// The learned bias of each pair of cells `[heads, cells, cells]`, from its table `[offsets, heads]`.
    pub(super) fn bias(&self, table: Tensor) -> Tensor {
        let [tall, wide] = self.window;
        let (cells, heads) = (self.cells(), table.shape().last().copied().unwrap_or(0));
        deferred_floats(&[heads, cells, cells], move || {
            let values = table.to_f32().expect("`Weights` hands out floating-point tensors only");
            let mut bias = Vec::with_capacity(heads * cells * cells);
            for head in 0..heads {
                for from in 0..cells {
                    for to in 0..cells {
                        let down = from / wide + tall - 1 - to / wide;
                        let right = from % wide + wide - 1 - to % wide;
                        bias.push(values[(down * (2 * wide - 1) + right) * heads + head]);
                    }
                }
            }
            bias
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(library: Library) -> Windows {
        Windows { map: [3, 2], window: [2, 2], shift: [1, 1], library }
    }

    #[test]
    fn a_map_is_padded_before_or_after_it_is_rolled() {
        let (padded_first, rolled_first) =
            (windows(Library::Transformers), windows(Library::Timm { always_partition: true }));
        assert_eq!(padded_first.cells_by_place(), [3, 2, 5, 4, 6, 6, 1, 0]);
        assert_eq!(rolled_first.cells_by_place(), [3, 2, 5, 4, 1, 0, 6, 6]);
        for windows in [padded_first, rolled_first] {
            let places = windows.cells_by_place();
            for (cell, place) in windows.places_by_cell().into_iter().enumerate() {
                assert_eq!(places[place], cell);
            }
        }
    }

    #[test]
    fn cells_from_opposite_ends_are_kept_apart() {
        let (mask, kinds) = windows(Library::Transformers).mask();
        assert_eq!(kinds, [1, 3], "one column of windows: both are in the last one");
        let [first, last] = kinds[..] else { panic!("{kinds:?}") };
        assert_eq!(mask[16 * first..][..4], [0.0, APART, 0.0, APART]);
        assert_eq!(mask[16 * last..][..4], [0.0, APART, APART, APART]);
    }

    #[test]
    fn patches_are_merged_column_by_column() {
        assert_eq!(Windows::merged([3, 2]), [0, 2, 1, 3, 4, 6, 5, 6]);
    }
}
