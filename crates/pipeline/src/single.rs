//! `eval` and `bench` of one model, without a package around it.

use crate::images::{Annotations, ImageSet};
use crate::run::Event;
use crate::steps::evaluate::{self, Evaluation};
use crate::steps::measure::{self, Figures, Load};
use crate::steps::{EVALUATE, MEASURE};
use crate::{Error, Subject};

/// Scores a model on annotated images.
pub fn evaluate(
    subject: &Subject,
    annotations: &Annotations,
    images: &ImageSet,
    backend: &str,
    tell: &dyn Fn(Event<'_>),
) -> Result<Evaluation, Error> {
    let step = EVALUATE.first().name;
    let progress = |done, total| tell(Event::Progress { step, unit: "images", done, total });
    let scored =
        evaluate::evaluate(&subject.onnx, &subject.detector, backend, annotations, images, &progress)?;
    Ok(scored.0)
}

/// Times a model on this machine.
pub fn bench(
    subject: &Subject,
    images: &ImageSet,
    load: &Load,
    backend: &str,
    tell: &dyn Fn(Event<'_>),
) -> Result<Figures, Error> {
    let step = MEASURE.first().name;
    let progress = |done, total| tell(Event::Progress { step, unit: "trials", done, total });
    measure::measure(&subject.onnx, &subject.detector, backend, load, images, &progress)
}
