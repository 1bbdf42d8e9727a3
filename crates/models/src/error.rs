//! What can be wrong with a checkpoint, its configuration or a foreign ONNX file.
//!
//! Messages state the fact; the way out, where there is one, is [`Error::hint`], and [`Error::kind`] is what the
//! command line turns into an exit code. A new variant therefore needs an arm in `kind`.

use std::fmt::Write as _;

/// A failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that is needed is not in the source.
    #[error("the source has no `{file}`")]
    MissingFile {
        /// The file, relative to the source.
        file: String,
    },
    /// A file is there but could not be read.
    #[error("`{file}` cannot be read")]
    Read {
        /// The file, relative to the source.
        file: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A file's content is not what its name promises.
    #[error("`{file}` is damaged: {reason}")]
    Damaged {
        /// The file, relative to the source.
        file: String,
        /// What does not fit.
        reason: String,
    },
    /// A pickle that would import more than plain values, tensors and networks need. Nothing of it was run.
    #[error("`{file}` asks to import {}, which is never done", .names.join(", "))]
    ForeignCode {
        /// The file, relative to the source.
        file: String,
        /// The classes and functions, sorted.
        names: Vec<String>,
    },
    /// The model is something else than an object detector.
    #[error("`{class}` is not an object detector")]
    NotADetector {
        /// The class that `config.json` names, or the task that the metadata names.
        class: String,
    },
    /// A model whose class is called a detector and which gives no boxes.
    #[error(
        "`{class}` is not an object detector: it segments text, and boxes are drawn around its regions afterwards"
    )]
    SegmentsText {
        /// The class that `config.json` names, or `model_type` where it names none.
        class: String,
    },
    /// An object detector of a family that has no exporter here.
    #[error("no exporter for architecture `{architecture}`")]
    UnknownArchitecture {
        /// `model_type`, or the class where there is none.
        architecture: String,
        /// The families that have one.
        known: Vec<&'static str>,
    },
    /// Nothing says what the classes are called.
    #[error("no label map: {searched} hold no class names")]
    NoLabels {
        /// Where was looked.
        searched: String,
    },
    /// The label map exists but cannot be used.
    #[error("the label map cannot be used: {reason}")]
    BadLabels {
        /// What is wrong with it.
        reason: String,
    },
    /// A value of a configuration file that cannot be honoured.
    #[error("`{field}` in `{file}` is {value}, expected {expected}")]
    Unsupported {
        /// The file, relative to the source.
        file: String,
        /// The key.
        field: String,
        /// What it holds.
        value: String,
        /// What would be accepted.
        expected: String,
    },
    /// The tensors in the checkpoint are not those that the configuration asks for.
    #[error("the checkpoint does not fit `config.json`: {}", .0.summary())]
    Weights(Box<Mismatch>),
    /// Something about the detector cannot be derived from the source.
    #[error("{what} cannot be derived: {reason}")]
    Underivable {
        /// What is not known.
        what: &'static str,
        /// Why not.
        reason: String,
        /// The option that supplies it.
        option: &'static str,
    },
    /// An option that this source cannot be given.
    #[error("`{option}` {reason}")]
    Refused {
        /// The option.
        option: &'static str,
        /// Why not.
        reason: String,
    },
    /// A head that is known but cannot be expressed as a `Head`.
    #[error("the head of `{family}` cannot be run here: {reason}")]
    UnsupportedHead {
        /// The family, by its name in the field.
        family: &'static str,
        /// Why.
        reason: String,
    },
    /// The graph could not be built, read or written.
    #[error("the graph cannot be built")]
    Graph(#[from] graph::Error),
    /// The parts of the detector do not fit together.
    #[error("the detector cannot be described")]
    Detector(#[from] detect::Error),
}

/// How the tensors of a checkpoint differ from those that a configuration asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Tensors that the architecture needs and the checkpoint lacks.
    pub missing: Vec<String>,
    /// Tensors that the architecture does not use.
    pub unused: Vec<String>,
    /// Tensors of another shape: name, expected, found.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Tensors that cannot be used for another reason, with the reason.
    pub unusable: Vec<(String, String)>,
}

