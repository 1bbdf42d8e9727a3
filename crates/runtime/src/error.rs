//! What can go wrong when a graph is run.
//!
//! Every variant that is about an input names it, and every variant that is about a backend names that: the caller
//! prints the message as it is.

use std::path::PathBuf;

use crate::tools::python_exporter::Failure;
use crate::tools::{tensorrt_rtx, trtexec};

/// Why a graph could not be loaded, run, compared or timed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No backend has this name.
    #[error("there is no backend `{name}`, there is {}", quoted(known))]
    UnknownBackend {
        /// What was asked for.
        name: String,
        /// Every backend's name.
        known: Vec<&'static str>,
    },
    /// The backend's library is not on this machine.
    #[error("backend `{backend}` has no library here")]
    NotInstalled {
        /// The backend.
        backend: &'static str,
    },
    /// The backend's library, one of its parts or its device cannot be used on this machine.
    #[error("backend `{backend}` cannot be used here: {reason}")]
    Unavailable {
        /// The backend.
        backend: &'static str,
        /// What is missing or wrong.
        reason: String,
    },
    /// A file is no library that a backend can load.
    #[error("`{}` cannot be used as ONNX Runtime: {reason}", path.display())]
    BadLibrary {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Another library of the same kind is in use already: a process can have one.
    #[error("`{}` cannot be used beside `{}`: a process loads one ONNX Runtime", second.display(), first.display())]
    SecondLibrary {
        /// The library in use.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// The backend computes something else than the graph says, or nothing, for one of its nodes.
    #[error("backend `{backend}` cannot run node `{node}` ({op}): {reason}")]
    Unsupported {
        /// The backend.
        backend: &'static str,
        /// The node's name, or its first output where it has none.
        node: String,
        /// The node's operator.
        op: String,
        /// What is missing.
        reason: String,
    },
    /// The file could not be opened or read.
    #[error("reading `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The bytes are no graph, or a graph that breaks a rule.
    #[error(transparent)]
    Graph(#[from] graph::Error),
    /// The backend refused the graph.
    #[error("backend `{backend}` cannot load the graph: {reason}")]
    Load {
        /// The backend.
        backend: &'static str,
        /// Its words.
        reason: String,
    },
    /// The backend failed while it ran the graph.
    #[error("backend `{backend}` failed: {reason}")]
    Run {
        /// The backend.
        backend: &'static str,
        /// Its words, with the node where it names one.
        reason: String,
    },
    /// The backend panicked.
    #[error("backend `{backend}` broke off: {message}")]
    Panicked {
        /// The backend.
        backend: &'static str,
        /// The message of the panic.
        message: String,
    },
    /// The graph needs an input that was not given.
    #[error("input `{name}` ({expected}) is missing")]
    MissingInput {
        /// The input.
        name: String,
        /// Its type and shape.
        expected: String,
    },
    /// An input was given that the graph does not have.
    #[error("the graph has no input `{name}`, it has {}", quoted(known))]
    UnknownInput {
        /// What was given.
        name: String,
        /// The graph's inputs.
        known: Vec<String>,
    },
    /// An input was given twice.
    #[error("input `{name}` is given twice")]
    RepeatedInput {
        /// The input.
        name: String,
    },
    /// An input has another type or shape than the graph wants.
    #[error("input `{name}` is {actual}, the graph takes {expected}")]
    WrongInput {
        /// The input.
        name: String,
        /// Type and shape that the graph declares.
        expected: String,
        /// Type and shape that were given.
        actual: String,
    },
    /// An input holds a number that the backend has no type for.
    #[error("input `{name}` holds {value}, backend `{backend}` computes integers in 32 bits")]
    IntegerRange {
        /// The backend.
        backend: &'static str,
        /// The input.
        name: String,
        /// The number.
        value: i64,
    },
    /// An output came in a type that the graph does not declare for it.
    #[error("output `{name}` is {actual}, the graph declares {expected}")]
    WrongOutput {
        /// The output.
        name: String,
        /// Type that the graph declares.
        expected: String,
        /// Type that came.
        actual: String,
    },
    /// Two results cannot be compared because one lacks an output.
    #[error("output `{name}` is in one result only")]
    UnmatchedOutput {
        /// The output.
        name: String,
    },
    /// Two tensors cannot be compared element by element.
    #[error("shapes differ: {reference:?} and {actual:?}")]
    ShapesDiffer {
        /// The reference's shape.
        reference: Vec<usize>,
        /// The other tensor's.
        actual: Vec<usize>,
    },
    /// A measurement without a single sample.
    #[error("nothing was measured: the count is 0")]
    NoSamples,
    /// An outside program failed or answered something else than expected.
    #[error("`{tool}`: {reason}")]
    Tool {
        /// The program.
        tool: &'static str,
        /// What it said or did.
        reason: String,
    },
    /// An outside program is not on this machine.
    #[error("there is no `{tool}` {places}")]
    ToolMissing {
        /// The program.
        tool: &'static str,
        /// Where it was looked for.
        places: String,
    },
    /// An outside program is there and cannot be used.
    #[error("`{}` cannot be used as `{tool}`: {reason}", program.display())]
    ToolUnusable {
        /// What it is to be.
        tool: &'static str,
        /// The file.
        program: PathBuf,
        /// Why not.
        reason: String,
    },
    /// This program was compiled without the bindings to a library.
    #[error("this program was compiled without `{tool}`")]
    LeftOut {
        /// The library, and the Cargo feature.
        tool: &'static str,
    },
    /// TensorRT for RTX refused a graph, or failed to build an engine of it.
    #[error("TensorRT for RTX: {0}")]
    TensorRtRtx(Box<tensorrt_rtx::Failure>),
    /// `trtexec` ran and failed.
    #[error("`trtexec`: {0}")]
    Trtexec(Box<trtexec::Failure>),
    /// The user called it off.
    #[error("called off")]
    Cancelled,
    /// A file could not be written.
    #[error("writing `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// No attempt to export with Python gave a graph.
    #[error("exporting with Python: {}", .0.summary())]
    PythonExport(Box<Failure>),
}

impl Error {
    /// The way out, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Graph(error) => error.hint(),
            Self::UnknownBackend { .. } => Some("`sightline list` shows the backends".into()),
            Self::NotInstalled { backend } | Self::Unavailable { backend, .. } => install_hint(backend),
            Self::Unsupported { op, .. } if op == "EfficientNMS_TRT" => Some(
                "it is a plug-in of TensorRT up to 10, which builds an engine of this file; `--suppress-in-graph onnx` makes \
                 a graph that other backends run"
                    .into(),
            ),
            Self::Unsupported { backend, .. } => {
                Some(format!("choose another backend than `{backend}` with `--backend`"))
            }
            Self::WrongInput { .. } | Self::MissingInput { .. } | Self::UnknownInput { .. } => {
                Some("`sightline inspect MODEL` lists the inputs with their types and shapes".into())
            }
            Self::Tool { tool: "python", .. } => Some(
                "`--exporter python` needs Python 3.10 to 3.13 with `venv`, the network at the first use, and 7 GB of room"
                    .into(),
            ),
            Self::ToolMissing { tool: "trtexec", .. } | Self::ToolUnusable { tool: "trtexec", .. } => Some(
                "it comes with TensorRT's tar and deb packages and with NVIDIA's containers, not with the Python wheels; name \
                 it with `--trtexec PATH`"
                    .into(),
            ),
            Self::ToolMissing { tool: "deepstream-app", .. } => Some(
                "it comes with NVIDIA DeepStream: the container `nvcr.io/nvidia/deepstream`, or the Debian package from \
                 developer.nvidia.com/deepstream-sdk; `sightline run local` judges a video without it"
                    .into(),
            ),
            Self::ToolMissing { tool: "make", .. } => Some("`apt-get install make g++`".into()),
            Self::Tool { tool: "make", reason } if reason.contains("nvdsinfer") => Some(
                "the headers of DeepStream are not where it was looked: `--deepstream DIR` names its folder".into(),
            ),
            Self::ToolMissing { tool: "gst-launch-1.0", .. } => Some(
                "it comes with GStreamer: `apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base \
                 gstreamer1.0-plugins-good`, and `gstreamer1.0-libav` for H.264"
                    .into(),
            ),
            _ if self.is_missing_decoder() => Some(
                "a decoder is missing: `gstreamer1.0-libav` or `gstreamer1.0-plugins-bad` may have it"
                    .into(),
            ),
            Self::ToolMissing { tool: tensorrt_rtx::NAME, .. } | Self::ToolUnusable { tool: tensorrt_rtx::NAME, .. } => {
                Some("run `sightline runtime install tensorrt-rtx`; it is built for Linux on x86_64".into())
            }
            Self::LeftOut { tool } => Some(format!(
                "compile it with `cargo build --release --features {tool}`, which needs libclang (Debian: `libclang-dev`), \
                 then run `sightline runtime install {tool}`; or build with `--backend trtexec`"
            )),
            Self::TensorRtRtx(failure) => Some(failure.hint().into()),
            Self::Trtexec(failure) => Some(failure.cause.hint().into()),
            Self::Cancelled => Some("what is finished is kept: the same command goes on from there".into()),
            _ => None,
        }
    }

    /// Whether `GStreamer` has no element for what is in a video.
    fn is_missing_decoder(&self) -> bool {
        let Self::Tool { tool: "gst-launch-1.0", reason } = self else { return false };
        reason.contains("plug-in") || reason.contains("plugin")
    }

    /// Whether the cause is this machine or this backend, not the graph: another backend may do it.
    pub fn is_backend_limit(&self) -> bool {
        matches!(
            self,
            Self::UnknownBackend { .. }
                | Self::NotInstalled { .. }
                | Self::Unavailable { .. }
                | Self::BadLibrary { .. }
                | Self::SecondLibrary { .. }
                | Self::Unsupported { .. }
                | Self::IntegerRange { .. }
                | Self::ToolMissing { .. }
                | Self::ToolUnusable { .. }
                | Self::LeftOut { .. }
        ) || self.is_missing_decoder()
            || matches!(self, Self::Trtexec(failure) if failure.cause.is_of_machine())
    }
}

