//! Reading PyTorch's `.pt`, `.pth` and `.bin` files without running them.
//!
//! Such a file is a *program* for Python's pickle machine. The [`machine`] here follows its data opcodes and builds plain
//! values; a class or function that the program names is never looked up, let alone called: what a closed list of
//! constructors would have made is known ([`construct`]), instances of networks' classes are kept as data, and a file
//! that names anything else ([`globals`]) is refused with the names.
//!
//! Tensors are slices of the file. What each piece does: [`archive`] and [`legacy`] are the two containers, [`view`]
//! turns a storage into a tensor, [`state`] finds the weights in what a training program saved, [`document`] is what the
//! builders of networks read.

mod archive;
mod construct;
mod document;
mod globals;
mod input;
mod legacy;
mod machine;
mod numpy;
mod object;
mod state;
mod view;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Checkpoint, CheckpointFacts};
use crate::Error;

pub(crate) use document::{Document, Node};
#[allow(unused_imports, reason = "for builders of networks")]
pub(crate) use object::Object;

/// The tensors of the file, and the names of the classes and functions that loading it would import.
///
/// # Errors
/// [`Error::Damaged`] when it is no such file, or a program that the limits do not admit.
pub(super) fn facts(file: &str, bytes: &Bytes) -> Result<CheckpointFacts, Error> {
    let document = Document::parse_any(file, bytes)?;
    let tensors = state::listed(&document);
    Ok(CheckpointFacts {
        files: vec![file.to_owned()],
        parameters: tensors
            .iter()
            .filter(|tensor| tensor.dtype.starts_with('F') || tensor.dtype.starts_with("BF"))
            .map(|tensor| tensor.shape.iter().fold(1_u64, |count, size| count.saturating_mul(*size as u64)))
            .fold(0, u64::saturating_add),
        bytes: tensors.iter().map(|tensor| tensor.bytes).fold(0, u64::saturating_add),
        tensors,
        metadata: BTreeMap::new(),
        globals: document.globals(),
        foreign: document.foreign(),
    })
}

/// Adds the weights of a file to `checkpoint`; those of a shard are taken by the names that they have in it.
///
/// # Errors
/// As [`Document::parse`], and [`Error::Damaged`] when it holds no weights.
pub(super) fn read(
    file: &str,
    bytes: &Bytes,
    is_shard: bool,
    checkpoint: &mut Checkpoint,
) -> Result<(), Error> {
    state::read(&Document::parse(file, bytes)?, is_shard, checkpoint)
}

/// The weights of a network or of a dictionary of tensors in a document, by the names of `state_dict`.
///
/// # Errors
/// [`Error::Damaged`] when the file does not hold them.
#[allow(dead_code, reason = "for builders of networks")]
pub(crate) fn state_dict(document: &Document, node: Node<'_>) -> Result<Checkpoint, Error> {
    let tensors = state::below(document, node)?;
    Ok(Checkpoint { tensors, files: vec![document.file().to_owned()], ..Checkpoint::default() })
}

/// Whether the bytes begin like a pickle, or like one of the archives that PyTorch puts one into.
pub(crate) fn is_pickle(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
        || matches!(bytes, [0x80, 2..=5, ..] if bytes.get(7) != Some(&0))
        || legacy::is_tar(bytes)
}

#[cfg(test)]
mod tests;
