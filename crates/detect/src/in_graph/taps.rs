//! Where each row of a resized picture reads, and with which weights, computed from the frame's size while the graph runs.
//!
//! Equal to `fast_image_resize` (PIL's scheme) and to our own two- and four-point filters, in `crate::resample`. Positions
//! are counted in halves of a resized pixel, `1 / (2 × resized)` of the source, so that they are whole numbers.

use std::f32::consts::PI;

use graph::{Builder, DataType, Dim, Value};

use super::{whole, wholes};
use crate::{Filter, ImageInput};

/// One direction of a resize. The scalars are `int32`.
pub(super) struct Axis {
    /// Length of the frame.
    pub(super) source: Value,
    /// Length of the picture inside the target.
    pub(super) resized: Value,
    /// Where the picture starts inside the target; `None` when it fills it.
    pub(super) offset: Option<Value>,
    /// Length of the target.
    pub(super) target: usize,
    /// The symbol of the number of taps: each direction has its own, ONNX Runtime takes equal symbols for equal sizes.
    pub(super) taps: &'static str,
}

/// What each row of the target reads. `index` is `int32`, `target` rows.
pub(super) enum Taps {
    /// One row as it is: `index` `[target]`.
    One { index: Value },
    /// `first + (second − first) × weight`, not rounded: `[target]` twice, weight `[target, 1]`.
    Two { first: Value, second: Value, weight: Value },
    /// Four rows, not rounded: index `[target]`, weight `[target, 1]` each.
    Four { rows: Vec<(Value, Value)> },
    /// A window, rounded to bytes.
    Window(Window),
}

/// A window with weights of 15 bits: `index` is `[target, taps]`, the weights `[target, 1, taps]`.
pub(super) struct Window {
    pub(super) index: Value,
    /// The upper bits, times `down`.
    pub(super) high: Value,
    /// The lower eight bits, times 2⁻⁸.
    pub(super) low: Value,
    /// What the unit of the upper bits is worth.
    pub(super) down: Value,
    /// Whether the result may leave 0–255.
    pub(super) overshoots: bool,
}

/// The taps of one direction.
pub(super) fn taps(b: &mut Builder, input: &ImageInput, axis: &Axis) -> Taps {
    let at = Positions::new(b, axis);
    match (input.filter, input.antialias) {
        (Filter::Nearest, _) => {
            let index = b.div(&at.centre, &at.step);
            Taps::One { index: at.inside(b, &index) }
        }
        (Filter::Bilinear, false) => two(b, &at),
        (Filter::Bicubic, false) => four(b, &at),
        (filter, antialias) => Taps::Window(window(b, &at, filter, antialias)),
    }
}

/// The rows of the target, in halves of a resized pixel.
struct Positions {
    source: Value,
    resized: Value,
    target: usize,
    taps: &'static str,
    /// `2 × resized`: a pixel of the source.
    step: Value,
    /// The middle of each row, `[target]`.
    centre: Value,
}

impl Positions {
    fn new(b: &mut Builder, axis: &Axis) -> Self {
        let mut row = wholes(b, &[axis.target], (0..axis.target as i32).collect());
        let (one, two) = (whole(b, 1), whole(b, 2));
        if let Some(offset) = &axis.offset {
            // Rows of the padding read what is at the edge; they are painted over.
            let last = b.sub(&axis.resized, &one);
            let zero = whole(b, 0);
            row = b.sub(&row, offset);
            row = b.maximum(&row, &zero);
            row = b.minimum(&row, &last);
        }
        let doubled = b.mul(&row, &two);
        let odd = b.add(&doubled, &one);
        let centre = b.mul(&odd, &axis.source);
        let step = b.mul(&axis.resized, &two);
        let (source, resized) = (axis.source.clone(), axis.resized.clone());
        Self { source, resized, target: axis.target, taps: axis.taps, step, centre }
    }

    /// `index` kept inside the source.
    fn inside(&self, b: &mut Builder, index: &Value) -> Value {
        let (zero, one) = (whole(b, 0), whole(b, 1));
        let last = b.sub(&self.source, &one);
        let index = b.maximum(index, &zero);
        b.minimum(&index, &last)
    }

