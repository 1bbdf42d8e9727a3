//! What is the same for every image, computed at export instead of in the graph.
//!
//! A decoder starts from learned queries, and everything up to its first look at the image depends on the weights only.
//! Numbers are carried in double precision and rounded once.

use std::sync::Arc;

use graph::Tensor;

use super::stored::{deferred_floats, floats};
use crate::weights::Weights;

/// Rows of numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rows {
    width: usize,
    values: Vec<f64>,
}

/// Rows that are computed when they are needed.
#[derive(Clone)]
pub(crate) struct FixedRows {
    count: usize,
    compute: Arc<dyn Fn() -> Rows + Send + Sync>,
}

impl FixedRows {
    /// `count` rows.
    pub(crate) fn new(count: usize, compute: impl Fn() -> Rows + Send + Sync + 'static) -> Self {
        Self { count, compute: Arc::new(compute) }
    }

    /// The rows of a tensor, along its last dimension.
    pub(crate) fn of(tensor: Tensor) -> Self {
        let (_, before) = tensor.shape().split_last().unwrap_or((&1, &[]));
        Self::new(before.iter().product(), move || Rows::of(&tensor))
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn rows(&self) -> Rows {
        (self.compute)()
    }

    /// The tensor of this shape that holds them.
    pub(crate) fn tensor(&self, shape: &[usize]) -> Tensor {
        let own = self.clone();
        deferred_floats(shape, move || own.rows().to_floats())
    }
}

/// A fully connected layer.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    weight: Tensor,
    bias: Tensor,
}

/// A layer normalization.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    scale: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl Layer {
    pub(crate) fn of(w: &Weights, name: &str, [out, input]: [usize; 2]) -> Self {
        let w = w.child(name);
        Self { weight: w.tensor("weight", &[out, input]), bias: w.tensor("bias", &[out]) }
    }

    /// The weights, a row for each element that comes out.
    pub(crate) fn weights(&self) -> Rows {
        Rows::of(&self.weight)
    }

    /// The bias, one row.
    pub(crate) fn bias(&self) -> Rows {
        Rows::of(&self.bias)
    }

    /// The elements of a row that goes in.
    pub(crate) fn inputs(&self) -> usize {
        self.weight.shape().last().copied().unwrap_or(1)
    }

    /// The layers `layers.0`, `layers.1` … of a perceptron, for [`Rows::through_all`].
    pub(crate) fn perceptron(w: &Weights, name: &str, input: usize, sizes: &[usize]) -> Vec<Self> {
        let inputs = std::iter::once(&input).chain(sizes);
        let layers = inputs.zip(sizes).enumerate();
        layers.map(|(at, (input, out))| Self::of(w, &format!("{name}.layers.{at}"), [*out, *input])).collect()
    }
}

impl Norm {
    pub(crate) fn of(w: &Weights, name: &str, width: usize, epsilon: f32) -> Self {
        let w = w.child(name);
        let [scale, bias] = ["weight", "bias"].map(|part| w.tensor(part, &[width]));
        Self { scale, bias, epsilon: f64::from(epsilon) }
    }
}

impl Rows {
    /// The rows of a tensor, along its last dimension.
    pub(crate) fn of(tensor: &Tensor) -> Self {
        let values: Vec<f64> = floats(tensor).iter().map(|value| f64::from(*value)).collect();
        Self { width: tensor.shape().last().copied().unwrap_or(1).max(1), values }
    }

    pub(crate) fn zeros(count: usize, width: usize) -> Self {
        Self { width: width.max(1), values: vec![0.0; count * width] }
    }

