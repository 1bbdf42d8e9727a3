//! What the engines of one call share, whoever builds them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::history::Past;
use super::shapes::Shapes;
use super::source::{Place, Source};
use super::{Batches, Building};
use crate::folding::Folding;
use crate::package::write_model;
use crate::quantize::open_onnx;
use crate::{Digest, Error};

/// A graph, what is asked of its engines, and where they go.
pub(super) struct Job<'a> {
    pub(super) place: &'a Place,
    pub(super) source: &'a Source,
    pub(super) shapes: &'a Shapes,
    pub(super) options: &'a Building,
    pub(super) cancelled: &'a Arc<AtomicBool>,
}

impl Job<'_> {
    /// What decides what an engine for these batches is, but for the builder and what it builds for.
    pub(super) fn key(&self, batches: Batches) -> Result<Value, Error> {
        let digests = |files: &mut dyn Iterator<Item = &PathBuf>| -> Result<Vec<Digest>, Error> {
            files.map(|file| Digest::of_file(file)).collect()
        };
        Ok(json!({
            "onnx": Digest::of_file(&self.source.onnx)?,
            "calibration": digests(&mut self.source.calibration.iter())?,
            "plugins": digests(&mut self.options.plugins.iter())?,
            "precision": self.options.precision, "batches": batches,
            "static_batch": self.options.static_batch, "shapes": self.shapes.at(batches.max),
            "workspace_mib": self.options.workspace_mib, "level": self.options.level,
        }))
    }

    /// The build that is about to be, to find a similar one.
    pub(super) fn past(&self, gpu: &str, tensorrt: String, batches: Batches) -> Result<Past, Error> {
        let onnx = &self.source.onnx;
        let meta = fs::metadata(onnx).map_err(|source| Error::Io { path: onnx.clone(), source })?;
        Ok(Past {
            gpu: gpu.to_owned(),
            tensorrt,
            precision: self.options.precision,
            bytes: meta.len(),
            max_batch: batches.max,
            seconds: 0.0,
        })
    }

    /// What is built from, in words.
    pub(super) fn source_words(&self) -> String {
        match self.options.static_batch {
            Some(batch) => format!("{} with a batch of {batch}", self.source.path),
            None => self.source.path.clone(),
        }
    }

    /// The graph to build from: with `--static-batch` a copy whose batch is a number.
    pub(super) fn graph(&self, work: &Work) -> Result<PathBuf, Error> {
        let onnx = &self.source.onnx;
        let Some(batch) = self.options.static_batch else { return Ok(onnx.clone()) };
        let mut model = open_onnx(onnx)?;
        graph::passes::set_batch(&mut model, graph::passes::Batch::Fixed(batch as usize))?;
        written(&model, work.file("fixed.onnx"))
    }
}

/// A folder for what is not finished; gone afterwards.
pub(super) struct Work(pub(super) PathBuf);

impl Work {
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.file("trtexec.log")
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The graph simplified, in a file; `None` when there was nothing to simplify.
pub(super) fn simplified(onnx: &Path, work: &Work) -> Result<Option<PathBuf>, Error> {
    let mut model = open_onnx(onnx)?;
    let outcome = Folding::default().simplify(&mut model)?;
    if outcome.changes.is_empty() {
        return Ok(None);
    }
    written(&model, work.file("simplified.onnx")).map(Some)
}

fn written(model: &graph::Model, path: PathBuf) -> Result<PathBuf, Error> {
    let mut file = fs::File::create(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
    write_model(model, &mut file, &path)?;
    Ok(path)
}
