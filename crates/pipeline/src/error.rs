//! What can go wrong in the flow, and which of the documented outcomes it is.

use std::path::{Path, PathBuf};

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
    /// What was given as a Triton model repository is none.
    #[error("`{}` {reason}", path.display())]
    NotARepository {
        /// What was given.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// A model of this name is in the repository and takes or gives something else.
    #[error("the model `{model}` of the repository cannot get this version: {reason}")]
    ModelTaken {
        /// The model.
        model: String,
        /// Its folder.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// What was given as a MODEL is neither an ONNX file nor a package.
    #[error("`{}` is neither an ONNX file nor a package", path.display())]
    NotAModel {
        /// What was given.
        path: PathBuf,
    },
    /// An ONNX file of a package that does not carry its description.
    #[error("`{}` carries no description of its detector", path.display())]
    NotDescribed {
        /// The file.
        path: PathBuf,
    },
    /// A graph whose image input has a fixed batch above one.
    #[error("input `{input}` takes {batch} images at a time, no fewer and no more")]
    FixedBatch {
        /// The input.
        input: String,
        /// Its batch.
        batch: usize,
    },
    /// The graph that an engine of a precision is built from is not there.
    #[error("an engine in {precision} is built from `{}` by TensorRT {tensorrt}, and it is not there", file.display())]
    NoVariant {
        /// The graph.
        file: PathBuf,
        /// The precision.
        precision: deploy::Precision,
        /// The version of TensorRT.
        tensorrt: String,
    },
    /// The package has no engine for `DeepStream`.
    #[error("`{}` has no engine of `{graph}`{}", package.display(), streams.map(|streams| format!(" for {streams} streams")).unwrap_or_default())]
    NoEngine {
        /// The package.
        package: PathBuf,
        /// The graph that nvinfer is configured for, by its path in the package.
        graph: String,
        /// The streams that were asked for.
        streams: Option<u32>,
    },
    /// The package does not have the files of a target.
    #[error("`{}` lacks `{file}` of the target `{target}`", package.display())]
    NoTarget {
        /// The package.
        package: PathBuf,
        /// The target.
        target: &'static str,
        /// A file that is not there.
        file: String,
    },
    /// The source-exact graph of a package is no longer there.
    #[error("the source-exact graph of `{}` is not kept any more", package.display())]
    NoExactGraph {
        /// The package.
        package: PathBuf,
    },
    /// A fresh graph that cannot be right.
    #[error("the exported graph was run and is refused: {reason}")]
    Trial {
        /// What is wrong with it.
        reason: String,
    },
    /// Passes changed what comes out.
    #[error("the outputs are {difference:.1e} of their scale from what they were, {bound:.1e} is allowed")]
    Changed {
        /// The largest difference, in parts of the output's scale.
        difference: f64,
        /// What is allowed.
        bound: f64,
    },
    /// A graph with more inside does not find what the plain one finds. How they differ is the caller's to tell.
    #[error("the new graph does not find what the plain one finds")]
    Disagrees,
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
    Hub(Box<hub::Error>),
    /// The graph is not right.
    #[error(transparent)]
    Graph(#[from] graph::Error),
    /// The checkpoint could not become a graph.
    #[error(transparent)]
    Models(Box<models::Error>),
    /// Images, outputs or annotations are not right.
    #[error(transparent)]
    Detect(Box<detect::Error>),
    /// The same, in this file.
    #[error("`{}`", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is not right.
        source: Box<detect::Error>,
    },
    /// A video that cannot be decoded.
    #[error("`{}`: {source}", path.display())]
    Video {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        source: Box<runtime::Error>,
    },
    /// The backend could not run the graph.
    #[error(transparent)]
    Runtime(Box<runtime::Error>),
    /// A file of the package could not be rendered.
    #[error(transparent)]
    Deploy(#[from] deploy::Error),
}

// Boxed, so that a `Result` stays small where nothing goes wrong.
impl From<hub::Error> for Error {
    fn from(error: hub::Error) -> Self {
        Self::Hub(Box::new(error))
    }
}

impl From<runtime::Error> for Error {
    fn from(error: runtime::Error) -> Self {
        Self::Runtime(Box::new(error))
    }
}

impl From<detect::Error> for Error {
    fn from(error: detect::Error) -> Self {
        Self::Detect(Box::new(error))
    }
}

impl From<models::Error> for Error {
    fn from(error: models::Error) -> Self {
        Self::Models(Box::new(error))
    }
}

impl Error {
    /// What a decoder says becomes an error of its video; everything else stays.
    pub(crate) fn of_video(path: &Path) -> impl Fn(runtime::Error) -> Self {
        move |error| match error {
            runtime::Error::Tool { .. } => Self::Video { path: path.to_owned(), source: Box::new(error) },
            other => other.into(),
        }
    }

    /// The program's exit code for this error, by the documented table.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Options(_)
            | Self::NoVariant { .. }
            | Self::NotAPackage { .. }
            | Self::NotARepository { .. }
            | Self::ModelTaken { .. }
            | Self::Detect(_)
            | Self::Deploy(
                deploy::Error::Name { .. }
                | deploy::Error::UnknownTarget { .. }
                | deploy::Error::Option { .. },
            ) => 2,
            Self::Io { source, .. } | Self::Graph(graph::Error::Write(source)) => of_io(source.kind()),
            Self::Video { source, .. } if source.is_backend_limit() => 30,
            Self::Video { .. }
            | Self::NotAModel { .. }
            | Self::NotDescribed { .. }
            | Self::UnknownKind { .. }
            | Self::InFile { .. }
            | Self::Deploy(deploy::Error::Json { .. } | deploy::Error::Schema { .. }) => 11,
            Self::NoExactGraph { .. } => 10,
            Self::NoEngine { .. } | Self::NoTarget { .. } => 30,
            Self::Disagrees => 40,
            Self::Hub(error) => error.exit_code(),
            Self::Models(error) => of_kind(error.kind()),
            Self::Graph(_)
            | Self::FixedBatch { .. }
            | Self::Trial { .. }
            | Self::Changed { .. }
            | Self::Deploy(deploy::Error::Inexpressible { .. }) => 20,
            Self::Runtime(error) if error.is_backend_limit() => 30,
            Self::Runtime(error)
                if matches!(**error, runtime::Error::Trtexec(_) | runtime::Error::TensorRtRtx(_)) =>
            {
                20
            }
            Self::Runtime(error) if matches!(**error, runtime::Error::Cancelled) => 130,
            Self::Runtime(error) if matches!(**error, runtime::Error::PythonExport(_)) => 20,
            Self::Runtime(error)
                if matches!(**error, runtime::Error::Graph(_) | runtime::Error::Load { .. }) =>
            {
                20
            }
            _ => 1,
        }
    }

    /// The way out, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Video { source, .. } => source.hint(),
            Self::Io { source, .. } | Self::Graph(graph::Error::Write(source)) => match source.kind() {
                std::io::ErrorKind::StorageFull => {
                    Some("make room, then run the same command again: finished steps are kept".into())
                }
                std::io::ErrorKind::PermissionDenied => Some("check who may read and write this path".into()),
                _ => None,
            },
            Self::NotAPackage { .. } => Some("choose another `--name NAME` or `--out DIR`".into()),
            Self::NotARepository { .. } => Some(
                "a model repository is a folder with a folder for each model: make one with `mkdir`, or name another".into(),
            ),
            Self::ModelTaken { path, .. } => Some(format!(
                "import it under another name (`--name NAME`), or move `{}` away",
                path.display()
            )),
            Self::NotAModel { .. } => {
                Some("a package is the folder that `sightline import` made, with `manifest.json`; a model is that or an `.onnx` file".into())
            }
            Self::UnknownKind { .. } => Some(
                "known kinds: ONNX, safetensors, PyTorch checkpoints, TensorRT engine plans, calibration caches".into(),
            ),
            Self::Trial { .. } => Some(
                "the weights may be damaged: fetch them again; or they do not belong to this `config.json`".into(),
            ),
            Self::NoVariant { precision: deploy::Precision::Int8, .. } => Some(
                "import with `--precision int8 --calibrate DIR`, or run `sightline quantize MODEL --calibrate DIR`".into(),
            ),
            Self::NoVariant { .. } => Some(
                "import with `--precision fp16`, or run `sightline optimize MODEL --fp16`: from TensorRT 11 on, and for RTX, the \
                 graph says what it computes with"
                    .into(),
            ),
            Self::NoEngine { package, graph, streams } => {
                let batch = streams.map(|streams| format!(" --batch {streams}")).unwrap_or_default();
                // A graph of its own is built as a file, into the package.
                Some(if graph.contains("_video") {
                    format!("`sightline build {0}/{graph} --out {0}{batch}`", package.display())
                } else {
                    format!("`sightline build {}{batch}`", package.display())
                })
            }
            Self::NoTarget { package, target, .. } => {
                Some(format!("`sightline deploy {} --target {target}`", package.display()))
            }
            Self::FixedBatch { .. } => Some("export it again with a dynamic batch, or a batch of 1".into()),
            Self::NotDescribed { .. } | Self::NoExactGraph { .. } => Some("import the model again: `sightline import SOURCE`".into()),
            Self::Hub(error) => error.hint(),
            Self::Graph(error) => error.hint(),
            Self::Models(error) => error.hint(),
            Self::Detect(error) | Self::InFile { source: error, .. } => error.hint(),
            Self::Runtime(error) => error.hint(),
            Self::Deploy(error) => error.hint(),
            Self::Changed { .. } => Some(
                "leave out one option at a time to find the pass; `--unchecked` writes the file all the same".into(),
            ),
            Self::Disagrees => Some("`--unchecked` writes the file all the same".into()),
            Self::Record { .. } | Self::Planned { .. } | Self::Options(_) => None,
        }
    }
}

fn of_io(kind: std::io::ErrorKind) -> u8 {
    use std::io::ErrorKind;
    match kind {
        ErrorKind::NotFound | ErrorKind::PermissionDenied => 10,
        ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidInput
        | ErrorKind::AlreadyExists => 2,
        _ => 1,
    }
}

fn of_kind(kind: models::ErrorKind) -> u8 {
    match kind {
        models::ErrorKind::OptionNeeded => 2,
        models::ErrorKind::Unusable => 11,
        models::ErrorKind::NotADetector => 12,
        models::ErrorKind::NoLabels => 13,
        models::ErrorKind::ExportFailed => 20,
        _ => 1,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_the_same_wherever_it_shows() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        for error in [
            Error::Io { path: "model.onnx".into(), source: full() },
            Error::Graph(graph::Error::Write(full())),
        ] {
            assert_eq!(error.exit_code(), 1);
            assert!(error.hint().unwrap().contains("make room"));
        }
    }
}
