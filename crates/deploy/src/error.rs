//! What can go wrong while rendering a package.
//!
//! Rendering reads no disk, so every error is about the values it was given, or about a font or layout engine that
//! refused them.

/// Why a package or report could not be rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A package name that could not be a folder name everywhere.
    #[error("`{name}` is not a package name")]
    Name {
        /// The name as given.
        name: String,
    },
    /// A path that would leave the package, or that some file system cannot hold.
    #[error("`{path}` is not a relative path inside the package")]
    Path {
        /// The path as given.
        path: String,
    },
    /// Two files of one tree want the same place.
    #[error("`{path}` is in the tree twice")]
    Duplicate {
        /// The path of both.
        path: String,
    },
    /// A target that does not exist.
    #[error("there is no target called `{name}`")]
    UnknownTarget {
        /// The name as given.
        name: String,
    },
    /// A detector that a target cannot run as it is described.
    #[error("the target `{target}` cannot run this detector: {reason}")]
    Inexpressible {
        /// The target.
        target: &'static str,
        /// What it lacks.
        reason: String,
    },
    /// A target needs to know a graph that the package does not have.
    #[error("the target `{target}` needs the inputs and outputs of `{model}`")]
    NoGraph {
        /// The target.
        target: &'static str,
        /// The model's path.
        model: String,
    },
    /// An input or output that a target cannot describe.
    #[error("the target `{target}` cannot take tensor {tensor}: {reason}")]
    Tensor {
        /// The target.
        target: &'static str,
        /// The tensor, with its type and shape.
        tensor: String,
        /// Why not.
        reason: String,
    },
    /// A text that is no protobuf text.
    #[error("line {line} is not protobuf text: {reason}")]
    TextProto {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A value of an option that is none.
    #[error("`{value}` is not {expected}")]
    Option {
        /// The value as given.
        value: String,
        /// What is expected.
        expected: &'static str,
    },
    /// A manifest or measurements file of another version.
    #[error("`{file}` has schema {found}, this program reads {expected}")]
    Schema {
        /// The file's name in the package.
        file: &'static str,
        /// The version in the file.
        found: u32,
        /// The version that is read.
        expected: u32,
    },
    /// A recorded file that is not of the expected form.
    #[error("`{file}` is not readable")]
    Json {
        /// The file's name in the package.
        file: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A sample image that is listed but was not handed over, or is no picture.
    #[error("sample image `{path}` is not readable")]
    Sample {
        /// Its path in the package.
        path: String,
        /// Why, where the bytes were there.
        source: Option<image::ImageError>,
    },
    /// A chart that could not be drawn.
    #[error("chart `{chart}` could not be drawn: {reason}")]
    Chart {
        /// File name of the chart.
        chart: String,
        /// What the drawing library said.
        reason: String,
    },
    /// The PDF could not be typeset.
    #[error("the PDF report could not be typeset: {reason}")]
    Typeset {
        /// What the typesetting library said.
        reason: String,
    },
}

impl Error {
    /// The way out, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Name { .. } => Some(
                "use 1 to 100 letters, digits, `-`, `_` and `.`, the first a letter or digit (`--name NAME`)"
                    .into(),
            ),
            Self::UnknownTarget { .. } => {
                let names: Vec<&str> = crate::targets::targets().iter().map(|target| target.name()).collect();
                Some(format!("the targets are {}", names.join(", ")))
            }
            Self::Schema { .. } | Self::Json { .. } => {
                Some("import the model again, or use the program version that wrote the package".into())
            }
            Self::Inexpressible { .. } => Some("name the targets that can: `--target onnxruntime`".into()),
            Self::Sample { .. } => Some("import the model again: that draws the samples again".into()),
            Self::NoGraph { .. } => Some("import the model again".into()),
            Self::Tensor { .. } => Some("simplify the graph, or leave this target out: `--target`".into()),
            Self::Path { .. }
            | Self::Duplicate { .. }
            | Self::Chart { .. }
            | Self::Typeset { .. }
            | Self::TextProto { .. }
            | Self::Option { .. } => None,
        }
    }
}
