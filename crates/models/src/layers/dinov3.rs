//! `DINOv3`: a vision transformer whose patches know their places by rotation, with a class token and registers in front.
//!
//! Paper: <https://arxiv.org/abs/2508.10104>. Reference: `DINOv3ViTBackbone` in transformers. The rotation turns pairs of
//! elements of queries and keys; tokens in front are not turned, which is a turn by 0 in the tables.

use graph::builder::Conv;
use graph::{Builder, Tensor, Value};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::attention::attend_heads;
use super::linear::scaled_linear;
use super::stored::{RowScale, floats, transposed, widened};
use super::vit::projections;
use super::{
    Activation, VitAttention, VitMlp, chosen_stages, conv2d, deferred_floats, layer_norm, linear,
    unbiased_linear,
};
use crate::Error;
use crate::config::{CONFIG, Config, Limits};
use crate::weights::Weights;

/// What the configuration says about the backbone.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "the file's own switches")]
pub(crate) struct DinoV3 {
    patch: usize,
    width: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    activation: Activation,
    epsilon: f32,
    theta: f32,
    /// Whether queries, keys and values have a bias.
    biased: [bool; 3],
    proj_bias: bool,
    mlp_bias: bool,
    gated: bool,
    registers: usize,
    /// Whether every map is normalized, not the last layer's only.
    normalized: bool,
    /// Which layers make a map; 0 is what the first one gets.
    outputs: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the file's own switches")]
struct Raw {
    patch_size: Patch,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_act: String,
    layer_norm_eps: f32,
    rope_theta: f32,
    num_channels: usize,
    query_bias: bool,
    key_bias: bool,
    value_bias: bool,
    proj_bias: bool,
    mlp_bias: bool,
    use_gated_mlp: bool,
    num_register_tokens: usize,
    apply_layernorm: bool,
    reshape_hidden_states: bool,
    out_features: Option<Vec<String>>,
    out_indices: Option<Vec<i64>>,
}

/// The side of a patch, or both of its sides.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Patch {
    Square(usize),
    Sides([usize; 2]),
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            patch_size: Patch::Square(16),
            hidden_size: 384,
            intermediate_size: 1536,
            num_hidden_layers: 12,
            num_attention_heads: 6,
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-5,
            rope_theta: 100.0,
            num_channels: 3,
            query_bias: true,
            key_bias: false,
            value_bias: true,
            proj_bias: true,
            mlp_bias: true,
            use_gated_mlp: false,
            num_register_tokens: 0,
            apply_layernorm: true,
            reshape_hidden_states: true,
            out_features: None,
            out_indices: None,
        }
    }
}

