//! Sine embeddings of boxes and points: each coordinate as waves, sines and cosines taking turns.
//!
//! Conditional DETR (<https://arxiv.org/abs/2108.06152>) and DAB-DETR (<https://arxiv.org/abs/2201.12329>) made it what
//! a query's position is; the vertical coordinate comes first.

use graph::{Builder, Value};

use super::Sine;

/// The embeddings `[batch, queries, numbers × size]` of `x` `[batch, queries, numbers]` (x, y, …): y before x, the others
/// in their order. `sine` says how `size` elements are made of a number; its first temperature counts.
pub(crate) fn box_sine(b: &mut Builder, x: &Value, sine: Sine) -> Value {
    let numbers = x.size(-1);
    let half = sine.size / 2;
    let mut order: Vec<usize> = (0..numbers).collect();
    if numbers > 1 {
        order.swap(0, 1);
    }
    b.scoped("sine", |b| {
        let x = b.take(x, &order, -1);
        let x = b.unsqueeze(&x, &[3]);
        let speeds = b.floats(&[half], sine.speeds(0)[..half].to_vec());
        // A cosine is a sine a quarter turn ahead.
        let ahead = b.floats(&[half], sine.phases()[..half].to_vec());
        let angles = b.mul(&x, &speeds);
        let angles = b.add(&angles, &ahead);
        let waves = b.sin(&angles);
        b.flatten_from(&waves, 2)
    })
}
