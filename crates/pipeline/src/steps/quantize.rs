//! Rounds the exported graph to eight bits, with ranges from calibration images.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::images::ImageSet;
use crate::quantize::{Basis, Calibrated, Int8, Quantizing, calibrated};
use crate::run::StepContext;
use crate::store::Blob;
use crate::{Error, Subject};

/// An INT8 graph and what belongs to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Quantization {
    pub(crate) model: Blob,
    /// TensorRT's calibration cache.
    pub(crate) cache: Blob,
    pub(crate) opset: i64,
    pub(crate) about: Int8,
}

/// What an import is asked to calibrate with.
#[derive(Debug, Clone)]
pub struct Calibrating {
    /// A folder of images, or a COCO file that names some.
    pub images: PathBuf,
    /// How.
    pub options: Quantizing,
}

/// Calibrates and keeps the graph and the cache.
pub(crate) fn quantize(
    subject: &Subject,
    images: &ImageSet,
    options: &Quantizing,
    backend: &str,
    context: &StepContext<'_, '_>,
) -> Result<Quantization, Error> {
    let progress = |done, total| context.progress("images", done, total);
    let basis = Basis { subject, images, backend, work: &context.store().work() };
    let Calibrated { model, cache, about } = calibrated(&basis, options, &progress)?;
    Ok(Quantization {
        model: context.put_graph(&model)?,
        cache: context.put(cache.as_bytes())?,
        opset: model.opset(),
        about,
    })
}