/// How the library of a backend comes here.
fn install_hint(backend: &str) -> Option<String> {
    let needs = match backend {
        "onnxruntime" => return Some("run `sightline runtime install onnxruntime`".into()),
        "onnxruntime-cuda" => "a driver of NVIDIA, CUDA 13 and cuDNN 9",
        "onnxruntime-tensorrt" => "a driver of NVIDIA, CUDA 13, cuDNN 9 and TensorRT 10",
        _ => return None,
    };
    Some(format!(
        "run `sightline runtime install onnxruntime-gpu`; it needs {needs} where the system finds libraries \
         (`LD_LIBRARY_PATH`)"
    ))
}

/// Names in backticks, separated by commas.
fn quoted<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_what_there_is() {
        let cases = [
            (
                Error::UnknownBackend { name: "cuda".into(), known: vec!["embedded"] },
                "there is no backend `cuda`, there is `embedded`",
            ),
            (
                Error::UnknownInput { name: "x".into(), known: vec!["a".into(), "b".into()] },
                "the graph has no input `x`, it has `a`, `b`",
            ),
            (
                Error::UnknownInput { name: "x".into(), known: vec![] },
                "the graph has no input `x`, it has none",
            ),
        ];
        for (error, expected) in cases {
            assert_eq!(error.to_string(), expected);
        }
    }
}
