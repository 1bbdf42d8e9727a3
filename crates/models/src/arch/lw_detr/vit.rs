//! The backbone of LW-DETR: a vision transformer whose tokens are ordered window by window, so that attention within
//! windows and attention over the whole image differ only in what is a batch.

use graph::builder::Conv;
use graph::{Builder, Tensor, Value};

use crate::Error;
use crate::layers::{Interpolate, VitAttention, VitBlock, conv2d, deferred_floats, floats, vit_block};
use crate::weights::Weights;

/// The sizes of the backbone.
#[derive(Debug)]
pub(super) struct WindowedVit {
    pub(super) hidden_size: usize,
    pub(super) patch_size: usize,
    /// Patches along a side of the image that the position table is for; `None` without a table.
    pub(super) trained: Option<usize>,
    /// Windows along a side.
    pub(super) windows: usize,
    /// Layers that attend within windows.
    pub(super) windowed: Vec<usize>,
    /// What feeds the projector, by the number of layers before it.
    pub(super) stages: Vec<usize>,
    pub(super) block: VitBlock<'static>,
}

/// The feature maps of the backbone, side by side, `[batch, stages × hidden_size, height, width]`.
#[derive(Debug)]
pub(super) struct Maps {
    pub(super) value: Value,
    pub(super) stages: usize,
}

impl WindowedVit {
    /// Layers that something is made of.
    pub(super) fn used_layers(&self) -> usize {
        self.stages.last().copied().unwrap_or(0)
    }

    pub(super) fn build(&self, b: &mut Builder, w: &Weights, pixels: &Value) -> Result<Maps, Error> {
        let grid = windowed_grid([pixels.size(2), pixels.size(3)], self.patch_size, self.windows)?;
        let mut x = w.scope(b, "embeddings", |b, w| self.embed(b, w, pixels, grid));
        let mut stages = Vec::new();
        for layer in 0..=self.used_layers() {
            if self.stages.contains(&layer) {
                stages.push(x.clone());
            }
            if layer < self.used_layers() {
                let merged = if self.windowed.contains(&layer) { 1 } else { self.windows * self.windows };
                let attention = VitAttention { merged, ..self.block.attention };
                let block = VitBlock { attention, ..self.block };
                x = w.scope(b, &format!("encoder.layer.{layer}"), |b, w| vit_block(b, w, &x, &block));
            }
        }
        let joined = b.concat(&stages.iter().collect::<Vec<_>>(), -1);
        let value = b.scoped("feature_maps", |b| self.whole(b, &joined, grid));
        Ok(Maps { value, stages: stages.len() })
    }

    /// The tokens of each window, `[batch × windows², tokens, hidden_size]`, with their positions.
    fn embed(&self, b: &mut Builder, w: &Weights, pixels: &Value, grid: [usize; 2]) -> Value {
        let size = [self.hidden_size, self.patch_size];
        let mut map = conv2d(b, w, "projection", pixels, size, Conv::new(self.patch_size, 0), true);
        if let Some(side) = self.trained {
            let stored = w.tensor("position_embeddings", &[1, side * side + 1, self.hidden_size]);
            let table = position_map(stored, 1, Interpolate::BICUBIC, side, grid);
            let table = b.weight(&w.full("position_embeddings"), table);
            map = b.add(&map, &table);
        }
        let [rows, columns] = grid.map(|side| (side / self.windows) as i64);
        to_windows(b, &map, self.windows, [rows, columns])
    }

    /// Windows put together again: `[batch, channels, height, width]`.
    fn whole(&self, b: &mut Builder, x: &Value, [height, width]: [usize; 2]) -> Value {
        let (side, channels) = (self.windows as i64, x.size(-1) as i64);
        let [rows, columns] = [height, width].map(|cells| (cells / self.windows) as i64);
        let apart = b.reshape(x, &[-1, side, side, rows, columns, channels]);
        let apart = b.transpose(&apart, &[0, 5, 1, 3, 2, 4]);
        b.reshape(&apart, &[0, channels, height as i64, width as i64])
    }
}

/// Rows and columns of patches of an image of this size; whole windows only.
pub(in crate::arch) fn windowed_grid(
    image: [usize; 2],
    patch_size: usize,
    windows: usize,
) -> Result<[usize; 2], Error> {
    let grid = image.map(|side| side / patch_size);
    if grid.iter().all(|side| *side > 0 && side.is_multiple_of(windows)) {
        return Ok(grid);
    }
    Err(Error::Underivable {
        what: "a usable input size",
        reason: format!(
            "{}×{} patches of {patch_size} pixels do not make {windows}×{windows} windows",
            grid[0], grid[1]
        ),
        option: "--size WIDTHxHEIGHT, multiples of patch and windows",
    })
}

/// A map `[batch, channels, height, width]` as windows of `rows × columns` cells, `[batch × windows², cells, channels]`.
pub(in crate::arch) fn to_windows(
    b: &mut Builder,
    map: &Value,
    windows: usize,
    [rows, columns]: [i64; 2],
) -> Value {
    let (side, channels) = (windows as i64, map.size(1) as i64);
    if windows == 1 {
        let flat = b.flatten_from(map, 2);
        return b.transpose(&flat, &[0, 2, 1]);
    }
    let apart = b.reshape(map, &[0, channels, side, rows, side, columns]);
    let apart = b.transpose(&apart, &[0, 2, 4, 3, 5, 1]);
    b.reshape(&apart, &[-1, rows * columns, channels])
}

/// The square table behind the first `skipped` rows of `stored` `[1, rows, width]` as a map `[1, width, height, width]`
/// of another size.
pub(in crate::arch) fn position_map(
    stored: Tensor,
    skipped: usize,
    interpolate: Interpolate,
    side: usize,
    grid: [usize; 2],
) -> Tensor {
    let width = stored.shape().last().copied().unwrap_or(0);
    deferred_floats(&[1, width, grid[0], grid[1]], move || {
        let all = floats(&stored);
        let cells = interpolate.grid(&all[skipped * width..], width, [side; 2], grid);
        let count = grid[0] * grid[1];
        (0..width)
            .flat_map(|at| (0..count).map(move |cell| (at, cell)))
            .map(|(at, cell)| cells[cell * width + at])
            .collect()
    })
}
