//! Swin Transformer: attention within windows, which are shifted every other block; patches are merged between stages.
//!
//! Paper: <https://arxiv.org/abs/2103.14030>. References: `SwinBackbone` in transformers (which pads a map before it rolls
//! it) and `SwinTransformer` in timm (which rolls first). Where the original pads, rolls, cuts into windows and back, the
//! graph gathers cells: one node each way.

mod config;
mod windows;

use graph::builder::Conv;
use graph::{Builder, Value};

pub(crate) use config::SWIN_RENAMES;
use windows::Windows;

use super::attention::{attend_heads, head_factor};
use super::linear::joined_linear;
use super::stored::{RowScale, widened};
use super::{Activation, layer_norm, linear, unbiased_linear};
use crate::Error;
use crate::config::CONFIG;
use crate::weights::Weights;

/// ε of the normalizations that the configuration says nothing about.
const EPSILON: f32 = 1e-5;
/// Most cells of a map: an image of 8192 × 8192 pixels in patches of 4.
const MOST_CELLS: usize = 1 << 22;

/// What the configuration says about the backbone.
#[derive(Debug, Clone)]
pub(crate) struct Swin {
    library: Library,
    embed_dim: usize,
    depths: Vec<usize>,
    heads: Vec<usize>,
    window: usize,
    patch: [usize; 2],
    mlp_ratio: f64,
    qkv_bias: bool,
    activation: Activation,
    epsilon: f32,
    /// The only size of an image that works.
    image: Option<[usize; 2]>,
    /// Which stages feed the neck; 0 is the stem.
    outputs: Vec<usize>,
}

/// Whose implementation a checkpoint was trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Library {
    Transformers,
    Timm {
        /// Whether windows stay as large when the map is smaller.
        always_partition: bool,
    },
}

/// A feature map as tokens `[batch, height × width, channels]`, rows first.
#[derive(Debug, Clone)]
pub(crate) struct TokenMap {
    pub(crate) tokens: Value,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl TokenMap {
    /// The map as `[batch, channels, height, width]`.
    pub(crate) fn map(&self, b: &mut Builder) -> Value {
        let x = b.transpose(&self.tokens, &[0, 2, 1]);
        b.reshape(&x, &[0, 0, self.height as i64, self.width as i64])
    }
}

impl Swin {
    /// Channels of the maps that feed the neck.
    pub(crate) fn channels(&self) -> Vec<usize> {
        self.outputs.iter().map(|stage| self.embed_dim << stage.saturating_sub(1)).collect()
    }

    /// The feature maps that feed the neck, the finest first; normalized where the library normalizes them. `w` is the
    /// backbone's module.
    pub(crate) fn build(&self, b: &mut Builder, w: &Weights, pixels: &Value) -> Result<Vec<TokenMap>, Error> {
        let sides = [pixels.size(2), pixels.size(3)];
        self.require_size(sides)?;
        let maps = match self.library {
            Library::Transformers => w.scope(b, "swin", |b, w| self.stages(b, w, pixels)),
            Library::Timm { .. } => self.stages(b, w, pixels),
        };
        let chosen = self.outputs.iter().filter_map(|stage| Some((*stage, maps.get(*stage)?.clone())));
        Ok(chosen
            .map(|(stage, map)| {
                if self.library != Library::Transformers {
                    return map;
                }
                let name = if stage == 0 { "stem".into() } else { format!("stage{stage}") };
                let name = format!("hidden_states_norms.{name}");
                TokenMap { tokens: layer_norm(b, w, &name, &map.tokens, EPSILON), ..map }
            })
            .collect())
    }

    fn require_size(&self, sides: [usize; 2]) -> Result<(), Error> {
        let cells = self.grid(sides).into_iter().try_fold(1_usize, usize::checked_mul);
        if !cells.is_some_and(|cells| (1..=MOST_CELLS).contains(&cells)) {
            let value = format!("{:?} for images of {} × {} pixels", self.patch, sides[0], sides[1]);
            let expected = format!("between 1 and {MOST_CELLS} patches");
            return Err(Error::unsupported(CONFIG, "backbone_config.patch_size", value, expected));
        }
        let Some(image) = self.image else { return Ok(()) };
        let fits = match self.library {
            // As many positions as the image of the configuration has whole patches.
            Library::Transformers => {
                let trained = [0, 1].map(|axis| image[axis] / self.patch[axis]);
                trained.into_iter().product::<usize>() == self.grid(sides).into_iter().product::<usize>()
            }
            Library::Timm { .. } => image == sides,
        };
        if fits {
            return Ok(());
        }
        Err(Error::Underivable {
            what: "a usable input size",
            reason: format!("this backbone takes images of {} × {} pixels only", image[1], image[0]),
            option: "--size WIDTHxHEIGHT",
        })
    }

