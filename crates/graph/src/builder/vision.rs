//! Convolution, pooling, resizing and sampling of images `[batch, channels, height, width]`.

use super::{Builder, Value};
use crate::{Attribute, Dim};

/// How a convolution moves: one number for both directions where one is enough.
#[derive(Debug, Clone, Copy)]
pub struct Conv {
    /// Step, `[vertical, horizontal]`.
    pub stride: [usize; 2],
    /// Zeros around the image: `[top, left, bottom, right]`.
    pub padding: [usize; 4],
    /// Distance between the kernel's elements.
    pub dilation: [usize; 2],
    /// Groups of channels that do not mix.
    pub groups: usize,
}

impl Conv {
    /// The same stride both ways, the same padding on all sides, one group.
    pub fn new(stride: usize, padding: usize) -> Self {
        Self { stride: [stride; 2], padding: [padding; 4], dilation: [1; 2], groups: 1 }
    }
}

/// How a pooling window moves.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    /// The window, square.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Padding on all sides.
    pub padding: usize,
    /// Whether a window that hangs over the edge counts.
    pub ceil: bool,
}

/// How new pixels come from old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest pixel, as PyTorch's `nearest` picks it.
    Nearest,
    /// Linear between pixel centres (`align_corners=False`).
    Linear,
    /// Cubic between pixel centres (a = -0.75, as PyTorch).
    Cubic,
}

impl Builder {
    /// Convolution with a weight `[out, in / groups, height, width]` and a bias `[out]`.
    pub fn conv(&mut self, x: &Value, weight: &Value, bias: Option<&Value>, conv: Conv) -> Value {
        let mut inputs = vec![x, weight];
        inputs.extend(bias);
        let Some([height, width]) = convolved(x, weight, bias, conv) else {
            return self.mismatch("Conv", &inputs);
        };
        let kernel = [weight.size(2), weight.size(3)];
        let shape = vec![x.shape[0].clone(), weight.shape[0].clone(), height.into(), width.into()];
        let attributes = [
            ("dilations", integers(&conv.dilation)),
            ("group", Attribute::Int(conv.groups as i64)),
            ("kernel_shape", integers(&kernel)),
            ("pads", integers(&conv.padding)),
            ("strides", integers(&conv.stride)),
        ];
        self.node_of("Conv", &inputs, attributes, x.dtype, shape)
    }

    /// Transposed convolution with a weight `[in, out / groups, height, width]` and a bias `[out]`.
    pub fn conv_transpose(&mut self, x: &Value, weight: &Value, bias: Option<&Value>, conv: Conv) -> Value {
        let mut inputs = vec![x, weight];
        inputs.extend(bias);
        let Some([out, height, width]) = spread(x, weight, bias, conv) else {
            return self.mismatch("ConvTranspose", &inputs);
        };
        let kernel = [weight.size(2), weight.size(3)];
        let shape = vec![x.shape[0].clone(), out.into(), height.into(), width.into()];
        let attributes = [
            ("dilations", integers(&conv.dilation)),
            ("group", Attribute::Int(conv.groups as i64)),
            ("kernel_shape", integers(&kernel)),
            ("pads", integers(&conv.padding)),
            ("strides", integers(&conv.stride)),
        ];
        self.node_of("ConvTranspose", &inputs, attributes, x.dtype, shape)
    }

    /// `(x - mean) / sqrt(variance + epsilon) × scale + bias` by channel, with fixed statistics.
    pub fn batch_norm(&mut self, x: &Value, parameters: [&Value; 4], epsilon: f32) -> Value {
        let [scale, bias, mean, variance] = parameters;
        let inputs = [x, scale, bias, mean, variance];
        if x.rank() < 2 || parameters.iter().any(|p| p.shape != x.shape[1..2] || p.dtype != x.dtype) {
            return self.mismatch("BatchNormalization", &inputs);
        }
        self.node("BatchNormalization", &inputs, [("epsilon", epsilon.into())])
    }

    /// Normalization over each of `groups` of channels and the whole map, `scale` and `bias` `[channels, 1, 1]` by channel.
    /// By `InstanceNormalization`: not all runtimes have `GroupNormalization`.
    pub fn group_norm(
        &mut self,
        x: &Value,
        groups: usize,
        [scale, bias]: [&Value; 2],
        epsilon: f32,
    ) -> Value {
        let channels = x.size(1);
        let fits = groups > 0 && channels > 0 && channels.is_multiple_of(groups) && x.rank() == 4;
        let by_channel = [channels, 1, 1].map(Dim::Fixed);
        if !fits || [scale, bias].iter().any(|value| value.shape != by_channel) {
            return self.mismatch("InstanceNormalization", &[x, scale, bias]);
        }
        let grouped = self.reshape(x, &[0, groups as i64, -1]);
        let (ones, zeros) =
            (self.floats(&[groups], vec![1.0; groups]), self.floats(&[groups], vec![0.0; groups]));
        let normal =
            self.node("InstanceNormalization", &[&grouped, &ones, &zeros], [("epsilon", epsilon.into())]);
        let sizes = [0, channels, x.size(2), x.size(3)].map(|size| size as i64);
        let normal = self.reshape(&normal, &sizes);
        let scaled = self.mul(&normal, scale);
        self.add(&scaled, bias)
    }

