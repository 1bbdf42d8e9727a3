//! Parallel convolutions of one input, each with its bias and batch normalization, as a single convolution.
//!
//! The statistics are fixed after training, so `γ (Wx + b − μ) / √(σ² + ε) + β` is a convolution with weight
//! `W γ / √(σ² + ε)` and bias `β + (b − μ) γ / √(σ² + ε)`, and a sum of convolutions is the convolution with the sum. The
//! factors are computed in double precision.

use graph::{Builder, Tensor, Value};

use super::stored::{deferred_floats, floats, widened};
use crate::weights::Weights;

/// Fixed statistics and affine parameters of a batch normalization.
#[derive(Clone)]
pub(crate) struct Norm {
    parameters: [Tensor; 4],
    epsilon: f32,
}

const PARTS: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

impl Norm {
    pub(crate) fn of(w: &Weights, name: &str, channels: usize, epsilon: f32) -> Self {
        Self::here(&w.child(name), channels, epsilon)
    }

    /// The normalization whose own weights `w` are.
    pub(crate) fn here(w: &Weights, channels: usize, epsilon: f32) -> Self {
        Self { parameters: PARTS.map(|part| w.tensor(part, &[channels])), epsilon }
    }

    /// Factor and summand of each channel.
    fn affine(&self) -> Vec<(f64, f64)> {
        let [weight, bias, mean, variance] = self.parameters.each_ref().map(floats);
        (0..weight.len())
            .map(|at| {
                let deviation = (f64::from(variance[at]) + f64::from(self.epsilon)).sqrt();
                let factor = f64::from(weight[at]) / deviation;
                (factor, f64::from(bias[at]) - f64::from(mean[at]) * factor)
            })
            .collect()
    }

    /// The normalization as a node of its own.
    pub(crate) fn apply(self, b: &mut Builder, w: &Weights, name: &str, x: &Value) -> Value {
        w.scope(b, name, |b, w| self.apply_here(b, w, x))
    }

    pub(crate) fn apply_here(self, b: &mut Builder, w: &Weights, x: &Value) -> Value {
        let [scale, bias, mean, variance] =
            std::array::from_fn(|at| b.weight(&w.full(PARTS[at]), widened(self.parameters[at].clone())));
        b.batch_norm(x, [&scale, &bias, &mean, &variance], self.epsilon)
    }
}

/// One of the convolutions.
pub(crate) struct Branch {
    /// `[out, in / groups, height, width]`.
    pub(crate) kernel: Tensor,
    /// `[out]`.
    pub(crate) bias: Option<Tensor>,
    pub(crate) norm: Option<Norm>,
}

impl Branch {
    /// Factor and summand of each output channel.
    fn affine(&self) -> Vec<(f64, f64)> {
        let out = self.kernel.shape()[0];
        let mut affine = self.norm.as_ref().map_or_else(|| vec![(1.0, 0.0); out], Norm::affine);
        if let Some(bias) = &self.bias {
            for ((factor, summand), bias) in affine.iter_mut().zip(floats(bias).iter()) {
                *summand += f64::from(*bias) * *factor;
            }
        }
        affine
    }
}

/// The weight `shape` `[out, in / groups, height, width]` and the bias `[out]` of the sum of the branches. A smaller
/// kernel lies in the middle of the larger.
pub(crate) fn fold(branches: Vec<Branch>, shape: [usize; 4]) -> (Tensor, Tensor) {
    let [out, input, height, width] = shape;
    let branches = std::sync::Arc::new(branches);
    let summed = std::sync::Arc::clone(&branches);
    let bias = deferred_floats(&[out], move || {
        let mut sums = vec![0.0; out];
        for branch in summed.iter() {
            for (sum, (_, summand)) in sums.iter_mut().zip(branch.affine()) {
                *sum += summand;
            }
        }
        sums.into_iter().map(|sum: f64| sum as f32).collect()
    });
    let weight = deferred_floats(&shape, move || {
        let mut folded = vec![0.0_f32; out * input * height * width];
        for branch in branches.iter() {
            let (rows, columns) = (branch.kernel.shape()[2], branch.kernel.shape()[3]);
            let (top, left) = ((height - rows) / 2, (width - columns) / 2);
            let (values, affine) = (floats(&branch.kernel), branch.affine());
            for (plane, window) in values.chunks_exact(rows * columns).enumerate() {
                let factor = affine[plane / input].0;
                let target = &mut folded[plane * height * width..][..height * width];
                for (at, value) in window.iter().enumerate() {
                    let (row, column) = (at / columns + top, at % columns + left);
                    target[row * width + column] += (f64::from(*value) * factor) as f32;
                }
            }
        }
        folded
    });
    (weight, bias)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_summed_around_the_middle() {
        let tensor = |shape: &[usize], values: Vec<f32>| Tensor::from_f32(shape, values).unwrap();
        let norm =
            Norm { parameters: [2.0, 1.0, 0.5, 3.0].map(|value| tensor(&[1], vec![value])), epsilon: 1.0 };
        let large = Branch {
            kernel: tensor(&[1, 1, 3, 3], (1..=9).map(|value| value as f32).collect()),
            bias: None,
            norm: None,
        };
        let small = Branch {
            kernel: tensor(&[1, 1, 1, 1], vec![7.0]),
            bias: Some(tensor(&[1], vec![4.0])),
            norm: Some(norm),
        };
        let (weight, bias) = fold(vec![large, small], [1, 1, 3, 3]);
        // γ / √(σ² + ε) is 1.
        assert_eq!(weight.to_f32().unwrap(), [1.0, 2.0, 3.0, 4.0, 12.0, 6.0, 7.0, 8.0, 9.0]);
        assert_eq!(bias.to_f32().unwrap(), [4.5]);
    }
}
