//! Table Transformer: DETR with normalizations before the blocks instead of behind them.
//!
//! Paper: <https://arxiv.org/abs/2110.00061>. Reference: `TableTransformerForObjectDetection` in transformers.

use detect::{Detector, ImageInput, Labels};
use graph::Builder;

use super::detr::{self, Detr, NormPlace};
use super::{Architecture, Source};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error};

pub(super) struct TableTransformer;

impl Architecture for TableTransformer {
    fn model_type(&self) -> &'static str {
        "table_transformer"
    }

    fn renames(&self) -> &'static [Rename] {
        detr::RENAMES
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        detr::detector(self.model_type(), source, labels, input)
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        detr::build(NormPlace::Before, source, detector, w, b)
    }

    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize> {
        Detr.classes(checkpoint)
    }
}
