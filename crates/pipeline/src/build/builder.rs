//! What builds engines: a program, or a library in this process.

use std::path::Path;

use runtime::tools::tensorrt_rtx;
use runtime::tools::trtexec::{Generation, Trtexec};

/// The builders, by the name that users choose them by.
pub static BUILDERS: &[&str] = &["trtexec", tensorrt_rtx::NAME];

/// A builder that is ready.
#[derive(Debug, Clone)]
pub enum Builder {
    /// NVIDIA's program, on a machine with the graphics processor that the engine is for.
    Trtexec(Trtexec),
    /// TensorRT for RTX in this process, for graphics processors that need not be here.
    TensorRtRtx(tensorrt_rtx::Builder),
}

impl Builder {
    /// The version, as it follows the word `TensorRT`.
    pub fn version(&self) -> String {
        match self {
            Self::Trtexec(trtexec) => trtexec.version.to_string(),
            Self::TensorRtRtx(builder) => rtx_version(builder),
        }
    }

    /// The program, or the library.
    pub fn place(&self) -> &Path {
        match self {
            Self::Trtexec(trtexec) => &trtexec.program,
            Self::TensorRtRtx(builder) => builder.library(),
        }
    }

    /// Whether it lowers the precision of a graph in fp32 when it is told to. Otherwise the graph has to be in it.
    pub(super) fn takes_precision_by_flags(&self) -> bool {
        match self {
            Self::Trtexec(trtexec) => trtexec.version.generation() == Generation::Flags,
            Self::TensorRtRtx(_) => false,
        }
    }
}

/// The version of TensorRT for RTX, as it follows the word `TensorRT`.
pub(super) fn rtx_version(builder: &tensorrt_rtx::Builder) -> String {
    format!("for RTX {}", builder.version())
}