impl DinoV3 {
    /// Reads `backbone_config`.
    pub(crate) fn from_config(raw: &Map<String, Json>) -> Result<Self, Error> {
        let raw: Raw = Config::parse(raw)?;
        let limits = Limits::of("backbone_config.");
        limits.width("hidden_size", raw.hidden_size)?;
        limits.width("intermediate_size", raw.intermediate_size)?;
        limits.layers("num_hidden_layers", raw.num_hidden_layers)?;
        limits.heads("num_attention_heads", raw.num_attention_heads, raw.hidden_size)?;
        limits.within("num_register_tokens", raw.num_register_tokens, 0, 1024)?;
        limits.within("num_channels", raw.num_channels, 3, 3)?;
        let patch = match raw.patch_size {
            Patch::Square(side) => side,
            Patch::Sides([height, width]) if height == width => height,
            Patch::Sides(sides) => return Err(refuse("patch_size", format!("{sides:?}"), "a square")),
        };
        limits.within("patch_size", patch, 1, 1024)?;
        let head = raw.hidden_size / raw.num_attention_heads;
        if !head.is_multiple_of(4) {
            let expected = "a number that leaves each head a multiple of 4 elements";
            return Err(refuse("num_attention_heads", raw.num_attention_heads.to_string(), expected));
        }
        for (key, value) in [("layer_norm_eps", raw.layer_norm_eps), ("rope_theta", raw.rope_theta)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(refuse(key, value.to_string(), "a positive number"));
            }
        }
        if !raw.reshape_hidden_states {
            return Err(refuse("reshape_hidden_states", "false".into(), "true"));
        }
        let activation = Activation::by_name(&raw.hidden_act)
            .map_err(|expected| refuse("hidden_act", format!("`{}`", raw.hidden_act), &expected))?;
        let chosen =
            chosen_stages(raw.num_hidden_layers, raw.out_indices.as_deref(), raw.out_features.as_deref());
        let outputs = chosen.ok_or_else(|| {
            let value = format!("{:?} {:?}", raw.out_indices, raw.out_features);
            refuse("out_indices", value, "indices of the stem (0) and the layers, rising")
        })?;
        Ok(Self {
            patch,
            width: raw.hidden_size,
            inner: raw.intermediate_size,
            layers: raw.num_hidden_layers,
            heads: raw.num_attention_heads,
            activation,
            epsilon: raw.layer_norm_eps,
            theta: raw.rope_theta,
            biased: [raw.query_bias, raw.key_bias, raw.value_bias],
            proj_bias: raw.proj_bias,
            mlp_bias: raw.mlp_bias,
            gated: raw.use_gated_mlp,
            registers: raw.num_register_tokens,
            normalized: raw.apply_layernorm,
            outputs,
        })
    }

    /// Rows and columns of patches that an image of this size has.
    pub(crate) fn patches(&self, (height, width): (usize, usize)) -> [usize; 2] {
        [height / self.patch, width / self.patch]
    }

    /// The chosen layers' patches as maps `[batch, width, rows, columns]`.
    pub(crate) fn build(&self, b: &mut Builder, w: &Weights, pixels: &Value) -> Vec<Value> {
        let grid = self.patches((pixels.size(2), pixels.size(3)));
        let mut x = w.scope(b, "embeddings", |b, w| self.tokens(b, w, pixels));
        let tables = self.tables(grid).map(|(name, table)| b.weight(&w.full(name), table));
        let mut states = vec![x.clone()];
        for index in 0..self.layers {
            x = w.scope(b, &format!("model.layer.{index}"), |b, w| self.layer(b, w, &x, &tables));
            states.push(x.clone());
        }
        let chosen = self.outputs.iter();
        chosen.filter_map(|index| Some(self.map(b, w, states.get(*index)?, *index, grid))).collect()
    }

    /// Class token, registers and patches.
    fn tokens(&self, b: &mut Builder, w: &Weights, pixels: &Value) -> Value {
        let moves = Conv::new(self.patch, 0);
        let patches = conv2d(b, w, "patch_embeddings", pixels, [self.width, self.patch], moves, true);
        let patches = b.flatten_from(&patches, 2);
        let patches = b.transpose(&patches, &[0, 2, 1]);
        let class = w.tensor("cls_token", &[1, 1, self.width]);
        let registers = w.tensor("register_tokens", &[1, self.registers, self.width]);
        let front = deferred_floats(&[1, 1 + self.registers, self.width], move || {
            [&class, &registers].iter().flat_map(|tensor| floats(tensor).into_owned()).collect()
        });
        let front = b.weight(&w.full("prefix_tokens"), front);
        let front = b.expand_batch(&front, &patches);
        b.concat(&[&front, &patches], 1)
    }

    /// Cosines, and sines with the sign of the half that they go to: `[1 + registers + patches, head]` each.
    fn tables(&self, [rows, columns]: [usize; 2]) -> [(&'static str, Tensor); 2] {
        let (front, head, theta) = (1 + self.registers, self.width / self.heads, self.theta);
        let quarter = head / 4;
        let shape = [front + rows * columns, head];
        let table = move |cosine: bool| {
            let frequency = |at: usize| 1.0 / theta.powf((at as f64 * 4.0 / head as f64) as f32);
            let frequencies: Vec<f32> = (0..quarter).map(frequency).collect();
            let mut values = vec![if cosine { 1.0 } else { 0.0 }; front * head];
            for row in 0..rows {
                for column in 0..columns {
                    let places = [(row, rows), (column, columns)]
                        .map(|(at, count)| 2.0 * ((at as f32 + 0.5) / count as f32) - 1.0);
                    let angles: Vec<f32> = places
                        .iter()
                        .flat_map(|place| {
                            frequencies.iter().map(move |speed| std::f32::consts::TAU * place * speed)
                        })
                        .collect();
                    for sign in [-1.0, 1.0] {
                        values.extend(
                            angles.iter().map(|angle| if cosine { angle.cos() } else { sign * angle.sin() }),
                        );
                    }
                }
            }
            values
        };
        [
            ("rope_cos", deferred_floats(&shape, move || table(true))),
            ("rope_sin", deferred_floats(&shape, move || table(false))),
        ]
    }

    fn layer(&self, b: &mut Builder, w: &Weights, x: &Value, tables: &[Value; 2]) -> Value {
        let normal = layer_norm(b, w, "norm1", x, self.epsilon);
        let mixed = w.scope(b, "attention", |b, w| self.attention(b, w, &normal, tables));
        let mixed = self.added(b, w, "attention.o_proj", &mixed, "layer_scale1.lambda1", self.proj_bias);
        let x = b.add(x, &mixed);
        let normal = layer_norm(b, w, "norm2", &x, self.epsilon);
        let inner = w.scope(b, "mlp", |b, w| self.inner(b, w, &normal));
        let fed = self.added(b, w, "mlp.down_proj", &inner, "layer_scale2.lambda1", self.mlp_bias);
        b.add(&x, &fed)
    }

    /// What the heads read, side by side.
    fn attention(&self, b: &mut Builder, w: &Weights, x: &Value, tables: &[Value; 2]) -> Value {
        let (heads, head) = (self.heads, self.width / self.heads);
        let by_head = |b: &mut Builder, value: &Value, count: usize| {
            let apart = b.reshape(value, &[0, 0, count as i64, head as i64]);
            b.transpose(&apart, &[0, 2, 1, 3])
        };
        let names = ["q_proj", "k_proj", "v_proj", "o_proj"];
        let (q, k, v, factor) = if w.exact() {
            let [q, k, v] = [0, 1, 2].map(|at| {
                let projected = optional_linear(b, w, names[at], x, self.width, self.biased[at]);
                by_head(b, &projected, heads)
            });
            let [q, k] = [q, k].map(|value| turned(b, &value, tables));
            (q, k, v, Some((head as f64).powf(-0.5) as f32))
        } else {
            let spec = VitAttention { names, biased: self.biased, heads, head, merged: 1 };
            let joined = projections(b, w, x, spec);
            let joined = by_head(b, &joined, 3 * heads);
            let parts = b.split(&joined, &[2 * heads, heads], 1);
            let [both, v] = &parts[..] else { return joined };
            let both = turned(b, both, tables);
            let parts = b.split(&both, &[heads; 2], 1);
            let [q, k] = &parts[..] else { return both };
            (q.clone(), k.clone(), v.clone(), None)
        };
        let k = b.transpose(&k, &[0, 1, 3, 2]);
        let mixed = attend_heads(b, [&q, &k, &v], &[], factor);
        b.flatten_from(&mixed, 2)
    }

    fn inner(&self, b: &mut Builder, w: &Weights, x: &Value) -> Value {
        let project = |b: &mut Builder, name: &str| optional_linear(b, w, name, x, self.inner, self.mlp_bias);
        if !self.gated {
            let upper = project(b, "up_proj");
            return self.activation.apply(b, &upper);
        }
        let gate = project(b, "gate_proj");
        let gate = self.activation.apply(b, &gate);
        let upper = project(b, "up_proj");
        b.mul(&gate, &upper)
    }

    /// A linear layer whose result the vector called `scale` multiplies.
    fn added(&self, b: &mut Builder, w: &Weights, name: &str, x: &Value, scale: &str, biased: bool) -> Value {
        let width = self.width;
        if w.exact() {
            let sum = optional_linear(b, w, name, x, width, biased);
            let scale = w.constant(b, scale, &[width], widened);
            return b.mul(&sum, &scale);
        }
        let scale = RowScale::each(floats(&w.tensor(scale, &[width])).into_owned());
        if biased {
            return scaled_linear(b, w, name, x, width, Some(scale));
        }
        w.scope(b, name, |b, w| {
            let weight =
                w.constant(b, "weight", &[width, x.size(-1)], |weight| transposed(weight, Some(scale)));
            b.matmul(x, &weight)
        })
    }

    /// The patches of a layer's tokens as a map.
    fn map(
        &self,
        b: &mut Builder,
        w: &Weights,
        x: &Value,
        index: usize,
        [rows, columns]: [usize; 2],
    ) -> Value {
        let mut x = b.slice(x, 1, 1 + self.registers, x.size(1));
        if self.normalized || index == self.layers {
            x = layer_norm(b, w, "norm", &x, self.epsilon);
        }
        let x = b.transpose(&x, &[0, 2, 1]);
        b.reshape(&x, &[0, 0, rows as i64, columns as i64])
    }
}

/// Each pair of elements that are half a head apart, turned by the angles of its token.
fn turned(b: &mut Builder, x: &Value, [cosines, sines]: &[Value; 2]) -> Value {
    let half = x.size(-1) / 2;
    let parts = b.split(x, &[half; 2], -1);
    let [first, second] = &parts[..] else { return x.clone() };
    let swapped = b.concat(&[second, first], -1);
    let kept = b.mul(x, cosines);
    let across = b.mul(&swapped, sines);
    b.add(&kept, &across)
}

fn optional_linear(b: &mut Builder, w: &Weights, name: &str, x: &Value, out: usize, biased: bool) -> Value {
    let project = if biased { linear } else { unbiased_linear };
    project(b, w, name, x, out)
}

fn refuse(key: &str, value: String, expected: &str) -> Error {
    Error::unsupported(CONFIG, &format!("backbone_config.{key}"), value, expected)
}
