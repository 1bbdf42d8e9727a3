//! Boxes from distributions: each edge's distance from the first estimate is a mean over bins of growing width.
//!
//! Once training is over, bins and scale are constants, so that the mean, the turn from edges to centre and size and the
//! scale are one matrix.

use graph::{Builder, Value};

use crate::weights::Weights;

/// What distances are made with.
#[derive(Debug, Clone)]
pub(super) struct Edges {
    /// The distance that each bin stands for.
    bins: Vec<f32>,
    /// Distances count in this part of the box's size.
    scale: f32,
}

/// The first estimate of each box, and its sizes as the edges need them.
#[derive(Debug, Clone)]
pub(super) struct Estimate {
    boxes: Value,
    sizes: Value,
}

impl Edges {
    /// From the decoder's `up` and `reg_scale`.
    pub(super) fn read(w: &Weights, max_num_bins: usize) -> Self {
        let [up, scale] = ["up", "reg_scale"].map(|name| {
            let stored = w.tensor(name, &[1]).to_f32().unwrap_or_default();
            stored.first().copied().unwrap_or(1.0).abs()
        });
        let bound = up * scale;
        let step = (bound + 1.0).powf(2.0 / (max_num_bins as f32 - 2.0));
        let inner = (1..max_num_bins / 2).map(|at| step.powf(at as f32) - 1.0);
        let inner: Vec<f32> = inner.chain([bound * 2.0]).collect();
        let left = inner.iter().rev().map(|bin| -bin);
        Self { bins: left.chain([0.0]).chain(inner.iter().copied()).collect(), scale }
    }

    /// The first estimate `[batch, queries, 4]`, prepared.
    pub(super) fn around(b: &mut Builder, w: &Weights, boxes: &Value) -> Estimate {
        let places: &[usize] = if w.exact() { &[2, 3] } else { &[2, 3, 2, 3] };
        Estimate { boxes: boxes.clone(), sizes: b.take(boxes, places, -1) }
    }

    /// The distributions `[batch, queries, 4, bins]` of logits `[batch, queries, 4 × bins]`.
    pub(super) fn shares(&self, b: &mut Builder, corners: &Value) -> Value {
        let corners = b.reshape(corners, &[0, 0, 4, self.bins.len() as i64]);
        b.softmax(&corners, -1)
    }

    /// Boxes `[batch, queries, 4]` whose edges lie off the estimate as the distributions say.
    pub(super) fn boxes(&self, b: &mut Builder, w: &Weights, shares: &Value, from: &Estimate) -> Value {
        if w.exact() {
            return self.boxes_in_steps(b, shares, from);
        }
        let flat = b.reshape(shares, &[0, 0, -1]);
        let matrix = b.floats(&[4 * self.bins.len(), 4], self.matrix());
        let moves = b.matmul(&flat, &matrix);
        let moves = b.mul(&moves, &from.sizes);
        b.add(&from.boxes, &moves)
    }

    /// From the distributions of left, top, right and bottom to the moves of centre and size, in sizes of the estimate.
    fn matrix(&self) -> Vec<f32> {
        let mut matrix = Vec::with_capacity(16 * self.bins.len());
        for edge in 0..4 {
            for bin in &self.bins {
                let distance = bin / self.scale;
                let mut row = [0.0; 4];
                row[edge % 2] = if edge < 2 { -0.5 * distance } else { 0.5 * distance };
                row[2 + edge % 2] = distance;
                matrix.extend(row);
            }
        }
        matrix
    }

    fn boxes_in_steps(&self, b: &mut Builder, shares: &Value, from: &Estimate) -> Value {
        let project = b.floats(&[self.bins.len(), 1], self.bins.clone());
        let distances = b.matmul(shares, &project);
        let distances = b.reshape(&distances, &[0, 0, 4]);
        let (half, scale) = (b.scalar(0.5 * self.scale), b.scalar(self.scale));
        let reach = b.add(&half, &distances);
        let unit = b.div(&from.sizes, &scale);
        let centre = b.slice(&from.boxes, -1, 0, 2);
        let [to_first, to_last] = [0, 2].map(|start| {
            let reach = b.slice(&reach, -1, start, start + 2);
            b.mul(&reach, &unit)
        });
        let (first, last) = (b.sub(&centre, &to_first), b.add(&centre, &to_last));
        let two = b.scalar(2.0);
        let sum = b.add(&first, &last);
        let (middle, size) = (b.div(&sum, &two), b.sub(&last, &first));
        b.concat(&[&middle, &size], -1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_symmetric_and_grow() {
        let edges = Edges { bins: Vec::new(), scale: 4.0 };
        assert!(edges.matrix().is_empty());
        let bins = [-4.0, -2.0, 0.0, 2.0, 4.0];
        let matrix = Edges { bins: bins.to_vec(), scale: 4.0 }.matrix();
        assert_eq!(matrix[..4], [0.5, 0.0, -1.0, 0.0], "the left edge, in by a whole width");
        assert_eq!(matrix[4 * 19..], [0.0, 0.5, 0.0, 1.0], "the bottom edge, out by a whole height");
    }
}