    /// `numerator / step` of each row as floats: divided row by row, because the embedded backend multiplies by the inverse
    /// of a single number.
    fn fraction(&self, b: &mut Builder, numerator: &Value) -> Value {
        let steps = self.by_row(b, &self.step);
        let (numerator, steps) = (b.cast(numerator, DataType::F32), b.cast(&steps, DataType::F32));
        b.div(&numerator, &steps)
    }

    /// A scalar once for each row.
    fn by_row(&self, b: &mut Builder, scalar: &Value) -> Value {
        let sizes = b.ints(&[self.target as i64]);
        b.expand(scalar, &sizes, vec![Dim::Fixed(self.target)])
    }
}

/// The two nearest rows.
fn two(b: &mut Builder, at: &Positions) -> Taps {
    let (zero, one) = (whole(b, 0), whole(b, 1));
    let position = b.sub(&at.centre, &at.resized);
    let position = b.maximum(&position, &zero);
    let first = b.div(&position, &at.step);
    let start = b.mul(&first, &at.step);
    let rest = b.sub(&position, &start);
    let weight = at.fraction(b, &rest);
    let next = b.add(&first, &one);
    let (first, second) = (at.inside(b, &first), at.inside(b, &next));
    Taps::Two { first, second, weight: b.unsqueeze(&weight, &[1]) }
}

/// The four nearest rows, with the cubic of `OpenCV` and PyTorch.
fn four(b: &mut Builder, at: &Positions) -> Taps {
    const CUBIC: f32 = -0.75;
    let one = whole(b, 1);
    let position = b.sub(&at.centre, &at.resized);
    // Up to a row above the first: one step more keeps the quotient from being negative.
    let shifted = b.add(&position, &at.step);
    let above = b.div(&shifted, &at.step);
    let left = b.sub(&above, &one);
    let start = b.mul(&above, &at.step);
    let rest = b.sub(&shifted, &start);
    let away = at.fraction(b, &rest);
    let unit = b.scalar(1.0);
    let rest = b.sub(&unit, &away);
    let distances = [b.add(&away, &unit), away, rest.clone(), b.add(&rest, &unit)];
    let near = |b: &mut Builder, x: &Value| polynomial(b, x, &[CUBIC + 2.0, -(CUBIC + 3.0), 0.0, 1.0]);
    let far =
        |b: &mut Builder, x: &Value| polynomial(b, x, &[CUBIC, -5.0 * CUBIC, 8.0 * CUBIC, -4.0 * CUBIC]);
    let weights =
        [far(b, &distances[0]), near(b, &distances[1]), near(b, &distances[2]), far(b, &distances[3])];
    let rows = weights.iter().zip(-1..).map(|(weight, away)| {
        let away = whole(b, away);
        let index = b.add(&left, &away);
        (at.inside(b, &index), b.unsqueeze(weight, &[1]))
    });
    Taps::Four { rows: rows.collect() }
}

/// `(c₀ × x + c₁) × x + …`.
fn polynomial(b: &mut Builder, x: &Value, coefficients: &[f32]) -> Value {
    let mut rest = coefficients.iter();
    let mut sum = b.scalar(rest.next().copied().unwrap_or(0.0));
    for coefficient in rest {
        sum = b.mul(&sum, x);
        if coefficient.abs() > 0.0 {
            let coefficient = b.scalar(*coefficient);
            sum = b.add(&sum, &coefficient);
        }
    }
    sum
}

