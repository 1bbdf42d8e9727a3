//! MM Grounding DINO: Grounding DINO whose class head scales its products and has a bias.
//!
//! Paper: <https://arxiv.org/abs/2401.02361>. Reference: `MMGroundingDinoForObjectDetection` in transformers.

use detect::{Detector, ImageInput, Labels};
use graph::Builder;

use super::grounding_dino::{Generation, build, detector, labels, renames};
use super::{Architecture, Source};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error, Prompt};

pub(super) struct MmGroundingDino;

impl Architecture for MmGroundingDino {
    fn model_type(&self) -> &'static str {
        "mm_grounding_dino"
    }

    fn renames(&self) -> &'static [Rename] {
        renames()
    }

    fn prompted_labels(&self, prompt: &Prompt) -> Option<Result<Labels, Error>> {
        Some(labels(prompt))
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        detector(Generation::Mm, self.model_type(), source.config, labels, input)
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        build(Generation::Mm, source, detector, w, b)
    }

    fn classes(&self, _checkpoint: &Checkpoint) -> Option<usize> {
        None
    }
}
