//! Heads that suppress inside the graph: what is left is to drop padding and to place boxes.
//!
//! Padding looks different in every exporter: a count, zero scores, or class −1. All are understood.

use super::{Detection, Detections, Outputs, Thresholds};
use crate::{Error, Xyxy};

/// One output `[batch, rows, 6]`: box, score, class.
pub(super) fn rows(
    outputs: &Outputs<'_>,
    output: &str,
    thresholds: &Thresholds,
    place: impl Fn(usize, [f32; 4]) -> Xyxy,
) -> Result<Vec<Detections>, Error> {
    let output = outputs.values(output, "[batch, rows, 6]", |rest| rest.len() == 2 && rest[1] == 6)?;
    let image = |row: usize| {
        let rows = output.row(row).as_chunks::<6>().0.iter();
        let found = rows.filter_map(|&[a, b, c, d, score, class]| {
            detection(score, class, thresholds, || place(row, [a, b, c, d]))
        });
        found.collect()
    };
    Ok((0..outputs.batch).map(image).collect())
}

/// The names of the outputs of a head in parts.
pub(super) struct Parts<'a> {
    pub(super) count: Option<&'a str>,
    pub(super) boxes: &'a str,
    pub(super) scores: Option<&'a str>,
    pub(super) classes: &'a str,
}

impl Parts<'_> {
    pub(super) fn read(
        &self,
        outputs: &Outputs<'_>,
        thresholds: &Thresholds,
        place: impl Fn(usize, [f32; 4]) -> Xyxy,
    ) -> Result<Vec<Detections>, Error> {
        let columns = if self.scores.is_some() { 4 } else { 5 };
        let expected = format!("[batch, rows, {columns}]");
        let boxes = outputs.values(self.boxes, &expected, |rest| rest.len() == 2 && rest[1] == columns)?;
        let rows = boxes.shape[1];
        let flat = format!("[batch, {rows}]");
        // Some exporters keep a last dimension of 1.
        let is_flat = |rest: &[usize]| rest == [rows] || rest == [rows, 1];
        let classes = outputs.values(self.classes, &flat, is_flat)?;
        let scores = self.scores.map(|name| outputs.values(name, &flat, is_flat)).transpose()?;
        let is_count = |rest: &[usize]| rest.is_empty() || rest == [1];
        let count = self.count.map(|name| outputs.values(name, "[batch, 1]", is_count)).transpose()?;

        let image = |row: usize| {
            let used = count.as_ref().map_or(rows, |count| (count.row(row)[0] as usize).min(rows));
            let at = boxes.row(row).chunks_exact(columns).zip(classes.row(row)).enumerate().take(used);
            let found = at.filter_map(|(index, (numbers, &class))| {
                let score = scores.as_ref().map_or(numbers[columns - 1], |scores| scores.row(row)[index]);
                let b = std::array::from_fn(|column| numbers[column]);
                detection(score, class, thresholds, || place(row, b))
            });
            found.collect()
        };
        Ok((0..outputs.batch).map(image).collect())
    }
}

/// A row as a detection, `None` for padding.
fn detection(
    score: f32,
    class: f32,
    thresholds: &Thresholds,
    bbox: impl FnOnce() -> Xyxy,
) -> Option<Detection> {
    // Also false for an undefined score or class. Padding has score 0, whatever the threshold.
    let real = score > thresholds.confidence && score > 0.0 && (-0.5..65_536.0).contains(&class);
    real.then(|| Detection { bbox: bbox(), score, label: class.round().max(0.0) as u32 })
}
