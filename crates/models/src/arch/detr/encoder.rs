//! From the image to the encoder's output: backbone, positions, layers of attention of the map to itself.

use graph::builder::Conv;
use graph::{Builder, Tensor, Value};

use super::config::DetrConfig;
use super::{EPSILON, NormPlace};
use crate::Error;
use crate::layers::{
    Attended, Attention, FixedRows, Padding, Rows, Sine, attention, conv2d, feed_forward, layer_norm,
};
use crate::weights::Weights;

/// The names of an attention's projections.
pub(super) const PROJECTIONS: [&str; 4] = ["q_proj", "k_proj", "v_proj", "o_proj"];
/// Rows and columns that learned positions reach.
const LEARNED: usize = 50;

/// What the transformer is told about the image.
pub(in crate::arch) struct Scene {
    /// The cells of the backbone's last map, `[batch, cells, width]`.
    pub(in crate::arch) cells: Value,
    /// Where each of them lies, `[batch or 1, cells, width]`.
    pub(in crate::arch) position: Value,
    /// The same as a tensor, where it does not depend on the image.
    pub(in crate::arch) fixed: Option<Tensor>,
    /// What is added to the scores of cells as keys, where some of them are padding.
    pub(in crate::arch) bias: Option<Value>,
}

impl Scene {
    /// Runs the backbone on `pixels`; positions are sines of this kind, or learned as `config` says.
    pub(in crate::arch) fn find(
        b: &mut Builder,
        w: &Weights,
        config: &DetrConfig,
        padding: &Padding,
        pixels: &Value,
        sine: Sine,
    ) -> Result<Self, Error> {
        let maps = config.backbone.build(b, w, pixels);
        let Some(map) = maps.last() else {
            return Err(super::refuse("out_indices", "empty".into(), "at least one map"));
        };
        let level = padding.level(b, [map.size(2), map.size(3)]);
        let name = w.full("position_embedding");
        let fixed = match (config.learned_positions, level.is_padded()) {
            (true, _) => Some(learned_positions(w, config.width, level.size)?),
            (false, false) => Some(sine.positions(level.size)),
            (false, true) => None,
        };
        let position = match &fixed {
            Some(table) => b.weight(&name, table.clone()),
            None => level.sine(b, &name, sine),
        };
        let map = conv2d(b, w, "input_projection", map, [config.width, 1], Conv::new(1, 0), true);
        let cells = b.flatten_from(&map, 2);
        let cells = b.transpose(&cells, &[0, 2, 1]);
        Ok(Self { cells, position, fixed, bias: level.key_bias(b) })
    }
}

/// A row of a table for columns, then one of a table for rows, for each cell: `[1, cells, width]`.
fn learned_positions(w: &Weights, width: usize, [height, columns]: [usize; 2]) -> Result<Tensor, Error> {
    if height > LEARNED || columns > LEARNED {
        return Err(Error::Underivable {
            what: "a usable input size",
            reason: format!("learned positions reach {LEARNED} cells, the map has {height}×{columns}"),
            option: "--size WIDTHxHEIGHT",
        });
    }
    let w = w.child("position_embedding");
    let [by_row, by_column] = ["row_embeddings.weight", "column_embeddings.weight"]
        .map(|name| w.tensor(name, &[LEARNED, width / 2]));
    let rows = FixedRows::new(height * columns, move || {
        let (by_row, by_column) = (Rows::of(&by_row), Rows::of(&by_column));
        let cells = by_row
            .iter()
            .take(height)
            .flat_map(|row| by_column.iter().take(columns).flat_map(move |column| column.iter().chain(row)));
        Rows::new(width, cells.copied().collect())
    });
    Ok(rows.tensor(&[1, height * columns, width]))
}

/// The encoder's output; `placed` gives a layer's positions from what it starts with.
pub(in crate::arch) fn encode(
    b: &mut Builder,
    w: &Weights,
    config: &DetrConfig,
    place: NormPlace,
    scene: &Scene,
    placed: impl Fn(&mut Builder, &Weights, &Value) -> Value,
) -> Value {
    w.scope(b, "encoder", |b, w| {
        let mut x = scene.cells.clone();
        for index in 0..config.encoder.layers {
            let position = placed(b, w, &x);
            let name = format!("layers.{index}");
            x = w.scope(b, &name, |b, w| layer(b, w, config, place, &x, &position, scene.bias.as_ref()));
        }
        x
    })
}

fn layer(
    b: &mut Builder,
    w: &Weights,
    config: &DetrConfig,
    place: NormPlace,
    x: &Value,
    position: &Value,
    bias: Option<&Value>,
) -> Value {
    let spec = Attention { heads: config.encoder.heads, names: PROJECTIONS };
    let x = place.around(b, w, "self_attn_layer_norm", x, |b, x| {
        let placed = b.scoped("self_attn", |b| b.add(x, position));
        attention(b, w, "self_attn", Attended { queries: &placed, keys: &placed, values: x, bias }, spec)
    });
    fed(b, w, config, config.encoder.inner, place, &x)
}

/// The second half of a layer.
pub(in crate::arch) fn fed(
    b: &mut Builder,
    w: &Weights,
    config: &DetrConfig,
    inner: usize,
    place: NormPlace,
    x: &Value,
) -> Value {
    place.around(b, w, "final_layer_norm", x, |b, x| {
        feed_forward(b, w, x, [inner, config.width], config.between)
    })
}

impl NormPlace {
    /// The sum of `x` and what `block` makes of it, normalized before or after.
    pub(in crate::arch) fn around(
        self,
        b: &mut Builder,
        w: &Weights,
        norm: &str,
        x: &Value,
        block: impl FnOnce(&mut Builder, &Value) -> Value,
    ) -> Value {
        match self {
            Self::After => {
                let more = block(b, x);
                let sum = b.add(x, &more);
                layer_norm(b, w, norm, &sum, EPSILON)
            }
            Self::Before => {
                let normal = layer_norm(b, w, norm, x, EPSILON);
                let more = block(b, &normal);
                b.add(x, &more)
            }
        }
    }
}
