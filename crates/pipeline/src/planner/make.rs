//! The graphs that a search tries.

use std::collections::BTreeSet;
use std::path::PathBuf;

use graph::CalibrationCache;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{HALF, RANGES, ROUND, Search};
use crate::quantize::{AllScales, Basis, Calibrated, Origin, scales_of_all, with_scales};
use crate::steps::optimize::{HalfGraph, halve};
use crate::steps::quantize::Quantization;
use crate::store::Blob;
use crate::{Digest, Error, Quantizing};

/// Ranges for `float16` are taken from this many images: only the largest magnitudes matter.
const WATCHED_FOR_HALF: usize = 16;

/// A graph on the disk and how it came about.
pub(crate) struct Graph {
    pub(crate) name: String,
    pub(crate) onnx: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    pub(crate) made: Made,
    /// What the search left in floating point.
    pub(crate) pinned: Vec<String>,
}

/// How a graph came about.
pub(crate) enum Made {
    /// It is the source.
    AsItIs,
    /// In `float16`.
    Half(HalfGraph),
    /// In eight bits.
    Int8(Quantization),
}

/// The scales of all values, and the layers that can be rounded with them.
#[derive(Serialize, Deserialize)]
pub(super) struct Ranges {
    /// TensorRT's calibration cache: every value's own.
    pub(super) cache: Blob,
    /// The same with one scale for values that share one.
    pub(super) shared: Blob,
    pub(super) layers: Vec<String>,
    origin: Origin,
}

impl Search<'_, '_> {
    pub(super) fn as_it_is(&self) -> Result<Graph, Error> {
        let onnx = self.subject.onnx.clone();
        let at = |source| Error::Io { path: onnx.clone(), source };
        let bytes = std::fs::metadata(&onnx).map_err(at)?.len();
        Ok(Graph {
            name: "fp32".into(),
            digest: self.source.clone(),
            bytes,
            made: Made::AsItIs,
            pinned: Vec::new(),
            onnx,
        })
    }

    /// In `float16`, by the rules of operators and places alone, or also by the values of real images.
    pub(super) fn half(&self, watched: bool) -> Result<Graph, Error> {
        let images = self.with.calibration.first(if watched { WATCHED_FOR_HALF } else { 0 });
        let key = json!({
            "model": self.source, "detector": self.subject.detector, "images": images, "backend": self.backend,
        });
        let name = if watched { "fp16 with islands" } else { "fp16" };
        let half = self.run.step_for(name, HALF, false, &key, |context| {
            halve(self.subject, &images, self.with.backend, context)
        })?;
        let full: Vec<String> = half.about.halved.full.iter().map(|(value, _)| value.clone()).collect();
        Ok(self.graph(name.into(), &half.model.clone(), Made::Half(half), full))
    }

    pub(super) fn ranges(&self) -> Result<Ranges, Error> {
        let Self { subject, with, .. } = self;
        let options = unpinned(with.options);
        let key = json!({
            "model": self.source, "detector": subject.detector, "images": with.calibration,
            "options": options.key(), "backend": self.backend,
        });
        self.run.step(RANGES, &key, |context| {
            let progress = |done, total| context.progress("images", done, total);
            let work = &context.store().work();
            let basis = Basis { subject, images: with.calibration, backend: with.backend, work };
            let AllScales { cache, shared, layers, origin } = scales_of_all(&basis, &options, &progress)?;
            let keep = |cache: &CalibrationCache| context.put(cache.to_text().as_bytes());
            Ok(Ranges { cache: keep(&cache)?, shared: keep(&shared)?, layers, origin })
        })
    }

    /// In eight bits but for these layers, and those that the caller wants in floating point.
    pub(super) fn rounded(&self, ranges: &Ranges, pinned: &[String]) -> Result<Graph, Error> {
        let Self { subject, with, .. } = self;
        let all: BTreeSet<String> = with.options.pinned.iter().chain(pinned).cloned().collect();
        let options = Quantizing { pinned: all, ..with.options.clone() };
        let key = json!({
            "model": self.source, "detector": subject.detector, "ranges": ranges.shared,
            "options": options.key(), "images": with.calibration,
        });
        let name = match pinned.len() {
            0 => "int8".to_owned(),
            1 => "int8 + 1 layer float".to_owned(),
            count => format!("int8 + {count} layers float"),
        };
        let int8 = self.run.step_for(&name, ROUND, false, &key, |context| {
            let Calibrated { model, about, .. } = with_scales(subject, &self.shared(ranges)?, &options)?;
            Ok(Quantization {
                model: context.put_graph(&model)?,
                cache: ranges.cache.clone(),
                opset: model.opset(),
                about: about.of_images(&ranges.origin),
            })
        })?;
        Ok(self.graph(name, &int8.model.clone(), Made::Int8(int8), pinned.to_vec()))
    }

    pub(super) fn shared(&self, ranges: &Ranges) -> Result<CalibrationCache, Error> {
        let path = self.run.store.path(&ranges.shared);
        let text = std::fs::read(&path).map_err(|source| Error::Io { path, source })?;
        Ok(CalibrationCache::read(&text)?)
    }

    fn graph(&self, name: String, blob: &Blob, made: Made, pinned: Vec<String>) -> Graph {
        Graph {
            name,
            onnx: self.run.store.path(blob),
            digest: blob.sha256.clone(),
            bytes: blob.bytes,
            made,
            pinned,
        }
    }
}

/// The same options for the whole graph: ranges do not depend on what is rounded later.
fn unpinned(options: &Quantizing) -> Quantizing {
    Quantizing { pinned: BTreeSet::new(), ..options.clone() }
}
