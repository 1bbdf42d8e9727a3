//! Models: from configuration and checkpoint to a [`detect::Detector`] and a [`graph::Model`].
//!
//! Two ways in. [`export`] builds the graph of a checkpoint, without Python; [`import_onnx`] takes a graph that someone
//! else exported and derives its detector. Both read hostile bytes and execute none of them; nothing here opens a path:
//! see [`Files`].

mod arch;
mod checkpoint;
mod config;
mod error;
mod export;
mod files;
mod layers;
mod onnx_import;
mod prompt;
mod weights;

pub use arch::architectures;
pub use checkpoint::{Checkpoint, CheckpointFacts, TensorFacts, checkpoint_facts};
pub use error::{Error, ErrorKind, Mismatch};
pub use export::{DeformableForm, ExportOptions, Exported, Prompt, export};
pub use files::{Files, MemoryFiles};
pub use onnx_import::{HeadKind, ImportOptions, Normalization, import_onnx};
