//! Dense heads: a row an anchor or cell, suppressed here.
//!
//! Ultralytics' rule: one class a row (the best), confidence before suppression, at most 30000 rows into it. Rows are
//! read where they lie, so the usual channels-first output is never transposed.

use rayon::prelude::*;

use super::{Detection, Detections, Outputs, Thresholds, Values, check_classes, sigmoid};
use crate::nms::suppress;
use crate::{Activation, DenseLayout, Error, Xyxy};

/// Most rows that take part in suppression, the best.
const MOST_ROWS: usize = 30_000;

/// The checked output of a dense head.
pub(super) struct Rows<'a> {
    output: Values<'a>,
    batch: usize,
    /// Rows in the output, and numbers a row.
    count: usize,
    columns: usize,
    layout: DenseLayout,
    objectness: bool,
    activation: Activation,
}

impl<'a> Rows<'a> {
    pub(super) fn read(
        outputs: &Outputs<'a>,
        output: &str,
        layout: DenseLayout,
        objectness: bool,
        activation: Activation,
        labels: usize,
    ) -> Result<Self, Error> {
        let before_scores = 4 + usize::from(objectness);
        let (expected, columns_axis) = match layout {
            DenseLayout::ChannelsFirst => (format!("[batch, {before_scores} + classes, rows]"), 0),
            DenseLayout::RowsFirst => (format!("[batch, rows, {before_scores} + classes]"), 1),
        };
        let fits = |rest: &[usize]| rest.len() == 2 && rest[columns_axis] > before_scores;
        let name = output;
        let output = outputs.values(name, &expected, fits)?;
        let (columns, count) = (output.shape[1 + columns_axis], output.shape[2 - columns_axis]);
        check_classes(name, &output.shape, columns - before_scores, labels)?;
        Ok(Self { output, batch: outputs.batch, count, columns, layout, objectness, activation })
    }

    /// Detections of each image; `iou` is the suppression's threshold, `None` for none.
    pub(super) fn select(
        &self,
        iou: Option<f32>,
        thresholds: &Thresholds,
        place: impl Fn(usize, [f32; 4]) -> Xyxy + Sync,
    ) -> Vec<Detections> {
        (0..self.batch)
            .into_par_iter()
            .map(|row| {
                let values = self.output.row(row);
                let mut found = self.best_classes(values, thresholds.confidence);
                found.sort_by(|a, b| b.score.total_cmp(&a.score));
                found.truncate(MOST_ROWS);
                let mut detections: Detections = found
                    .into_iter()
                    .map(|Scored { at, score, class }| {
                        let b = std::array::from_fn(|column| values[self.index(at, column)]);
                        Detection { bbox: place(row, b), score, label: class }
                    })
                    .collect();
                if let Some(iou) = iou {
                    detections = suppress(detections, iou);
                }
                detections
            })
            .collect()
    }

    fn index(&self, at: usize, column: usize) -> usize {
        match self.layout {
            DenseLayout::ChannelsFirst => column * self.count + at,
            DenseLayout::RowsFirst => at * self.columns + column,
        }
    }

    /// The best class of each row above the threshold, in order of rows.
    fn best_classes(&self, values: &[f32], confidence: f32) -> Vec<Scored> {
        let first = 4 + usize::from(self.objectness);
        // Scores and classes apart, and no branch: so the compiler takes several rows at once.
        let mut best = vec![f32::NEG_INFINITY; self.count];
        let mut classes = vec![0_u32; self.count];
        let take = |best: &mut f32, own: &mut u32, value: f32, class: usize| {
            let better = value > *best;
            *best = if better { value } else { *best };
            *own = if better { class as u32 } else { *own };
        };
        // In the order of memory. The activation keeps the order of scores, so it is applied to the best only.
        match self.layout {
            DenseLayout::ChannelsFirst => {
                for (class, values) in values.chunks_exact(self.count.max(1)).skip(first).enumerate() {
                    for ((best, own), &value) in best.iter_mut().zip(&mut classes).zip(values) {
                        take(best, own, value, class);
                    }
                }
            }
            DenseLayout::RowsFirst => {
                for ((best, own), values) in
                    best.iter_mut().zip(&mut classes).zip(values.chunks_exact(self.columns))
                {
                    for (class, &value) in values[first..].iter().enumerate() {
                        take(best, own, value, class);
                    }
                }
            }
        }
        let score = |at: usize, value: f32| {
            if self.objectness {
                self.activate(values[self.index(at, 4)]) * self.activate(value)
            } else {
                self.activate(value)
            }
        };
        let scored = best.into_iter().zip(classes).enumerate().map(|(at, (value, class))| Scored {
            at,
            score: score(at, value),
            class,
        });
        scored.filter(|row| row.score > confidence).collect()
    }

    fn activate(&self, value: f32) -> f32 {
        if self.activation == Activation::Sigmoid { sigmoid(value) } else { value }
    }
}

struct Scored {
    at: usize,
    score: f32,
    class: u32,
}
