//! Checkpoints: trained tensors by name, shared with the bytes that they were read from.
//!
//! Reading checks headers only; no tensor is touched until its bytes are asked for, so a checkpoint on a memory map
//! costs nothing. Element types that the exporters cannot use are read and listed all the same.

mod index;
pub(crate) mod pickle;
mod safetensors;

use std::collections::BTreeMap;

use bytes::Bytes;
use graph::{DataType, Tensor};
use indexmap::IndexMap;
use serde::Serialize;

use crate::{Error, Files};

pub(crate) use pickle::Node;

/// The one-file form of a safetensors checkpoint.
const SINGLE: &str = "model.safetensors";
/// The list of shards of a sharded one.
const INDEX: &str = "model.safetensors.index.json";
/// The same of a checkpoint that PyTorch pickled.
const PICKLED: &str = "pytorch_model.bin";
const PICKLED_INDEX: &str = "pytorch_model.bin.index.json";
/// Names of weights without their extensions, the preferred ones first.
const STEMS: &[&str] = &["model", "pytorch_model", "best", "checkpoint", "weights", "last"];
/// What lies beside weights under the same extensions.
const BESIDE: &[&str] =
    &["training_args", "optimizer", "scheduler", "rng_state", "scaler", "adapter_model", "openvino"];

/// Trained tensors by the names that they have on disk.
#[derive(Debug, Default)]
pub struct Checkpoint {
    tensors: IndexMap<String, Stored>,
    metadata: BTreeMap<String, String>,
    files: Vec<String>,
}

/// A tensor with what its header says.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// The element type by its name in safetensors: `F16`, `F8_E4M3`.
    pub(crate) dtype: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: usize,
    /// `None` when the element type has no counterpart in ONNX.
    pub(crate) tensor: Option<Tensor>,
}

/// What a checkpoint holds, for people and for `--json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckpointFacts {
    /// The files that hold the tensors.
    pub files: Vec<String>,
    /// The tensors, in the order of the files.
    pub tensors: Vec<TensorFacts>,
    /// Elements of all floating-point tensors: the number of parameters and buffers.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Free text from the header.
    pub metadata: BTreeMap<String, String>,
    /// Classes and functions that loading a pickled file would import, sorted; empty for safetensors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub globals: Vec<String>,
    /// Those of them that neither values, tensors nor networks need: [`Checkpoint::read`] refuses the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<String>,
}

/// One tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorFacts {
    /// The name on disk.
    pub name: String,
    /// The element type by its name in safetensors.
    pub dtype: String,
    /// The dimensions.
    pub shape: Vec<usize>,
    /// Bytes that it takes.
    pub bytes: u64,
}

impl Checkpoint {
    /// Reads the weights of a source: one file or shards with an index; safetensors before PyTorch's pickles.
    ///
    /// # Errors
    /// [`Error::MissingFile`] when there are none, [`Error::Underivable`] when there are several and nothing says which,
    /// [`Error::ForeignCode`] for a pickle that names more than tensors need, [`Error::Damaged`] for a file or an index
    /// that does not hold what it says.
    pub fn read(files: &dyn Files) -> Result<Self, Error> {
        if let Some(bytes) = files.read_if_present(INDEX)? {
            return index::read(files, INDEX, &bytes);
        }
        if let Some(bytes) = files.read_if_present(SINGLE)? {
            return Self::from_bytes(SINGLE, &bytes);
        }
        let mut names: Vec<String> = files.names().into_iter().filter(|name| !name.contains('/')).collect();
        names.sort();
        let with_extension = |wanted: &[&str]| -> Vec<&String> {
            let is_wanted =
                |name: &&String| name.rsplit_once('.').is_some_and(|(_, ext)| wanted.contains(&ext));
            names.iter().filter(is_wanted).collect()
        };
        if let [only] = with_extension(&["safetensors"])[..] {
            return Self::read_file(files, only);
        }
        if let Some(bytes) = files.read_if_present(PICKLED_INDEX)? {
            return index::read(files, PICKLED_INDEX, &bytes);
        }
        if let Some(bytes) = files.read_if_present(PICKLED)? {
            return Self::from_bytes(PICKLED, &bytes);
        }
        Self::read_file(files, only_weights(&with_extension(&["bin", "pt", "pth", "ckpt"]))?)
    }

