//! What the targets that process video share: which graph they run, and what is left for their scaler to do.

use detect::in_graph::Scaled;
use detect::{Detector, ElementType, ImageInput, Resize};

use super::{Deployment, TargetModel};
use crate::{Error, Precision, paths};

/// What a pipeline in front of the network can do.
#[derive(Clone, Copy)]
pub(super) struct Scaler {
    /// The target.
    pub(super) target: &'static str,
    /// Whether each channel may have a deviation of its own.
    pub(super) std_by_channel: bool,
    /// Whether the picture may stand in the corner instead of the middle.
    pub(super) corner: bool,
    /// Whether it tells the network the size of the frame.
    pub(super) image_size: bool,
}

/// The graph that a pipeline runs.
pub(super) struct Video {
    /// The part of the description that is left for the pipeline, and where boxes come out.
    pub(super) detector: Detector,
    scaled: Option<Scaled>,
}

impl Video {
    /// The package's graph where the scaler can do all that it wants, else one made for what the scaler leaves.
    pub(super) fn of(deployment: &Deployment<'_>, scaler: Scaler) -> Result<Self, Error> {
        let detector = deployment.detector;
        if scaler.does_all(detector) {
            return Ok(Self { detector: detector.clone(), scaled: None });
        }
        let scaled = Scaled::new(detector, deployment.frame).map_err(|error| {
            let reason = match error {
                detect::Error::InGraph { reason, .. } => reason,
                other => other.to_string(),
            };
            Error::Inexpressible { target: scaler.target, reason }
        })?;
        Ok(Self { detector: scaled.described().clone(), scaled: Some(scaled) })
    }

    /// The ONNX file of a precision that the graph is given in.
    pub(super) fn onnx(&self, deployment: &Deployment<'_>, precision: Precision) -> String {
        match (&self.scaled, precision) {
            (None, Precision::Fp32) => deployment.model.to_owned(),
            (None, other) => paths::model(deployment.name, other),
            (Some(scaled), other) => {
                let frame = scaled.is_for_one_size().then_some(deployment.frame);
                paths::video_model(deployment.name, other, frame)
            }
        }
    }

    /// The graphs to make for these precisions.
    pub(super) fn models(&self, deployment: &Deployment<'_>, precisions: &[Precision]) -> Vec<TargetModel> {
        let Some(scaled) = &self.scaled else { return Vec::new() };
        let model = |precision: &Precision| TargetModel {
            path: self.onnx(deployment, *precision),
            original: match precision {
                Precision::Fp32 => deployment.model.to_owned(),
                other => paths::model(deployment.name, *other),
            },
            scaled: scaled.clone(),
        };
        precisions.iter().map(model).collect()
    }

    /// Whether the graph is right only for frames of the deployment's size.
    pub(super) fn is_for_one_size(&self) -> bool {
        self.scaled.as_ref().is_some_and(Scaled::is_for_one_size)
    }

    /// Whether a graph is made.
    pub(super) fn is_made(&self) -> bool {
        self.scaled.is_some()
    }
}

impl Scaler {
    /// Whether the pipeline does exactly what the description says, for frames of any size.
    fn does_all(self, detector: &Detector) -> bool {
        let input = &detector.input;
        let resizes = match input.resize {
            Resize::Stretch => true,
            Resize::Letterbox { fill: 0, upscale: true, centred } => centred || self.corner,
            Resize::Letterbox { .. } | Resize::ShortestEdge { .. } => false,
        };
        resizes
            && (self.std_by_channel || one_std(input).is_some())
            && input.dtype == ElementType::F32
            && input.mask.is_none()
            && input.frames.is_none()
            && (self.image_size || input.image_size.is_none())
    }
}

/// The deviation of all channels, where it is one number.
#[expect(clippy::float_cmp, reason = "one number for all channels has to be the same number")]
pub(super) fn one_std(input: &ImageInput) -> Option<f32> {
    let [first, second, third] = input.std;
    (first == second && second == third).then_some(first)
}
