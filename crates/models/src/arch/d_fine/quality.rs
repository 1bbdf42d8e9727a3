//! The location quality of each query: scores rise where the distributions of the box edges are sharp.

use graph::{Builder, Tensor, Value};

use super::config::DFineConfig;
use crate::layers::{deferred_floats, linear, mlp};
use crate::weights::Weights;

/// `scores` `[batch, queries, classes]` plus what the distributions `[batch, queries, 4, bins]` say.
pub(super) fn rescore(
    b: &mut Builder,
    w: &Weights,
    config: &DFineConfig,
    scores: &Value,
    shares: &Value,
) -> Value {
    let (top, _) = b.top_k(shares, config.top_prob_values, -1);
    let mut sizes = vec![config.lqe_hidden_dim; config.lqe_layers - 1];
    sizes.push(1);
    let quality = if w.exact() {
        let mean = b.reduce_mean(&top, &[-1], true);
        let statistics = b.concat(&[&top, &mean], -1);
        let statistics = b.reshape(&statistics, &[0, 0, -1]);
        mlp(b, w, "reg_conf", &statistics, &sizes)
    } else {
        let top = b.reshape(&top, &[0, 0, -1]);
        w.scope(b, "reg_conf", |b, w| {
            let mut x = without_mean(b, w, &top, config.top_prob_values, sizes[0]);
            for (index, size) in sizes.iter().enumerate().skip(1) {
                x = b.relu(&x);
                x = linear(b, w, &format!("layers.{index}"), &x, *size);
            }
            x
        })
    };
    b.add(scores, &quality)
}

/// The first layer on the largest shares of each edge alone; the weights of their mean are spread over them.
fn without_mean(b: &mut Builder, w: &Weights, top: &Value, count: usize, out: usize) -> Value {
    w.scope(b, "layers.0", |b, w| {
        let stored = w.tensor("weight", &[out, 4 * (count + 1)]);
        let weight = b.weight(&w.full("weight"), spread(stored, count, out));
        let bias = w.tensor("bias", &[out]);
        let bias =
            b.weight(&w.full("bias"), deferred_floats(&[out], move || bias.to_f32().unwrap_or_default()));
        let product = b.matmul(top, &weight);
        b.add(&product, &bias)
    })
}

/// `[out, 4 × (count + 1)]` as `[4 × count, out]`.
fn spread(stored: Tensor, count: usize, out: usize) -> Tensor {
    deferred_floats(&[4 * count, out], move || {
        let values = stored.to_f32().unwrap_or_default();
        let mut spread = Vec::with_capacity(4 * count * out);
        for edge in 0..4 {
            for place in 0..count {
                for row in values.chunks_exact(4 * (count + 1)) {
                    let own = &row[edge * (count + 1)..][..=count];
                    spread.push(own[place] + own[count] / count as f32);
                }
            }
        }
        spread
    })
}