impl Mismatch {
    /// Whether everything fits.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
            && self.unused.is_empty()
            && self.shapes.is_empty()
            && self.unusable.is_empty()
    }

    /// Every difference, one a line.
    pub fn lines(&self) -> Vec<String> {
        let missing = self.missing.iter().map(|name| format!("missing `{name}`"));
        let unused = self.unused.iter().map(|name| format!("unused `{name}`"));
        let shapes = self
            .shapes
            .iter()
            .map(|(name, expected, found)| format!("`{name}` is {found:?}, expected {expected:?}"));
        let unusable = self.unusable.iter().map(|(name, reason)| format!("`{name}`: {reason}"));
        missing.chain(shapes).chain(unusable).chain(unused).collect()
    }

    fn summary(&self) -> String {
        const SHOWN: usize = 12;
        let mut text = format!(
            "{} missing, {} unused, {} of another shape, {} unusable",
            self.missing.len(),
            self.unused.len(),
            self.shapes.len(),
            self.unusable.len()
        );
        let lines = self.lines();
        for line in lines.iter().take(SHOWN) {
            let _ = write!(text, "\n  {line}");
        }
        if lines.len() > SHOWN {
            let _ = write!(text, "\n  and {} more", lines.len() - SHOWN);
        }
        text
    }
}

/// What a failure means for the person at the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The source holds nothing that can be used (exit code 11).
    Unusable,
    /// Not an object detector, or an architecture that has no exporter (exit code 12).
    NotADetector,
    /// No label map (exit code 13).
    NoLabels,
    /// The export failed (exit code 20).
    ExportFailed,
    /// An option has to supply what the source does not say, or does not fit it (exit code 2).
    OptionNeeded,
}

impl Error {
    /// What the failure means.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::MissingFile { .. }
            | Self::Read { .. }
            | Self::Damaged { .. }
            | Self::ForeignCode { .. } => ErrorKind::Unusable,
            Self::NotADetector { .. } | Self::SegmentsText { .. } | Self::UnknownArchitecture { .. } => {
                ErrorKind::NotADetector
            }
            Self::NoLabels { .. } | Self::BadLabels { .. } => ErrorKind::NoLabels,
            Self::Underivable { .. } | Self::Refused { .. } => ErrorKind::OptionNeeded,
            Self::Unsupported { .. }
            | Self::Weights(_)
            | Self::UnsupportedHead { .. }
            | Self::Graph(_)
            | Self::Detector(_) => ErrorKind::ExportFailed,
        }
    }

    /// The way out, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MissingFile { file } => Some(format!("put `{file}` beside the weights")),
            Self::Damaged { .. } => Some("fetch the file again from the source".into()),
            Self::ForeignCode { names, .. } if names.iter().any(|name| name.starts_with("__torch__.")) => {
                Some("this is a TorchScript program; take the checkpoint that it was made from".into())
            }
            Self::ForeignCode { file, .. } => Some(format!(
                "where you trust `{file}`, load it with PyTorch and save the `state_dict` alone, as safetensors if you can"
            )),
            Self::UnknownArchitecture { known, .. } => Some(format!(
                "known architectures: {}; for another try `--exporter python`, or import an ONNX export of the model",
                known.join(", ")
            )),
            Self::NoLabels { .. } | Self::BadLabels { .. } => {
                Some("pass `--labels labels.txt` with one class name a line".into())
            }
            Self::Weights(_) => {
                Some("take `config.json` and the weights from the same revision of the source".into())
            }
            Self::Underivable { option, .. } => Some(format!("pass `{option}`")),
            Self::Graph(error) => error.hint(),
            Self::Detector(error) => error.hint(),
            _ => None,
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers pass literals, numbers and causes alike")]
    pub(crate) fn damaged(file: &str, reason: impl ToString) -> Self {
        Self::Damaged { file: file.to_owned(), reason: reason.to_string() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers pass literals, numbers and texts alike")]
    pub(crate) fn unsupported(
        file: &str,
        field: &str,
        value: impl ToString,
        expected: impl ToString,
    ) -> Self {
        Self::Unsupported {
            file: file.to_owned(),
            field: field.to_owned(),
            value: value.to_string(),
            expected: expected.to_string(),
        }
    }
}
