//! Convolution followed by batch normalization, folded into one (see [`super::fold`]).

use graph::builder::Conv;
use graph::{Builder, Tensor, Value};

use super::Activation;
use super::fold::{Branch, Norm, fold};
use super::stored::{RowScale, deferred_floats, floats, rescaled, widened};
use crate::weights::Weights;

/// A convolution without bias and the batch normalization behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvNorm<'a> {
    /// Names of the two modules below their parent.
    pub(crate) names: [&'a str; 2],
    /// Output channels.
    pub(crate) out: usize,
    /// Side of the square kernel.
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    /// More padding below and right than above and left.
    pub(crate) trailing: usize,
    /// Distance between the kernel's elements.
    pub(crate) dilation: usize,
    /// Groups of channels that do not mix.
    pub(crate) groups: usize,
    /// The normalization's ε.
    pub(crate) epsilon: f32,
    pub(crate) activation: Activation,
}

impl ConvNorm<'_> {
    /// A kernel that keeps the size of the map (before the stride), `conv` and `norm` by name, no activation.
    pub(crate) fn new(out: usize, kernel: usize, stride: usize) -> Self {
        Self {
            names: ["conv", "norm"],
            out,
            kernel,
            stride,
            padding: kernel / 2,
            trailing: 0,
            dilation: 1,
            groups: 1,
            epsilon: 1e-5,
            activation: Activation::Identity,
        }
    }

    fn moves(&self) -> Conv {
        let end = self.padding + self.trailing;
        Conv {
            padding: [self.padding, self.padding, end, end],
            dilation: [self.dilation; 2],
            groups: self.groups,
            ..Conv::new(self.stride, self.padding)
        }
    }
}

/// A square convolution that no normalization follows, with a bias where `biased`.
pub(crate) fn conv2d(
    b: &mut Builder,
    w: &Weights,
    name: &str,
    x: &Value,
    [out, kernel]: [usize; 2],
    moves: Conv,
    biased: bool,
) -> Value {
    w.scope(b, name, |b, w| {
        let shape = [out, x.size(1) / moves.groups.max(1), kernel, kernel];
        let weight = w.constant(b, "weight", &shape, widened);
        let bias = biased.then(|| w.constant(b, "bias", &[out], widened));
        b.conv(x, &weight, bias.as_ref(), moves)
    })
}

/// Convolution, batch normalization, activation; the names are those of `spec` below `w`.
pub(crate) fn conv_norm(b: &mut Builder, w: &Weights, x: &Value, spec: ConvNorm<'_>) -> Value {
    let [conv, norm] = spec.names;
    let shape = [spec.out, x.size(1) / spec.groups.max(1), spec.kernel, spec.kernel];
    let kernel = w.child(conv).tensor("weight", &shape);
    let statistics = Norm::of(w, norm, spec.out, spec.epsilon);
    let moves = spec.moves();
    let name = w.child(conv).full("weight");
    let y = if w.exact() {
        let weight = b.weight(&name, widened(kernel));
        let y = b.scoped(conv, |b| b.conv(x, &weight, None, moves));
        statistics.apply(b, w, norm, &y)
    } else {
        let folded = fold(vec![Branch { kernel, bias: None, norm: Some(statistics) }], shape);
        convolution(b, conv, &name, x, folded, moves)
    };
    spec.activation.apply(b, &y)
}

/// Convolution and batch normalization in one, the result multiplied by a number and another added; no activation.
pub(super) fn rescaled_conv_norm(
    b: &mut Builder,
    w: &Weights,
    x: &Value,
    spec: ConvNorm<'_>,
    [factor, summand]: [f32; 2],
) -> Value {
    let [conv, norm] = spec.names;
    let shape = [spec.out, x.size(1) / spec.groups.max(1), spec.kernel, spec.kernel];
    let kernel = w.child(conv).tensor("weight", &shape);
    let statistics = Norm::of(w, norm, spec.out, spec.epsilon);
    let (weight, bias) = fold(vec![Branch { kernel, bias: None, norm: Some(statistics) }], shape);
    let all = RowScale::all(factor);
    let weight = rescaled(weight, Some(all.clone()));
    let bias = rescaled(bias, Some(all));
    let bias =
        deferred_floats(&[spec.out], move || floats(&bias).iter().map(|bias| bias + summand).collect());
    convolution(b, conv, &w.child(conv).full("weight"), x, (weight, bias), spec.moves())
}

/// Two branches `conv1` (3×3) and `conv2` (1×1), summed: one 3×3 convolution once training is over (`RepVGG`,
/// <https://arxiv.org/abs/2101.03697>).
pub(crate) fn rep_vgg(
    b: &mut Builder,
    w: &Weights,
    x: &Value,
    channels: usize,
    epsilon: f32,
    activation: Activation,
) -> Value {
    let spec = |kernel, padding| ConvNorm { padding, epsilon, ..ConvNorm::new(channels, kernel, 1) };
    let y = if w.exact() {
        let large = w.scope(b, "conv1", |b, w| conv_norm(b, w, x, spec(3, 1)));
        let small = w.scope(b, "conv2", |b, w| conv_norm(b, w, x, spec(1, 0)));
        b.add(&large, &small)
    } else {
        let branch = |name: &str, side: usize| {
            let w = w.child(name);
            let kernel = w.child("conv").tensor("weight", &[channels, x.size(1), side, side]);
            Branch { kernel, bias: None, norm: Some(Norm::of(&w, "norm", channels, epsilon)) }
        };
        let branches = vec![branch("conv1", 3), branch("conv2", 1)];
        let folded = fold(branches, [channels, x.size(1), 3, 3]);
        convolution(b, "conv", &w.full("conv.weight"), x, folded, Conv::new(1, 1))
    };
    activation.apply(b, &y)
}

fn convolution(
    b: &mut Builder,
    scope: &str,
    name: &str,
    x: &Value,
    (weight, bias): (Tensor, Tensor),
    moves: Conv,
) -> Value {
    let bias = b.weight(&name.replace(".weight", ".bias"), bias);
    let weight = b.weight(name, weight);
    b.scoped(scope, |b| b.conv(x, &weight, Some(&bias), moves))
}
