//! RT-DETRv2: RT-DETR with a scale for each sampling point and an optional discrete sampling.
//!
//! Paper: <https://arxiv.org/abs/2407.17140>. Reference: `RTDetrV2ForObjectDetection` in transformers. Everything but
//! the sampling is RT-DETR's.

use detect::{Detector, ImageInput, Labels};
use graph::Builder;

use super::{Architecture, Source, rt_detr};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error};

pub(super) struct RtDetrV2;

impl Architecture for RtDetrV2 {
    fn model_type(&self) -> &'static str {
        "rt_detr_v2"
    }

    fn renames(&self) -> &'static [Rename] {
        rt_detr::RENAMES
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        rt_detr::detector(self.model_type(), source.config, labels, input)
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        rt_detr::build(rt_detr::config::Generation::Second, source, detector, w, b)
    }

    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize> {
        rt_detr::classes(checkpoint)
    }
}
