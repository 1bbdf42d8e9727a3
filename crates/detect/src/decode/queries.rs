//! The DETR family: a row a query, with class scores and a box.
//!
//! Equal to `post_process_object_detection` of transformers. The best class of a query is taken after the activation,
//! and with a softmax the background column takes part in it before it is dropped.

use rayon::prelude::*;

use super::{Detection, Detections, Outputs, Thresholds, Values, check_classes, sigmoid};
use crate::{Activation, Background, Error, Selection, Xyxy};

/// The checked outputs of a queries head.
pub(super) struct Rows<'a> {
    logits: Values<'a>,
    boxes: Values<'a>,
    activation: Activation,
    batch: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn read(
        outputs: &Outputs<'a>,
        logits: &str,
        boxes: &str,
        activation: Activation,
        labels: usize,
    ) -> Result<Self, Error> {
        let logits_name = logits;
        let logits =
            outputs.values(logits, "[batch, queries, classes]", |rest| rest.len() == 2 && rest[1] > 0)?;
        let queries = logits.shape[1];
        let expected = format!("[batch, {queries}, 4]");
        let boxes = outputs.values(boxes, &expected, |rest| rest == [queries, 4])?;
        let rows = Self { logits, boxes, activation, batch: outputs.batch };
        check_classes(logits_name, &rows.logits.shape, rows.classes(), labels)?;
        Ok(rows)
    }

    /// Detections of each image; `place` turns a row's box into original pixels.
    pub(super) fn select(
        &self,
        selection: Selection,
        thresholds: &Thresholds,
        place: impl Fn(usize, [f32; 4]) -> Xyxy + Sync,
    ) -> Vec<Detections> {
        let columns = self.logits.shape[2];
        (0..self.batch)
            .into_par_iter()
            .map(|row| {
                let mut found = match selection {
                    Selection::TopK { .. } => self.every_pair(row, thresholds.confidence),
                    Selection::PerQuery => self.best_of_queries(row, thresholds.confidence),
                };
                if let Selection::TopK { count } = selection {
                    keep_best(&mut found, count as usize);
                }
                let boxes = self.boxes.row(row).as_chunks::<4>().0;
                let detection = |&(score, at): &(f32, usize)| Detection {
                    bbox: place(row, boxes[at / columns]),
                    score,
                    label: (at % columns) as u32,
                };
                found.iter().map(detection).collect()
            })
            .collect()
    }

    fn classes(&self) -> usize {
        let columns = self.logits.shape[2];
        match self.activation {
            Activation::Softmax { background: Background::Last } => columns - 1,
            _ => columns,
        }
    }

    /// All pairs of query and class above the threshold, as (score, index of the logit).
    fn every_pair(&self, row: usize, confidence: f32) -> Vec<(f32, usize)> {
        let logits = self.logits.row(row);
        match self.activation {
            Activation::Sigmoid => {
                // Comparing logits spares the exponential of the many that cannot pass; the margin covers rounding.
                let low = if confidence > 0.0 {
                    (confidence / (1.0 - confidence)).ln() - 1e-3
                } else {
                    f32::NEG_INFINITY
                };
                let near = logits.iter().enumerate().filter(|(_, logit)| **logit >= low);
                near.map(|(at, &logit)| (sigmoid(logit), at))
                    .filter(|(score, _)| *score > confidence)
                    .collect()
            }
            Activation::None => {
                let pairs = logits.iter().enumerate().map(|(at, &score)| (score, at));
                pairs.filter(|(score, _)| *score > confidence).collect()
            }
            Activation::Softmax { .. } => {
                let columns = self.logits.shape[2];
                let mut pairs = Vec::new();
                for (query, logits) in logits.chunks_exact(columns).enumerate() {
                    let scores = softmax(logits);
                    let classes = scores.iter().take(self.classes()).enumerate();
                    pairs.extend(
                        classes
                            .filter(|(_, score)| **score > confidence)
                            .map(|(class, &score)| (score, query * columns + class)),
                    );
                }
                pairs
            }
        }
    }

    /// The best class of each query above the threshold; of equal scores the lower class.
    fn best_of_queries(&self, row: usize, confidence: f32) -> Vec<(f32, usize)> {
        let columns = self.logits.shape[2];
        let mut best: Vec<(f32, usize)> = Vec::new();
        for (score, at) in self.every_pair(row, confidence) {
            match best.last_mut() {
                Some(last) if last.1 / columns == at / columns => {
                    if score > last.0 {
                        *last = (score, at);
                    }
                }
                _ => best.push((score, at)),
            }
        }
        best
    }
}

/// Leaves the `count` best pairs, best first; of equal scores the earlier.
fn keep_best(pairs: &mut Vec<(f32, usize)>, count: usize) {
    let order = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if count < pairs.len() {
        pairs.select_nth_unstable_by(count, order);
        pairs.truncate(count);
    }
    pairs.sort_unstable_by(order);
}

/// Probabilities of one query; undefined numbers stay undefined.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}
