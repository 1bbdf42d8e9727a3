//! The quadrilaterals of PP-DocLayoutV4: a centre, and four corners by their distance from it.

use graph::{Builder, Value};

use crate::layers::{Deformable, Reference};
use crate::weights::Weights;

/// The parts of quadrilaterals `[batch, queries, 10]`, `[batch, queries, 2]` each.
pub(super) struct Quadrilaterals {
    centre: Value,
    /// The least and the largest distance of a corner from the centre, in an exact graph; one half more otherwise.
    low: Value,
    high: Value,
}

impl Quadrilaterals {
    pub(super) fn split(b: &mut Builder, w: &Weights, numbers: &Value) -> Self {
        let parts = b.split(numbers, &[2, 8], -1);
        let [centre, corners] = [0, 1].map(|at| parts.get(at).unwrap_or(numbers));
        let mut corners = b.reshape(corners, &[0, 0, 4, 2]);
        if w.exact() {
            let half = b.scalar(0.5);
            corners = b.sub(&corners, &half);
        }
        let low = b.reduce_min(&corners, &[2], false);
        let high = b.reduce_max(&corners, &[2], false);
        Self { centre: centre.clone(), low, high }
    }

    /// What deformable attention looks at: the centre, and the extent of the corners.
    pub(super) fn reference(&self, b: &mut Builder, w: &Weights, spec: &Deformable) -> Reference {
        let size = b.sub(&self.high, &self.low);
        Reference::around(b, w, [&self.centre, &size], None, spec)
    }

    /// The smallest upright boxes around them, by their corners `[batch, queries, 4]`.
    pub(super) fn enclosing(&self, b: &mut Builder, w: &Weights) -> Value {
        let centre = if w.exact() {
            self.centre.clone()
        } else {
            let half = b.scalar(0.5);
            b.sub(&self.centre, &half)
        };
        let low = b.add(&centre, &self.low);
        let high = b.add(&centre, &self.high);
        b.concat(&[&low, &high], -1)
    }
}
