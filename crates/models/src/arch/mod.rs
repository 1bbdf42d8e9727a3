//! The families of detectors that have an exporter: one file (or folder) and one line of the table each.
//!
//! The table is sorted. A family is found by `model_type`, never by guessing from tensor names.

mod conditional_detr;
mod d_fine;
mod dab_detr;
mod deformable_detr;
mod deimv2;
mod detr;
mod grounding_dino;
mod lw_detr;
mod mm_grounding_dino;
mod omdet_turbo;
mod owlv2;
mod owlvit;
mod pp_doclayout;
mod rf_detr;
mod rt_detr;
mod rt_detr_v2;
mod table_transformer;
pub(crate) mod ultralytics;
mod yolos;

use detect::{Detector, ImageInput, Labels};
use graph::Builder;

use crate::config::Config;
use crate::files::Overlay;
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

    /// What the original computes besides class scores and boxes and the graph does not.
    fn left_out(&self) -> Option<&'static str> {
        None
    }

    /// The number of classes that the head has room for; `None` when the checkpoint does not say.
    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize>;
}

/// Every architecture, in alphabetical order.
static ARCHITECTURES: &[&dyn Architecture] = &[
    &conditional_detr::ConditionalDetr,
    &d_fine::DFine,
    &dab_detr::DabDetr,
    &deformable_detr::DeformableDetr,
    &deimv2::Deimv2,
    &detr::Detr,
    &grounding_dino::GroundingDino,
    &lw_detr::LwDetr,
    &mm_grounding_dino::MmGroundingDino,
    &omdet_turbo::OmDetTurbo,
    &owlv2::Owlv2,
    &owlvit::OwlVit,
    &pp_doclayout::PpDocLayoutV2,
    &pp_doclayout::PpDocLayoutV3,
    &pp_doclayout::PpDocLayoutV4,
    &rf_detr::RfDetr,
    &rt_detr::RtDetr,
    &rt_detr_v2::RtDetrV2,
    &table_transformer::TableTransformer,
    &yolos::Yolos,
];

/// The files of a source with the configuration that its weights stand for, where it has none that can be read.
///
/// # Errors
/// As [`Checkpoint::read`].
pub(crate) fn described(files: &dyn Files) -> Result<Option<Overlay<'_>>, Error> {
    rf_detr::described(files)
}

/// The names of all architectures: those that a `config.json` may name, and what needs none.
pub fn architectures() -> Vec<&'static str> {
    let named = ARCHITECTURES.iter().map(|architecture| architecture.model_type());
    let mut names: Vec<&str> = named.chain([ultralytics::NAME]).collect();
    names.sort_unstable();
    names
}

/// The architecture that a configuration asks for.
///
/// # Errors
/// [`Error::NotADetector`] and [`Error::SegmentsText`] first, then [`Error::UnknownArchitecture`].
pub(crate) fn find(config: &Config) -> Result<&'static dyn Architecture, Error> {
    config.require_detector()?;
    let model_type = config.model_type();
    if let Some(name) = model_type.as_deref().filter(|name| segments_text(name)) {
        return Err(Error::SegmentsText { class: config.class().unwrap_or(name).to_owned() });
    }
    let found = ARCHITECTURES.iter().find(|known| Some(known.model_type()) == model_type.as_deref());
    found.copied().ok_or_else(|| Error::UnknownArchitecture {
        architecture: model_type
            .or_else(|| config.class().map(str::to_owned))
            .unwrap_or_else(|| "unnamed".into()),
        known: architectures(),
    })
}

/// PP-OCR's text detectors (`pp_ocrv5_server_det` …), whose classes end in `ForObjectDetection`: their output is a map
/// of where text is.
fn segments_text(model_type: &str) -> bool {
    model_type.starts_with("pp_ocr") && model_type.ends_with("_det")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryFiles;

    #[test]
    fn text_segmentation_is_told_from_detection() {
        for (model_type, class) in [
            ("pp_ocrv5_mobile_det", "PPOCRV5MobileDetForObjectDetection"),
            ("pp_ocrv5_server_det", "PPOCRV5ServerDetForObjectDetection"),
            ("pp_ocrv6_small_det", "PPOCRV6SmallDetForObjectDetection"),
            ("pp_ocrv6_medium_det", "PPOCRV6MediumDetForObjectDetection"),
        ] {
            let text = format!(r#"{{"model_type": "{model_type}", "architectures": ["{class}"]}}"#);
            let files = MemoryFiles::new().with("config.json", text.into_bytes());
            let config = Config::find(&files).unwrap().unwrap();
            let error = find(&config).err().unwrap();
            assert!(matches!(&error, Error::SegmentsText { class: named } if named == class), "{error}");
            assert_eq!(error.kind(), crate::ErrorKind::NotADetector);
        }
    }

    #[test]
    fn the_table_is_sorted_and_each_name_is_there_once() {
        let names: Vec<&str> = ARCHITECTURES.iter().map(|known| known.model_type()).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
    }
}