/// A window that widens with the reduction (`antialias`) or not.
fn window(b: &mut Builder, at: &Positions, filter: Filter, antialias: bool) -> Window {
    // The window is twice the support wide.
    let support = match filter {
        Filter::Nearest | Filter::Box => 1,
        Filter::Bilinear | Filter::Hamming => 2,
        Filter::Bicubic => 4,
        Filter::Lanczos => 6,
    };
    let scale = if antialias { b.maximum(&at.source, &at.resized) } else { at.resized.clone() };
    let (zero, one, two) = (whole(b, 0), whole(b, 1), whole(b, 2));
    let support = whole(b, support);
    let radius = b.mul(&scale, &support);
    // An open interval of this length holds at most so many pixels.
    let long = b.add(&radius, &at.resized);
    let long = b.sub(&long, &one);
    let taps = b.div(&long, &at.resized);

    // The first pixel whose middle lies inside: floor, with as many steps added as keep the quotient from being negative.
    let edge = b.sub(&at.centre, &radius);
    let edge = b.sub(&edge, &at.resized);
    let lift = b.mul(&taps, &at.step);
    let edge = b.add(&edge, &lift);
    let edge = b.div(&edge, &at.step);
    let lowered = b.sub(&edge, &taps);
    let start = b.add(&lowered, &one);

    let start = b.unsqueeze(&start, &[1]);
    let steps = b.range(&taps, Dim::Symbol(at.taps.into()));
    let position = b.add(&start, &steps);
    let doubled = b.mul(&position, &two);
    let odd = b.add(&doubled, &one);
    let middle = b.mul(&odd, &at.resized);
    let centre = b.unsqueeze(&at.centre, &[1]);
    let distance = b.sub(&middle, &centre);
    let before = whole(b, -1);
    let (after_start, before_end) = (b.greater(&position, &before), b.greater(&at.source, &position));
    let real = b.and(&after_start, &before_end);
    let index = at.inside(b, &position);

    let (weights, precision) = match filter {
        Filter::Nearest | Filter::Box | Filter::Bilinear => {
            let negative = b.sub(&zero, &distance);
            let shape = if filter == Filter::Bilinear {
                let away = b.maximum(&distance, &negative);
                let height = b.sub(&radius, &away);
                b.maximum(&height, &zero)
            } else {
                // Half open, as PIL has it.
                let (low, high) = (b.greater(&radius, &negative), b.greater(&distance, &radius));
                let high = b.operator("Not", &[&high], [], DataType::Bool, high.shape().to_vec());
                let inside = b.and(&low, &high);
                b.cast(&inside, DataType::I32)
            };
            let shape = b.select(&real, &shape, &zero);
            exact(b, &shape)
        }
        Filter::Hamming | Filter::Bicubic | Filter::Lanczos => {
            let unit = b.mul(&scale, &two);
            let unit = at.by_row(b, &unit);
            let unit = b.unsqueeze(&unit, &[1]);
            let (distance, unit) = (b.cast(&distance, DataType::F32), b.cast(&unit, DataType::F32));
            let x = b.div(&distance, &unit);
            let shape = kernel(b, filter, &x);
            let none = b.scalar(0.0);
            let shape = b.select(&real, &shape, &none);
            rounded(b, &shape)
        }
    };
    let overshoots = matches!(filter, Filter::Bicubic | Filter::Lanczos);
    split(b, index, &weights, &precision, overshoots)
}

/// The kernel at `x`, in units of its scale.
fn kernel(b: &mut Builder, filter: Filter, x: &Value) -> Value {
    let x = b.abs(x);
    let (zero, one) = (b.scalar(0.0), b.scalar(1.0));
    let within = |b: &mut Builder, x: &Value, bound: f32, value: &Value, other: &Value| {
        let bound = b.scalar(bound);
        let inside = b.greater(&bound, x);
        b.select(&inside, value, other)
    };
    // sin(πx) / (πx), 1 in the middle.
    let sinc = |b: &mut Builder, x: &Value| {
        let (least, pi) = (b.scalar(1e-6), b.scalar(PI));
        let angle = b.maximum(x, &least);
        let angle = b.mul(&angle, &pi);
        let sine = b.sin(&angle);
        let value = b.div(&sine, &angle);
        let away = b.greater(x, &least);
        let one = b.scalar(1.0);
        b.select(&away, &value, &one)
    };
    match filter {
        Filter::Bicubic => {
            let near = polynomial(b, &x, &[1.5, -2.5, 0.0, 1.0]);
            let far = polynomial(b, &x, &[-0.5, 2.5, -4.0, 2.0]);
            let far = within(b, &x, 2.0, &far, &zero);
            within(b, &x, 1.0, &near, &far)
        }
        Filter::Lanczos => {
            let third = b.scalar(1.0 / 3.0);
            let slow = b.mul(&x, &third);
            let (fast, slow) = (sinc(b, &x), sinc(b, &slow));
            let value = b.mul(&fast, &slow);
            within(b, &x, 3.0, &value, &zero)
        }
        _ => {
            let pi = b.scalar(PI);
            let angle = b.mul(&x, &pi);
            let cosine = b.cos(&angle);
            let raised = polynomial(b, &cosine, &[0.46, 0.54]);
            let sinc = sinc(b, &x);
            let value = b.mul(&raised, &sinc);
            let value = within(b, &x, 1.0, &value, &zero);
            // So that the middle is exactly 1.
            let least = b.scalar(1e-6);
            let away = b.greater(&x, &least);
            b.select(&away, &value, &one)
        }
    }
}

