//! TensorRT for RTX: engines built in this process, for graphics processors that need not be here.
//!
//! The library is opened at run time ([`library_version`] asks any file), parses the graph and builds ([`Builder::build`]).
//! Types are taken from the graph as they are, and there are no plug-ins. What it refuses is told by the graph's own node
//! ([`Failure`]). Building needs no graphics processor; running does, and one of the RTX kind.
//!
//! The bindings need libclang when they are compiled, so they are behind the Cargo feature `tensorrt-rtx`. Without it
//! [`Builder::open`] says so.

// Without the feature nothing is built that could fail or have layers; both stay compiled and tested.
#[cfg_attr(not(feature = "tensorrt-rtx"), allow(dead_code, reason = "only the bindings use it"))]
mod failure;
#[cfg_attr(not(feature = "tensorrt-rtx"), allow(dead_code, reason = "only the bindings use it"))]
mod layers;
mod library;

#[cfg(feature = "tensorrt-rtx")]
mod bound;
#[cfg(not(feature = "tensorrt-rtx"))]
#[path = "left_out.rs"]
mod bound;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use graph::{ComputeCapability, Model};

pub use bound::Builder;
pub use failure::{FailedNode, Failure, Stage};
pub use library::library_version;

use super::Profile;

/// The name that users choose it by.
pub const NAME: &str = "tensorrt-rtx";

/// A build.
#[derive(Debug, Clone, Copy)]
pub struct Build<'a> {
    /// The ONNX file.
    pub onnx: &'a Path,
    /// Its graph, for the names of its nodes; weights are not needed.
    pub graph: &'a Model,
    /// Where the engine goes.
    pub engine: &'a Path,
    /// What it is to run on: one engine for all of them.
    pub capabilities: &'a [ComputeCapability],
    /// The shapes of the inputs that the graph leaves open.
    pub profiles: &'a [Profile],
    /// Limit of the workspace.
    pub workspace_mib: Option<u64>,
    /// How hard the builder tries, 0 to 5.
    pub level: Option<u32>,
    /// Set from outside to call it off.
    pub cancelled: &'a Arc<AtomicBool>,
}

/// What was said while an engine was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// Every message but the verbose ones, a line each.
    pub log: String,
    /// What the layers are, in the form of `trtexec --exportLayerInfo`; `None` when nothing was said of them.
    pub layers: Option<String>,
}
