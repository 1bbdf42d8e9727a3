//! What can go wrong in the flow, and which of the documented outcomes it is.

use std::path::PathBuf;

/// Why a command stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("`{}`", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A record could not be written as JSON.
    #[error("the record of `{what}`")]
    Record {
        /// Of what.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// In a plan: this step would run.
    #[error("step `{step}` would run")]
    Planned {
        /// The step.
        step: &'static str,
    },
    /// The folder where the package would go holds something else.
    #[error("`{}` is there and is not a package", path.display())]
    NotAPackage {
        /// The folder.
        path: PathBuf,
    },
    /// What was given as a MODEL is neither an ONNX file nor a package.
    #[error("`{}` is neither an ONNX file nor a package", path.display())]
    NotAModel {
        /// What was given.
        path: PathBuf,
    },
    /// Options that do not go together, or a value that cannot be.
    #[error("{0}")]
    Options(String),
    /// A file of a kind that `inspect` does not know.
    #[error("`{}` is of no kind that can be inspected", path.display())]
    UnknownKind {
        /// The file.
        path: PathBuf,
    },
    /// The source could not be had.
    #[error(transparent)]
    Hub(#[from] hub::Error),
    /// The graph is not right.
    #[error(transparent)]
    Graph(#[from] graph::Error),
    /// The checkpoint could not become a graph.
    #[error(transparent)]
    Models(#[from] models::Error),
    /// Images, outputs or annotations are not right.
    #[error(transparent)]
    Detect(#[from] detect::Error),
    /// The same, in this file.
    #[error("`{}`", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is not right.
        source: detect::Error,
    },
    /// The backend could not run the graph.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// A file of the package could not be rendered.
    #[error(transparent)]
    Deploy(#[from] deploy::Error),
}

/// The documented outcomes. See the table of exit codes in the command line's help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A bug or the operating system.
    Unexpected,
    /// Wrong arguments.
    Arguments,
    /// Source not found or not allowed.
    NotFound,
    /// Nothing usable in the source.
    NothingUsable,
    /// Not an object detector, or an architecture that we do not have.
    NotADetector,
    /// No label map.
    NoLabels,
    /// The export failed.
    ExportFailed,
    /// Backend or tool not available here.
    NotAvailable,
}

impl Error {
    /// The way out, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull => {
                    Some("make room, then run the same command again: finished steps are kept".into())
                }
                std::io::ErrorKind::PermissionDenied => Some("choose another folder with `--out DIR`".into()),
                _ => None,
            },
            Self::NotAPackage { .. } => Some("choose another `--name NAME` or `--out DIR`".into()),
            Self::NotAModel { .. } => {
                Some("give an `.onnx` file, or the folder that `sightline import` made (with `manifest.json`)".into())
            }
            Self::UnknownKind { .. } => Some(
                "known kinds: ONNX, safetensors, PyTorch checkpoints, TensorRT engine plans, calibration caches".into(),
            ),
            Self::Hub(error) => error.hint(),
            Self::Graph(error) => error.hint(),
            Self::Models(error) => error.hint(),
            Self::Detect(error) | Self::InFile { source: error, .. } => error.hint(),
            Self::Runtime(error) => error.hint(),
            Self::Deploy(error) => error.hint(),
            Self::Record { .. } | Self::Planned { .. } | Self::Options(_) => None,
        }
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
