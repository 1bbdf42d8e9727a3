//! How good detections are: against annotations, and against another run of the same model.
//!
//! A score that has nothing to be computed from (no objects of that size) is −1, as in pycocotools, and must be left
//! out of means.

mod agreement;
mod bootstrap;
mod coco_map;

pub use agreement::{Agreement, AgreementBounds};
pub use coco_map::{ClassScores, CocoMap, Evaluation, MapDifference, compare, evaluate};