    /// `x` with zeros around it: above, left, below, right.
    pub fn zero_border(&mut self, x: &Value, [top, left, bottom, right]: [usize; 4]) -> Value {
        let side = |axis: usize, before: usize, after: usize| {
            x.shape.get(axis)?.fixed()?.checked_add(before)?.checked_add(after)
        };
        let (Some(height), Some(width), 4) = (side(2, top, bottom), side(3, left, right), x.rank()) else {
            return self.mismatch("Pad", &[x]);
        };
        let pads = [0, 0, top, left, 0, 0, bottom, right].map(|size| size as i64);
        let pads = self.ints(&pads);
        let shape = vec![x.shape[0].clone(), x.shape[1].clone(), height.into(), width.into()];
        self.node_of("Pad", &[x, &pads], [("mode", "constant".into())], x.dtype, shape)
    }

    /// The largest value in each window.
    pub fn max_pool(&mut self, x: &Value, pool: Pool) -> Value {
        self.pool("MaxPool", x, pool, [])
    }

    /// The mean of each window; padding does not count.
    pub fn average_pool(&mut self, x: &Value, pool: Pool) -> Value {
        self.pool("AveragePool", x, pool, [("count_include_pad", Attribute::Int(0))])
    }

    /// The mean of each window, zeros of the padding included.
    pub fn padded_average_pool(&mut self, x: &Value, pool: Pool) -> Value {
        self.pool("AveragePool", x, pool, [("count_include_pad", Attribute::Int(1))])
    }

    /// Height and width changed to these sizes, without antialiasing. TensorRT has no cubic interpolation.
    pub fn resize(&mut self, x: &Value, height: usize, width: usize, interpolation: Interpolation) -> Value {
        // Beyond 2^24 a float32 holds no exact size.
        let exact = |size: usize| (1..1 << 24).contains(&size);
        if x.rank() != 4 || ![x.size(2), x.size(3), height, width].into_iter().all(exact) {
            return self.mismatch("Resize", &[x]);
        }
        // By scales, not sizes: a Resize by sizes would have to state the batch, which is not known.
        let scales = [1.0, 1.0, scale(x.size(2), height), scale(x.size(3), width)];
        let scales = self.floats(&[4], scales.to_vec());
        let absent = Value { name: String::new(), dtype: x.dtype, shape: Vec::new() };
        let (mode, coordinates) = match interpolation {
            Interpolation::Nearest => ("nearest", "asymmetric"),
            Interpolation::Linear => ("linear", "half_pixel"),
            Interpolation::Cubic => ("cubic", "half_pixel"),
        };
        let attributes = [
            ("mode", mode.into()),
            ("coordinate_transformation_mode", coordinates.into()),
            ("nearest_mode", "floor".into()),
        ];
        let shape = vec![x.shape[0].clone(), x.shape[1].clone(), height.into(), width.into()];
        self.node_of("Resize", &[x, &absent, &scales], attributes, x.dtype, shape)
    }

    /// `x` `[n, c, h, w]` read at `grid` `[n, height, width, 2]` (x, y in -1..1), bilinear, zeros outside,
    /// `align_corners=False`: `[n, c, height, width]`.
    pub fn grid_sample(&mut self, x: &Value, grid: &Value) -> Value {
        if x.rank() != 4
            || grid.rank() != 4
            || grid.size(3) != 2
            || x.shape[0] != grid.shape[0]
            || x.dtype != grid.dtype
        {
            return self.mismatch("GridSample", &[x, grid]);
        }
        let shape =
            vec![x.shape[0].clone(), x.shape[1].clone(), grid.shape[1].clone(), grid.shape[2].clone()];
        let mode = if self.opset() >= 20 { "linear" } else { "bilinear" };
        let attributes =
            [("mode", mode.into()), ("padding_mode", "zeros".into()), ("align_corners", Attribute::Int(0))];
        self.node_of("GridSample", &[x, grid], attributes, x.dtype, shape)
    }

