//! A picture `[batch, planes, rows, columns]` with other rows.

use graph::{Builder, Value};

use super::taps::{Taps, Window};

/// The rows that `taps` makes of `x` (`float32`, bytes before the first direction): `[batch, planes, target, columns]`.
pub(super) fn resample(b: &mut Builder, x: &Value, taps: &Taps) -> Value {
    match taps {
        Taps::One { index } => b.gather(x, index, 2),
        Taps::Two { first, second, weight } => {
            let (first, second) = (b.gather(x, first, 2), b.gather(x, second, 2));
            let step = b.sub(&second, &first);
            let step = b.mul(&step, weight);
            b.add(&first, &step)
        }
        Taps::Four { rows } => {
            // In the order of the code around the graph: sums of floats depend on it.
            let mut sum: Option<Value> = None;
            for (index, weight) in rows {
                let row = b.gather(x, index, 2);
                let part = b.mul(&row, weight);
                sum = Some(match sum {
                    None => part,
                    Some(sum) => b.add(&sum, &part),
                });
            }
            sum.unwrap_or_else(|| x.clone())
        }
        Taps::Window(window) => weighted(b, x, window),
    }
}

/// Bytes of what the last direction made.
pub(super) fn to_bytes(b: &mut Builder, x: &Value, taps: &Taps) -> Value {
    match taps {
        Taps::One { .. } | Taps::Window(_) => x.clone(),
        Taps::Two { .. } => nearest(b, x, false),
        Taps::Four { .. } => nearest(b, x, true),
    }
}

/// The window's sum, rounded. With `H` and `L` the sums with the upper and lower bits of the weights, the result is
/// `⌊(256 H + L) / 2ᵖ + ½⌋`, which is `⌊(H + ⌊L / 256⌋) / 2ᵖ⁻⁸ + ½⌋`: exact in floats.
fn weighted(b: &mut Builder, x: &Value, window: &Window) -> Value {
    let rows = b.gather(x, &window.index, 2);
    let low = b.matmul(&window.low, &rows);
    let low = b.floor(&low);
    let low = b.mul(&low, &window.down);
    let high = b.matmul(&window.high, &rows);
    let sum = b.add(&high, &low);
    let sum = b.squeeze(&sum, 3);
    nearest(b, &sum, window.overshoots)
}

/// The nearest whole number, halves up.
fn nearest(b: &mut Builder, x: &Value, clip: bool) -> Value {
    let half = b.scalar(0.5);
    let x = b.add(x, &half);
    let x = b.floor(&x);
    if clip { b.clip(&x, 0.0, 255.0) } else { x }
}
