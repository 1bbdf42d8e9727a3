//! `inspect`: what a file is and what is in it, told by its content.
//!
//! Files are mapped and only their headers are read, so the size of a model does not matter.

use std::path::Path;

use detect::Detector;
use graph::{CalibrationCache, Facts, Plan};
use models::{CheckpointFacts, checkpoint_facts};
use runtime::tools::trtexec::Trtexec;
use serde::Serialize;

use crate::Error;
use crate::build::{EngineFacts, inspect_engine};
use crate::mapped::{MappedFiles, map_file};

/// What a file is.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Inspection {
    /// An ONNX graph.
    Onnx(Box<OnnxFile>),
    /// Trained tensors: safetensors or a PyTorch checkpoint.
    Checkpoint(CheckpointFacts),
    /// A TensorRT engine.
    EnginePlan(Box<EngineFacts>),
    /// Ranges for TensorRT's INT8.
    CalibrationCache(CalibrationCache),
}

/// An ONNX graph, and what it says of itself.
#[derive(Debug, Serialize)]
pub struct OnnxFile {
    /// What is in the graph.
    #[serde(flatten)]
    pub facts: Facts,
    /// The description of its detector that it carries; absent when there is none that this program reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detector: Option<Detector>,
}

impl OnnxFile {
    fn of(model: &graph::Model) -> Box<Self> {
        let text = model.metadata.get(Detector::METADATA_KEY);
        let detector = text.and_then(|text| Detector::from_json(text).ok());
        Box::new(Self { facts: Facts::of(model), detector })
    }
}

/// Looks at a file. `trtexec` is asked about an engine whose layers nobody wrote down; `None` leaves that out.
///
/// # Errors
/// [`Error::UnknownKind`], or what is wrong with a file of a known kind.
pub fn inspect(path: &Path, trtexec: Option<&Trtexec>) -> Result<Inspection, Error> {
    let bytes = map_file(path)?;
    match Plan::read(&bytes) {
        Ok(_) => return Ok(Inspection::EnginePlan(Box::new(inspect_engine(path, trtexec)?))),
        // A plan that is cut or of an unknown form says so.
        Err(error) if Plan::begins(&bytes) => return Err(error.into()),
        Err(_) => {}
    }
    if bytes.starts_with(b"TRT-") {
        return Ok(Inspection::CalibrationCache(CalibrationCache::read(&bytes)?));
    }
    let extension =
        path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default();
    if extension == "onnx" {
        return Ok(Inspection::Onnx(OnnxFile::of(&read_structure(path, bytes)?)));
    }
    if ["safetensors", "pt", "pth", "bin", "ckpt"].contains(&extension.as_str())
        || looks_like_safetensors(&bytes)
    {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let files = MappedFiles::new([(name.clone(), path.to_owned())]);
        return Ok(Inspection::Checkpoint(checkpoint_facts(&files, &name)?));
    }
    match graph::onnx::read_structure(bytes) {
        Ok(model) if !model.graph.nodes.is_empty() => Ok(Inspection::Onnx(OnnxFile::of(&model))),
        _ => Err(Error::UnknownKind { path: path.to_owned() }),
    }
}

/// The graph with external data where it is there, without it where it is not: then the facts say so.
fn read_structure(path: &Path, bytes: bytes::Bytes) -> Result<graph::Model, Error> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let whole = graph::onnx::read(bytes.clone(), &|location| {
        map_file(&folder.join(location)).map_err(|error| crate::error::chain(&error))
    });
    match whole {
        Err(graph::Error::ExternalData { .. }) => Ok(graph::onnx::read_structure(bytes)?),
        other => Ok(other?),
    }
}

/// A length below the file's, then a JSON object.
fn looks_like_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return false };
    u64::from_le_bytes(*length) <= rest.len() as u64 && rest.first() == Some(&b'{')
}