    fn pool<const N: usize>(
        &mut self,
        op: &str,
        x: &Value,
        pool: Pool,
        own: [(&str, Attribute); N],
    ) -> Value {
        let sides = [2, 3].map(|axis: usize| pooled(x.shape.get(axis)?.fixed()?, pool));
        let ([Some((height, below)), Some((width, right))], 4) = (sides, x.rank()) else {
            return self.mismatch(op, &[x]);
        };
        let shape = vec![x.shape[0].clone(), x.shape[1].clone(), Dim::Fixed(height), Dim::Fixed(width)];
        let attributes = [
            ("kernel_shape", integers(&[pool.kernel; 2])),
            ("pads", integers(&[pool.padding, pool.padding, below, right])),
            ("strides", integers(&[pool.stride; 2])),
        ];
        self.node_of(op, &[x], attributes.into_iter().chain(own), x.dtype, shape)
    }
}

/// Height and width after a convolution; `None` when the shapes do not fit.
fn convolved(x: &Value, weight: &Value, bias: Option<&Value>, conv: Conv) -> Option<[usize; 2]> {
    let fits = x.rank() == 4
        && weight.rank() == 4
        && conv.groups > 0
        && x.shape[1].fixed() == weight.shape[1].fixed()?.checked_mul(conv.groups)
        && weight.shape[0].fixed()?.is_multiple_of(conv.groups)
        && bias.is_none_or(|bias| bias.shape == weight.shape[..1])
        && [Some(weight), bias].into_iter().flatten().all(|value| value.dtype == x.dtype);
    let side = |at: usize| {
        let padded =
            x.shape[2 + at].fixed()?.checked_add(conv.padding[at])?.checked_add(conv.padding[at + 2])?;
        let reach =
            conv.dilation[at].checked_mul(weight.shape[2 + at].fixed()?.checked_sub(1)?)?.checked_add(1)?;
        padded.checked_sub(reach)?.checked_div(conv.stride[at])?.checked_add(1)
    };
    if fits { Some([side(0)?, side(1)?]) } else { None }
}

/// Channels, height and width after a transposed convolution; `None` when the shapes do not fit.
fn spread(x: &Value, weight: &Value, bias: Option<&Value>, conv: Conv) -> Option<[usize; 3]> {
    let fits = x.rank() == 4
        && weight.rank() == 4
        && conv.groups > 0
        && x.shape[1] == weight.shape[0]
        && [Some(weight), bias].into_iter().flatten().all(|value| value.dtype == x.dtype);
    let out = weight.shape.get(1)?.fixed()?.checked_mul(conv.groups)?;
    let side = |at: usize| {
        let steps = x.shape[2 + at].fixed()?.checked_sub(1)?.checked_mul(conv.stride[at])?;
        let reach = conv.dilation[at].checked_mul(weight.shape[2 + at].fixed()?.checked_sub(1)?)?;
        let whole = steps.checked_add(reach)?.checked_add(1)?;
        whole.checked_sub(conv.padding[at])?.checked_sub(conv.padding[at + 2]).filter(|side| *side > 0)
    };
    if fits && bias.is_none_or(|bias| bias.shape == [Dim::Fixed(out)]) {
        Some([out, side(0)?, side(1)?])
    } else {
        None
    }
}

/// The number of windows along one side, by PyTorch's rule (with `ceil` the last window must start inside), and the
/// padding at the end that gives as many without `ceil_mode`: runtimes and ONNX's own versions disagree about that.
fn pooled(size: usize, pool: Pool) -> Option<(usize, usize)> {
    let room = pool.padding.checked_mul(2)?.checked_add(size)?.checked_sub(pool.kernel)?;
    if !pool.ceil {
        return Some((room.checked_div(pool.stride)? + 1, pool.padding));
    }
    let most = room.checked_add(pool.stride.checked_sub(1)?)? / pool.stride + 1;
    let last_starts_outside = (most - 1).checked_mul(pool.stride)? >= size + pool.padding;
    let windows = if last_starts_outside { most - 1 } else { most };
    let reach = (windows.checked_sub(1)? * pool.stride).checked_add(pool.kernel)?;
    Some((windows, reach.saturating_sub(size + pool.padding)))
}

/// The factor by which `from` pixels become `to`. Runtimes multiply (some in `float32`, some in `float64`) and round
/// down: the factor is never below the true ratio.
fn scale(from: usize, to: usize) -> f32 {
    let mut scale = to as f32 / from as f32;
    while f64::from(scale) * (from as f64) < to as f64 {
        scale = scale.next_up();
    }
    scale
}

fn integers(values: &[usize]) -> Attribute {
    Attribute::Ints(values.iter().map(|value| *value as i64).collect())
}