    /// Rows and columns of patches.
    fn grid(&self, sides: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|axis| match self.library {
            Library::Transformers => sides[axis].div_ceil(self.patch[axis]),
            Library::Timm { .. } => sides[axis] / self.patch[axis],
        })
    }

    /// The stem's map and that of each stage up to the last that is needed.
    fn stages(&self, b: &mut Builder, w: &Weights, pixels: &Value) -> Vec<TokenMap> {
        let mut map = w.scope(b, "embeddings", |b, w| self.stem(b, w, pixels));
        let mut maps = vec![map.clone()];
        let last = self.outputs.last().copied().unwrap_or(0);
        for stage in 0..last {
            let name = format!("encoder.layers.{stage}");
            let whole = w.scope(b, &name, |b, w| self.stage(b, w, &map, stage));
            if stage + 1 < last {
                map = w.scope(b, &format!("{name}.downsample"), |b, w| merge(b, w, &whole));
            }
            maps.push(whole);
        }
        let unused: Vec<String> = (last..self.depths.len())
            .map(|stage| w.full(&format!("encoder.layers.{stage}.")))
            .chain(last.checked_sub(1).map(|stage| w.full(&format!("encoder.layers.{stage}.downsample."))))
            .chain([w.full("layernorm.")])
            .collect();
        w.ignore(|name| {
            name.ends_with(".relative_position_index")
                || name.ends_with(".attn_mask")
                || unused.iter().any(|prefix| name.starts_with(prefix.as_str()))
        });
        maps
    }

    fn stem(&self, b: &mut Builder, w: &Weights, pixels: &Value) -> TokenMap {
        let sides = [pixels.size(2), pixels.size(3)];
        let [height, width] = self.grid(sides);
        let missing =
            [0, 1].map(|axis| (self.grid(sides)[axis] * self.patch[axis]).saturating_sub(sides[axis]));
        let moves = Conv { stride: self.patch, padding: [0, 0, missing[0], missing[1]], ..Conv::new(1, 0) };
        let x = w.scope(b, "patch_embeddings.projection", |b, w| {
            let shape = [self.embed_dim, pixels.size(1), self.patch[0], self.patch[1]];
            let weight = w.constant(b, "weight", &shape, widened);
            let bias = w.constant(b, "bias", &[self.embed_dim], widened);
            b.conv(pixels, &weight, Some(&bias), moves)
        });
        let x = b.flatten_from(&x, 2);
        let x = b.transpose(&x, &[0, 2, 1]);
        let mut tokens = layer_norm(b, w, "norm", &x, EPSILON);
        if self.library == Library::Transformers && self.image.is_some() {
            let shape = [1, height * width, self.embed_dim];
            let positions = w.constant(b, "position_embeddings", &shape, widened);
            tokens = b.add(&tokens, &positions);
        }
        TokenMap { tokens, height, width }
    }

    fn stage(&self, b: &mut Builder, w: &Weights, map: &TokenMap, stage: usize) -> TokenMap {
        let mut map = map.clone();
        for block in 0..self.depths[stage] {
            let windows = self.windows([map.height, map.width], block % 2 == 1);
            map.tokens = w.scope(b, &format!("blocks.{block}"), |b, w| {
                self.block(b, w, &map.tokens, &windows, self.heads[stage])
            });
        }
        map
    }

    fn windows(&self, map: [usize; 2], shifted: bool) -> Windows {
        let clamps = self.library == Library::Timm { always_partition: false };
        let window = map.map(|side| if clamps { self.window.min(side) } else { self.window });
        let shift = [0, 1].map(|axis| {
            let whole = clamps && map[axis] <= window[axis];
            if shifted && !whole { self.window / 2 } else { 0 }
        });
        Windows { map, window, shift, library: self.library }
    }

    fn block(&self, b: &mut Builder, w: &Weights, x: &Value, windows: &Windows, heads: usize) -> Value {
        let width = x.size(-1);
        let normal = layer_norm(b, w, "layernorm_before", x, self.epsilon);
        let attended = w.scope(b, "attention", |b, w| self.attention(b, w, &normal, windows, heads));
        let x = b.add(x, &attended);
        let normal = layer_norm(b, w, "layernorm_after", &x, self.epsilon);
        let inner = (width as f64 * self.mlp_ratio) as usize;
        let fed = w.scope(b, "mlp", |b, w| {
            let hidden = linear(b, w, "fc1", &normal, inner);
            let hidden = self.activation.apply(b, &hidden);
            linear(b, w, "fc2", &hidden, width)
        });
        b.add(&x, &fed)
    }