    /// Rows of these values.
    pub(crate) fn new(width: usize, values: Vec<f64>) -> Self {
        Self { width: width.max(1), values }
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn count(&self) -> usize {
        self.values.len() / self.width
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[f64]> + Clone {
        self.values.chunks_exact(self.width)
    }

    pub(crate) fn map(mut self, change: impl Fn(f64) -> f64) -> Self {
        self.values.iter_mut().for_each(|value| *value = change(*value));
        self
    }

    pub(crate) fn sigmoid(self) -> Self {
        self.map(|value| 1.0 / (1.0 + (-value).exp()))
    }

    /// These elements of each row.
    pub(crate) fn taken(&self, elements: &[usize]) -> Self {
        let values = self.iter().flat_map(|row| elements.iter().map(|at| row[*at])).collect();
        Self { width: elements.len().max(1), values }
    }

    /// Each row with zeros behind it, up to this width.
    pub(crate) fn widened(&self, width: usize) -> Self {
        let zeros = std::iter::repeat(&0.0);
        let values =
            self.iter().flat_map(|row| row.iter().chain(zeros.clone()).take(width).copied()).collect();
        Self { width: width.max(1), values }
    }

    /// The sum with as many rows, or with one row that is added to each.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        let (long, short) = if self.count() < other.count() { (other, self) } else { (self, other) };
        let pairs = long.values.iter().zip(short.values.iter().cycle());
        Self { width: self.width, values: pairs.map(|(a, b)| a + b).collect() }
    }

    pub(crate) fn through(&self, layer: &Layer) -> Self {
        let (weight, bias) = (floats(&layer.weight), floats(&layer.bias));
        let values = self
            .iter()
            .flat_map(|row| {
                let columns = weight.chunks_exact(self.width).zip(bias.iter());
                columns.map(move |(column, bias)| dot(row, column) + f64::from(*bias))
            })
            .collect();
        Self { width: bias.len().max(1), values }
    }

    /// Through layers with `ReLU` between them.
    pub(crate) fn through_all(&self, layers: &[Layer]) -> Self {
        let mut rows = self.clone();
        for (at, layer) in layers.iter().enumerate() {
            rows = rows.through(layer);
            if at + 1 < layers.len() {
                rows = rows.map(|value| value.max(0.0));
            }
        }
        rows
    }

    pub(crate) fn normalized(mut self, norm: &Norm) -> Self {
        let (scale, bias) = (floats(&norm.scale), floats(&norm.bias));
        for row in self.values.chunks_exact_mut(self.width) {
            let count = row.len() as f64;
            let mean = row.iter().sum::<f64>() / count;
            let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            let deviation = (variance + norm.epsilon).sqrt();
            for ((value, scale), bias) in row.iter_mut().zip(scale.iter()).zip(bias.iter()) {
                *value = (*value - mean) / deviation * f64::from(*scale) + f64::from(*bias);
            }
        }
        self
    }

    /// What these queries read of `values` with these keys, by heads.
    pub(crate) fn attended(&self, keys: &Self, values: &Self, heads: usize) -> Self {
        let (heads, head) = (heads.max(1), values.width / heads.max(1));
        let factor = ((self.width / heads) as f64).powf(-0.5);
        let own = |row: &[f64], at: usize| row[at * head..][..head].to_vec();
        let mut mixed = vec![0.0; self.count() * values.width];
        for at in 0..heads {
            for (query, out) in self.iter().zip(mixed.chunks_exact_mut(values.width)) {
                let query = own(query, at);
                let score =
                    |key: &[f64]| query.iter().zip(&own(key, at)).map(|(q, k)| q * k).sum::<f64>() * factor;
                let scores: Vec<f64> = keys.iter().map(score).collect();
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let shares: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
                let all: f64 = shares.iter().sum();
                for (share, value) in shares.iter().zip(values.iter()) {
                    for (out, value) in out[at * head..][..head].iter_mut().zip(&value[at * head..][..head]) {
                        *out += share / all * value;
                    }
                }
            }
        }
        Self { width: values.width, values: mixed }
    }

    pub(crate) fn to_floats(&self) -> Vec<f32> {
        self.values.iter().map(|value| *value as f32).collect()
    }
}

/// In eight sums, so that the compiler may take several at once.
fn dot(a: &[f64], b: &[f32]) -> f64 {
    let mut sums = [0.0; 8];
    let (wide_a, wide_b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = wide_a.remainder().iter().zip(wide_b.remainder()).map(|(a, b)| a * f64::from(*b)).sum();
    for (a, b) in wide_a.zip(wide_b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * f64::from(*b);
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_through_layers_as_in_the_graph() {
        let tensor = |shape: &[usize], values: &[f32]| Tensor::from_f32(shape, values.to_vec()).unwrap();
        let weight: Vec<f32> = (0..20).map(|at| at as f32).collect();
        let layer = Layer { weight: tensor(&[2, 10], &weight), bias: tensor(&[2], &[1.0, -1000.0]) };
        let rows = Rows::new(10, (0..10).map(f64::from).chain([0.0; 10]).collect());
        assert_eq!(rows.through(&layer).values, [286.0, -265.0, 1.0, -1000.0]);
        let narrow = Layer { weight: tensor(&[1, 2], &[2.0, 1.0]), bias: tensor(&[1], &[0.5]) };
        assert_eq!(rows.through_all(&[layer, narrow]).values, [572.5, 2.5]);

        let sum = Rows::new(2, vec![1.0, 3.0]).plus(&Rows::new(2, vec![0.0, 0.0, 10.0, 20.0]));
        assert_eq!(sum.values, [1.0, 3.0, 11.0, 23.0]);
        let [scale, bias] = [[2.0, 1.0], [0.0, 5.0]].map(|values| tensor(&[2], &values));
        let norm = Norm { scale, bias, epsilon: 0.0 };
        assert_eq!(sum.normalized(&norm).values, [-2.0, 6.0, -2.0, 6.0]);
    }
}