/// How many bits weights are rounded to: so many that the largest stays below 2¹⁵, at most 21.
fn precision(b: &mut Builder, largest: &Value) -> Value {
    let bounds = (1..=21).map(|bits| 32_767.5 / (1_u32 << bits) as f32).collect();
    let bounds = b.floats(&[21], bounds);
    let passed = b.greater(&bounds, largest);
    let passed = b.cast(&passed, DataType::I32);
    b.reduce_sum(&passed, &[0], false)
}

/// An entry of a table for 0 to 21 bits.
fn for_bits(b: &mut Builder, precision: &Value, value: impl Fn(i32) -> f32) -> Value {
    let table = b.floats(&[22], (0..22).map(value).collect());
    b.gather(&table, precision, 0)
}

/// Whole weights `[target, taps]` divided by their sums and rounded, as floats; and their precision.
///
/// The quotient is taken by long division, five bits at a time: exact as long as a sum of weights stays below 2²⁶, that is
/// `source² / resized` below 2²⁵.
fn exact(b: &mut Builder, shape: &Value) -> (Value, Value) {
    let sum = b.reduce_sum(shape, &[1], true);
    let (shape_f, sum_f) = (b.cast(shape, DataType::F32), b.cast(&sum, DataType::F32));
    let share = b.div(&shape_f, &sum_f);
    let largest = b.reduce_max(&share, &[0, 1], false);
    let precision = precision(b, &largest);
    let digit = whole(b, 32);
    let (mut rest, mut quotient): (Value, Option<Value>) = (shape.clone(), None);
    for _ in 0..5 {
        let shifted = b.mul(&rest, &digit);
        let next = b.div(&shifted, &sum);
        let taken = b.mul(&next, &sum);
        rest = b.sub(&shifted, &taken);
        quotient = Some(match quotient {
            None => next,
            Some(quotient) => {
                let quotient = b.mul(&quotient, &digit);
                b.add(&quotient, &next)
            }
        });
    }
    let quotient = quotient.unwrap_or(rest);
    // 25 bits; one more than the precision are kept, and the last one rounds.
    let (one, two) = (whole(b, 1), whole(b, 2));
    let powers = wholes(b, &[22], (0..22).map(|bits| 1 << (24 - bits)).collect());
    let drop = b.gather(&powers, &precision, 0);
    let kept = b.div(&quotient, &drop);
    let kept = b.add(&kept, &one);
    let weights = b.div(&kept, &two);
    (b.cast(&weights, DataType::F32), precision)
}

/// Weights `[target, taps]` divided by their sums and rounded in single precision; and their precision.
fn rounded(b: &mut Builder, shape: &Value) -> (Value, Value) {
    let sum = b.reduce_sum(shape, &[1], true);
    let share = b.div(shape, &sum);
    let largest = b.reduce_max(&share, &[0, 1], false);
    let precision = precision(b, &largest);
    let unit = for_bits(b, &precision, |bits| (1_u32 << bits) as f32);
    let half = b.scalar(0.5);
    let scaled = b.mul(&share, &unit);
    let scaled = b.add(&scaled, &half);
    (b.floor(&scaled), precision)
}

/// Upper and lower bits apart: with eight bits each, products with bytes are exact in TF32 too, and their sums in `float32`.
fn split(b: &mut Builder, index: Value, weights: &Value, precision: &Value, overshoots: bool) -> Window {
    let (byte, inverse) = (b.scalar(256.0), b.scalar(1.0 / 256.0));
    let high = b.mul(weights, &inverse);
    let high = b.floor(&high);
    let upper = b.mul(&high, &byte);
    let low = b.sub(weights, &upper);
    let low = b.mul(&low, &inverse);
    let down = for_bits(b, precision, |bits| 2.0_f32.powi(8 - bits));
    let high = b.mul(&high, &down);
    let (high, low) = (b.unsqueeze(&high, &[1]), b.unsqueeze(&low, &[1]));
    Window { index, high, low, down, overshoots }
}
