//! The families of detectors that have an exporter: one file (or folder) and one line of the table each.
//!
//! The table is sorted. A family is found by `model_type`, never by guessing from tensor names.

mod conditional_detr;
mod d_fine;
mod dab_detr;
mod deimv2;
mod detr;
mod grounding_dino;
mod lw_detr;
mod mm_grounding_dino;
mod omdet_turbo;
mod owlv2;
mod owlvit;
mod rt_detr;
mod rt_detr_v2;
mod table_transformer;
pub(crate) mod ultralytics;
mod yolos;

use detect::{Detector, ImageInput, Labels};
use graph::Builder;

use crate::config::Config;
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error, ExportOptions, Files, Prompt};

/// What an architecture is built from besides its tensors.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// `config.json`.
    pub(crate) config: &'a Config,
    /// All files: the tokenizer of a model that reads text.
    pub(crate) files: &'a dyn Files,
    /// What the caller wants.
    pub(crate) options: &'a ExportOptions,
}

/// A family of detectors.
pub(crate) trait Architecture: Sync {
    /// `model_type` in `config.json`, with underscores.
    fn model_type(&self) -> &'static str;

    /// How names on disk become the names that `build` uses.
    fn renames(&self) -> &'static [Rename];

    /// The classes that a prompt asks for; `None` for a family whose classes are trained in.
    fn prompted_labels(&self, _prompt: &Prompt) -> Option<Result<Labels, Error>> {
        None
    }

    /// What the graph does not say.
    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error>;

    /// The graph, from the detector's input to its outputs.
    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error>;

    /// The number of classes that the head has room for; `None` when the checkpoint does not say.
    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize>;
}

/// Every architecture, in alphabetical order.
static ARCHITECTURES: &[&dyn Architecture] = &[
    &conditional_detr::ConditionalDetr,
    &d_fine::DFine,
    &dab_detr::DabDetr,
    &deimv2::Deimv2,
    &detr::Detr,
    &grounding_dino::GroundingDino,
    &lw_detr::LwDetr,
    &mm_grounding_dino::MmGroundingDino,
    &omdet_turbo::OmDetTurbo,
    &owlv2::Owlv2,
    &owlvit::OwlVit,
    &rt_detr::RtDetr,
    &rt_detr_v2::RtDetrV2,
    &table_transformer::TableTransformer,
    &yolos::Yolos,
];

/// The names of all architectures: those that a `config.json` may name, and what needs none.
pub fn architectures() -> Vec<&'static str> {
    let mut names: Vec<_> = ARCHITECTURES.iter().map(|architecture| architecture.model_type()).collect();
    names.push(ultralytics::NAME);
    names.sort_unstable();
    names
}

/// The architecture that a configuration asks for.
///
/// # Errors
/// [`Error::NotADetector`] first, then [`Error::UnknownArchitecture`].
pub(crate) fn find(config: &Config) -> Result<&'static dyn Architecture, Error> {
    config.require_detector()?;
    let model_type = config.model_type();
    let found = ARCHITECTURES.iter().find(|known| Some(known.model_type()) == model_type.as_deref());
    found.copied().ok_or_else(|| Error::UnknownArchitecture {
        architecture: model_type
            .or_else(|| config.class().map(str::to_owned))
            .unwrap_or_else(|| "unnamed".into()),
        known: architectures(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_each_name_is_there_once() {
        let names: Vec<_> = ARCHITECTURES.iter().map(|architecture| architecture.model_type()).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
    }
}