    /// Attention of each cell to its window; the result lies row by row again.
    fn attention(&self, b: &mut Builder, w: &Weights, x: &Value, windows: &Windows, heads: usize) -> Value {
        let width = x.size(-1);
        let shape = [windows.count(), windows.cells()];
        let x = gather(b, x, windows.hang_over(), &shape, windows.cells_by_place());

        let table = w.child("relative_position_bias");
        let [tall, wide] = windows.window;
        let table = table.tensor("relative_position_bias_table", &[(2 * tall - 1) * (2 * wide - 1), heads]);
        let bias = b.weight(&w.full("relative_position_bias"), windows.bias(table));
        let mask = windows.shifted().then(|| mask(b, windows));
        let mut biases = vec![&bias];
        biases.extend(&mask);

        let mixed = if w.exact() && w.shape("q_proj.weight").is_some() {
            let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(|name| self.projected(b, w, name, &x, width));
            let parts = [&q, &k, &v].map(|part| apart(b, part, heads));
            let k = b.transpose(&parts[1], &[0, 1, 2, 4, 3]);
            attend_heads(b, [&parts[0], &k, &parts[2]], &biases, Some(head_factor(width, heads)))
        } else {
            let all = self.queries_keys_values(b, w, &x, heads);
            let all = apart(b, &all, 3 * heads);
            let parts = b.split(&all, &[heads; 3], 2);
            let factor = w.exact().then(|| head_factor(width, heads));
            let [q, k, v] = &parts[..] else { return x };
            let k = b.transpose(k, &[0, 1, 2, 4, 3]);
            attend_heads(b, [q, &k, v], &biases, factor)
        };
        let mixed = b.reshape(&mixed, &[0, (shape[0] * shape[1]) as i64, width as i64]);
        let mixed = gather(b, &mixed, false, &[windows.map[0] * windows.map[1]], windows.places_by_cell());
        linear(b, w, "o_proj", &mixed, width)
    }

    /// One projection to queries, keys and values, one after the other.
    fn queries_keys_values(&self, b: &mut Builder, w: &Weights, x: &Value, heads: usize) -> Value {
        let width = x.size(-1);
        // The first rows make the queries.
        let scale = (!w.exact()).then(|| RowScale::each(vec![head_factor(width, heads); width]));
        let stored = w.shape("qkv.weight").is_some();
        let names: &[&str] = if stored { &["qkv"] } else { &["q_proj", "k_proj", "v_proj"] };
        joined_linear(b, w, names, x, 3 * width, self.qkv_bias, scale)
    }

    fn projected(&self, b: &mut Builder, w: &Weights, name: &str, x: &Value, width: usize) -> Value {
        if self.qkv_bias { linear(b, w, name, x, width) } else { unbiased_linear(b, w, name, x, width) }
    }
}

/// `[batch, windows, cells, width]` as `[batch, windows, parts, cells, head]`.
fn apart(b: &mut Builder, x: &Value, parts: usize) -> Value {
    let head = x.size(-1) / parts.max(1);
    let x = b.reshape(x, &[0, 0, 0, parts as i64, head as i64]);
    b.transpose(&x, &[0, 1, 3, 2, 4])
}

/// What keeps cells apart that a shift brought together: `[windows, 1, cells, cells]`.
fn mask(b: &mut Builder, windows: &Windows) -> Value {
    let (values, kinds) = windows.mask();
    let kinds: Vec<i64> = kinds.into_iter().map(|kind| kind as i64).collect();
    let cells = windows.cells();
    let values = b.floats(&[4, 1, cells, cells], values);
    let kinds = b.ints(&kinds);
    b.gather(&values, &kinds, 0)
}

/// Four neighbours become one token of twice their width.
fn merge(b: &mut Builder, w: &Weights, map: &TokenMap) -> TokenMap {
    let width = map.tokens.size(-1);
    let [height, columns] = [map.height.div_ceil(2), map.width.div_ceil(2)];
    let hangs_over = !(map.height.is_multiple_of(2) && map.width.is_multiple_of(2));
    let merged = Windows::merged([map.height, map.width]);
    let x = gather(b, &map.tokens, hangs_over, &[height * columns, 4], merged);
    let x = b.flatten_from(&x, 2);
    let x = layer_norm(b, w, "norm", &x, EPSILON);
    TokenMap { tokens: unbiased_linear(b, w, "reduction", &x, 2 * width), height, width: columns }
}

/// The tokens of `x` `[batch, tokens, width]` at `places`, in the shape of `places`; with `padded` the place behind the
/// last token is zero.
fn gather(b: &mut Builder, x: &Value, padded: bool, shape: &[usize], places: Vec<usize>) -> Value {
    let x = b.pad(x, 1, 0, usize::from(padded));
    let places = b.integers(shape, places.into_iter().map(|place| place as i64).collect());
    b.gather(&x, &places, 1)
}
