//! The image encoder: patches and a class token through the blocks of a vision transformer.

use graph::builder::Conv;
use graph::{Builder, Tensor, Value};

use super::config::Vision;
use crate::Error;
use crate::config::CONFIG;
use crate::layers::{
    Interpolate, VitAttention, VitBlock, VitMlp, conv2d, deferred_floats, floats, layer_norm, vit_block,
};
use crate::weights::Weights;

/// Most patches of an image: their attention to each other is the square of it.
const MOST_PATCHES: usize = 1 << 16;

impl Vision {
    /// Rows and columns of patches in an image of this height and width.
    pub(super) fn grid(&self, height: usize, width: usize) -> Result<[usize; 2], Error> {
        let grid = [height / self.patch, width / self.patch];
        if grid.contains(&0) || grid[0] * grid[1] > MOST_PATCHES {
            return Err(Error::Underivable {
                what: "a usable input size",
                reason: format!("{height}×{width} pixels are {}×{} patches", grid[0], grid[1]),
                option: "--size WIDTHxHEIGHT",
            });
        }
        Ok(grid)
    }

    /// The features of class token and patches `[batch, 1 + patches, width]`, before the last normalization.
    pub(super) fn build(
        &self,
        b: &mut Builder,
        w: &Weights,
        pixels: &Value,
        grid: [usize; 2],
    ) -> Result<Value, Error> {
        let mut x = w.scope(b, "embeddings", |b, w| self.embed(b, w, pixels, grid))?;
        x = layer_norm(b, w, "pre_layernorm", &x, self.epsilon);
        let [norm1, norm2] = ["layer_norm1", "layer_norm2"];
        let block = VitBlock {
            norms: [norm1, norm2],
            epsilon: self.epsilon,
            attention: VitAttention {
                names: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"],
                biased: [true; 3],
                heads: self.heads,
                head: self.width / self.heads,
                merged: 1,
            },
            mlp: VitMlp::Plain {
                names: ["mlp.fc1", "mlp.fc2"],
                hidden: self.hidden,
                activation: self.activation,
            },
            scales: None,
        };
        for index in 0..self.layers {
            x = w.scope(b, &format!("encoder.layers.{index}"), |b, w| vit_block(b, w, &x, &block));
        }
        let unused = w.full("embeddings.position_ids");
        w.ignore(|name| name == unused);
        Ok(x)
    }

    fn embed(&self, b: &mut Builder, w: &Weights, pixels: &Value, grid: [usize; 2]) -> Result<Value, Error> {
        let moves = Conv::new(self.patch, 0);
        let map = conv2d(b, w, "patch_embedding", pixels, [self.width, self.patch], moves, false);
        let patches = b.flatten_from(&map, 2);
        let patches = b.transpose(&patches, &[0, 2, 1]);
        // The class token comes with its position: a row of zeros takes both.
        let tokens = b.pad(&patches, 1, 1, 0);
        let table = self.positions(w, grid)?;
        let table = b.weight(&w.full("position_embedding"), table);
        Ok(b.add(&tokens, &table))
    }

    /// What is added to class token and patches `[1, 1 + patches, width]`: the class token itself, and positions, as
    /// they were trained or interpolated to another size.
    fn positions(&self, w: &Weights, grid: [usize; 2]) -> Result<Tensor, Error> {
        let side = self.image / self.patch;
        let too_many = || {
            let value = format!("{} in patches of {}", self.image, self.patch);
            Error::unsupported(CONFIG, "vision_config.image_size", value, "fewer patches")
        };
        let trained =
            side.checked_mul(side).filter(|trained| *trained <= MOST_PATCHES).ok_or_else(too_many)?;
        let width = self.width;
        let class = w.tensor("class_embedding", &[width]);
        let table = w.child("position_embedding").tensor("weight", &[trained + 1, width]);
        Ok(deferred_floats(&[1, 1 + grid[0] * grid[1], width], move || {
            let (class, table) = (floats(&class), floats(&table));
            let (first, rest) = table.split_at(width);
            let mut values: Vec<f32> =
                first.iter().zip(class.iter()).map(|(place, class)| place + class).collect();
            values.extend(Interpolate::BICUBIC.grid(rest, width, [side; 2], grid));
            values
        }))
    }
}
