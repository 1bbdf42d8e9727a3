//! The backbone of RF-DETR: `DINOv2` (<https://arxiv.org/abs/2304.07193>), with register tokens
//! (<https://arxiv.org/abs/2309.16588>) where it has some, whose tokens are ordered window by window.
//!
//! Each window has a class token and register tokens of its own. Attention within windows and attention over the whole
//! image differ only in what is a batch.

use graph::builder::Conv;
use graph::{Builder, Tensor, Value};

use crate::Error;
use crate::arch::lw_detr::vit::{position_map, to_windows, windowed_grid};
use crate::layers::{
    Interpolate, Kernel, VitAttention, VitBlock, conv2d, deferred_floats, floats, layer_norm, vit_block,
};
use crate::weights::Weights;

/// How the position table gets another size.
const INTERPOLATE: Interpolate = Interpolate { kernel: Kernel::Bicubic, antialias: true };

/// How the patches of an image are counted off to windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WindowOrder {
    /// Row by row.
    RowsFirst,
    /// With the width of a window for its height and the other way round, as transformers does: the same for square
    /// windows, and with others a window is no rectangle.
    ColumnsFirst,
}

/// The sizes of the backbone.
#[derive(Debug)]
pub(super) struct Dinov2 {
    pub(super) hidden_size: usize,
    pub(super) patch_size: usize,
    /// Patches along a side of the image that the position table is for.
    pub(super) trained: usize,
    /// Register tokens.
    pub(super) registers: usize,
    /// Windows along a side.
    pub(super) windows: usize,
    /// Layers that attend within windows.
    pub(super) windowed: Vec<usize>,
    pub(super) order: WindowOrder,
    /// What feeds the projector, by the number of layers before it.
    pub(super) stages: Vec<usize>,
    /// Whether the feature maps are normalized.
    pub(super) apply_layernorm: bool,
    pub(super) block: VitBlock<'static>,
}

/// The feature maps of the backbone, side by side, `[batch, height, width, stages × hidden_size]`.
#[derive(Debug)]
pub(super) struct Maps {
    pub(super) value: Value,
    pub(super) stages: usize,
}

impl Dinov2 {
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
                stages.push(if self.apply_layernorm {
                    layer_norm(b, w, "layernorm", &x, self.block.epsilon)
                } else {
                    x.clone()
                });
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

    /// The tokens of each window, `[batch × windows², tokens, hidden_size]`: class token, registers, patches.
    fn embed(&self, b: &mut Builder, w: &Weights, pixels: &Value, grid: [usize; 2]) -> Value {
        let size = [self.hidden_size, self.patch_size];
        let moves = Conv::new(self.patch_size, 0);
        let map = conv2d(b, w, "patch_embeddings.projection", pixels, size, moves, true);
        let shape = [1, self.trained * self.trained + 1, self.hidden_size];
        let stored = w.tensor("position_embeddings", &shape);
        let table = position_map(stored.clone(), 1, INTERPOLATE, self.trained, grid);
        let table = b.weight(&w.full("position_embeddings"), table);
        let map = b.add(&map, &table);
        let patches = to_windows(b, &map, self.windows, self.window(grid));
        let first = b.weight(&w.full("first_tokens"), self.first_tokens(w, stored));
        let first = b.expand_batch(&first, &patches);
        b.concat(&[&first, &patches], 1)
    }

    /// Rows and columns of a window, as the patches are counted off.
    fn window(&self, grid: [usize; 2]) -> [i64; 2] {
        let [rows, columns] = grid.map(|side| (side / self.windows) as i64);
        match self.order {
            WindowOrder::RowsFirst => [rows, columns],
            WindowOrder::ColumnsFirst => [columns, rows],
        }
    }

    /// What stands before the patches: the class token with its position, and the registers, which have none.
    fn first_tokens(&self, w: &Weights, positions: Tensor) -> Tensor {
        let (size, registers) = (self.hidden_size, self.registers);
        let class = w.tensor("cls_token", &[1, 1, size]);
        let own = (registers > 0).then(|| w.tensor("register_tokens", &[1, registers, size]));
        deferred_floats(&[1, 1 + registers, size], move || {
            let (class, positions) = (floats(&class), floats(&positions));
            let mut tokens: Vec<f32> =
                class.iter().zip(positions.iter()).map(|(token, place)| token + place).collect();
            if let Some(own) = &own {
                tokens.extend(floats(own).iter());
            }
            tokens
        })
    }

    /// The patches of all windows put together again: `[batch, height, width, channels]`.
    fn whole(&self, b: &mut Builder, x: &Value, [height, width]: [usize; 2]) -> Value {
        let (side, channels) = (self.windows as i64, x.size(-1) as i64);
        let patches = b.slice(x, 1, 1 + self.registers, x.size(1));
        if self.windows == 1 {
            return b.reshape(&patches, &[0, height as i64, width as i64, channels]);
        }
        let [rows, columns] = [height, width].map(|cells| (cells / self.windows) as i64);
        let apart = b.reshape(&patches, &[-1, side, side, rows, columns, channels]);
        let apart = b.transpose(&apart, &[0, 1, 3, 2, 4, 5]);
        b.reshape(&apart, &[0, height as i64, width as i64, channels])
    }
}
