//! Converts the exported graph to `float16` where its values allow it.

use graph::passes::HalfOptions;
use serde::{Deserialize, Serialize};

use crate::half::{Half, halved};
use crate::images::ImageSet;
use crate::run::StepContext;
use crate::store::Blob;
use crate::{Error, Subject};

/// A `float16` graph and how it came about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HalfGraph {
    pub(crate) model: Blob,
    pub(crate) opset: i64,
    pub(crate) about: Half,
}

/// Converts and keeps the graph.
pub(crate) fn halve(
    subject: &Subject,
    images: &ImageSet,
    backend: &str,
    context: &StepContext<'_, '_>,
) -> Result<HalfGraph, Error> {
    let progress = |done, total| context.progress("images", done, total);
    let work = context.store().work();
    let (model, about) = halved(subject, images, &HalfOptions::default(), backend, &work, &progress)?;
    if images.built_in {
        context.warn(
            "no images given: the ranges that decide what stays in float32 come from two built-in scenes",
        );
    }
    Ok(HalfGraph { model: context.put_graph(&model)?, opset: model.opset(), about })
}