    /// Reads one file.
    ///
    /// # Errors
    /// As [`Checkpoint::read`]; the kind of file is told by its content, not by its name.
    pub fn read_file(files: &dyn Files, name: &str) -> Result<Self, Error> {
        Self::from_bytes(name, &files.read(name)?)
    }

    fn from_bytes(name: &str, bytes: &Bytes) -> Result<Self, Error> {
        let mut checkpoint = Self::default();
        checkpoint.add(name, bytes, false)?;
        Ok(checkpoint)
    }

    /// Adds the tensors of one file.
    fn add(&mut self, name: &str, bytes: &Bytes, is_shard: bool) -> Result<(), Error> {
        if pickle::is_pickle(bytes) {
            pickle::read(name, bytes, is_shard, self)
        } else {
            safetensors::read(name, bytes, self)
        }
    }

    /// What the checkpoint holds.
    pub fn facts(&self) -> CheckpointFacts {
        let tensors: Vec<TensorFacts> = self
            .tensors
            .iter()
            .map(|(name, stored)| TensorFacts {
                name: name.clone(),
                dtype: stored.dtype.clone(),
                shape: stored.shape.clone(),
                bytes: stored.bytes as u64,
            })
            .collect();
        let is_parameter = |stored: &&Stored| stored.dtype.starts_with('F') || stored.dtype.starts_with("BF");
        CheckpointFacts {
            files: self.files.clone(),
            parameters: self
                .tensors
                .values()
                .filter(is_parameter)
                .map(|stored| stored.shape.iter().fold(1_u64, |product, size| product * *size as u64))
                .sum(),
            bytes: tensors.iter().map(|tensor| tensor.bytes).sum(),
            tensors,
            metadata: self.metadata.clone(),
            globals: Vec::new(),
            foreign: Vec::new(),
        }
    }

    /// The files that hold the tensors.
    pub(crate) fn files(&self) -> &[String] {
        &self.files
    }

    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, &Stored)> {
        self.tensors.iter().map(|(name, stored)| (name.as_str(), stored))
    }
}

/// What a file of weights holds: safetensors, or PyTorch's pickled form, which is never run. The kind
/// is told by the content.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::Read`], or [`Error::Damaged`] when the file is neither.
pub fn checkpoint_facts(files: &dyn Files, name: &str) -> Result<CheckpointFacts, Error> {
    let bytes = files.read(name)?;
    if pickle::is_pickle(&bytes) {
        return pickle::facts(name, &bytes);
    }
    Checkpoint::from_bytes(name, &bytes).map(|checkpoint| checkpoint.facts())
}

/// The element type of a safetensors name, where ONNX has it.
fn data_type(name: &str) -> Option<DataType> {
    Some(match name {
        "F64" => DataType::F64,
        "F32" => DataType::F32,
        "F16" => DataType::F16,
        "BF16" => DataType::Bf16,
        "I64" => DataType::I64,
        "I32" => DataType::I32,
        "I16" => DataType::I16,
        "I8" => DataType::I8,
        "U64" => DataType::U64,
        "U32" => DataType::U32,
        "U16" => DataType::U16,
        "U8" => DataType::U8,
        "BOOL" => DataType::Bool,
        _ => return None,
    })
}

/// The file of these that holds the weights.
fn only_weights<'a>(names: &[&'a String]) -> Result<&'a str, Error> {
    let names: Vec<&'a String> =
        names.iter().copied().filter(|name| !BESIDE.iter().any(|other| name.starts_with(other))).collect();
    let stem = |name: &str| name.rsplit_once('.').map_or("", |(stem, _)| stem).to_owned();
    let preferred = STEMS.iter().find_map(|wanted| names.iter().find(|name| stem(name) == *wanted));
    match (preferred, &names[..]) {
        (Some(name), _) | (None, [name]) => Ok(name),
        (None, []) => Err(Error::MissingFile { file: SINGLE.into() }),
        (None, several) => Err(Error::Underivable {
            what: "the file of the weights",
            reason: format!(
                "there are {} and more",
                several[..2].iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            ),
            option: "SOURCE/FILE",
        }),
    }
}
