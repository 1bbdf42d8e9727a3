//! `OWLv2`: OWL-ViT trained on its own predictions, on images that are padded to squares.
//!
//! Paper: <https://arxiv.org/abs/2306.09683>. Reference: `Owlv2ForObjectDetection` in transformers. Its additional head
//! says whether a patch is an object at all; detection by text does not use it.

use detect::{Detector, ImageInput, Labels};
use graph::Builder;

use super::{Architecture, Source, owlvit};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error, Prompt};

pub(super) struct Owlv2;

/// Side of a patch where the configuration does not say.
const PATCH: usize = 16;

impl Architecture for Owlv2 {
    fn model_type(&self) -> &'static str {
        "owlv2"
    }

    fn renames(&self) -> &'static [Rename] {
        &[]
    }

    fn prompted_labels(&self, prompt: &Prompt) -> Option<Result<Labels, Error>> {
        Some(owlvit::labels(prompt))
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        owlvit::detector(self.model_type(), PATCH, source.config, labels, input)
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        owlvit::build("owlv2", PATCH, source, detector, w, b)
    }

    fn classes(&self, _checkpoint: &Checkpoint) -> Option<usize> {
        None
    }
}
