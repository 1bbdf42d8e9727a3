//! What can go wrong with a graph.

/// Why a graph could not be read, built, checked or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not an ONNX model.
    #[error("not an ONNX file: {reason}")]
    NotOnnx {
        /// What the decoder met.
        reason: String,
    },
    /// A tensor's data does not fit its declared shape and type.
    #[error("tensor `{name}` is damaged: {reason}")]
    BadTensor {
        /// The tensor's name, empty when it has none.
        name: String,
        /// What does not fit.
        reason: String,
    },
    /// A tensor has another element type than the caller needs.
    #[error("tensor holds {actual}, {expected} is needed")]
    WrongType {
        /// What is needed.
        expected: &'static str,
        /// What the tensor holds.
        actual: &'static str,
    },
    /// External data could not be had.
    #[error("external data `{location}` of tensor `{tensor}`: {reason}")]
    ExternalData {
        /// The tensor that names the file.
        tensor: String,
        /// The file, as the graph names it.
        location: String,
        /// Why it is of no use.
        reason: String,
    },
    /// The graph breaks a rule that every graph obeys.
    #[error("invalid graph: {0}")]
    Invalid(String),
    /// A node was given inputs that its operator does not take.
    #[error("node `{node}` ({op}): {reason}")]
    BadNode {
        /// The node's name.
        node: String,
        /// The operator.
        op: String,
        /// What does not fit, with the shapes.
        reason: String,
    },
    /// The bytes are not a TensorRT plan that can be told apart.
    #[error("not a TensorRT plan: {reason}")]
    NotPlan {
        /// What does not fit.
        reason: String,
    },
    /// The bytes are not what `trtexec --exportLayerInfo` writes.
    #[error("no layer file of a TensorRT engine: {reason}")]
    NotEngineLayers {
        /// What does not fit.
        reason: String,
    },
    /// The bytes are not an `.etlt` file.
    #[error("not an `.etlt` file: {reason}")]
    NotEtlt {
        /// What does not fit.
        reason: String,
    },
    /// The text is not a TensorRT calibration cache.
    #[error("not a TensorRT calibration cache: line {line}: {reason}")]
    NotCalibrationCache {
        /// The line, from 1.
        line: usize,
        /// What does not fit.
        reason: String,
    },
    /// The model does not fit one ONNX file.
    #[error("the model takes {bytes} bytes, one ONNX file holds at most 2147483647")]
    TooLarge {
        /// Bytes needed.
        bytes: u64,
    },
    /// Writing failed.
    #[error("writing the graph")]
    Write(#[source] std::io::Error),
}

impl Error {
    /// The way out, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotOnnx { .. } => {
                Some("check that the download is complete and the file is an ONNX model".into())
            }
            Self::ExternalData { location, .. } => {
                Some(format!("put `{location}` beside the ONNX file, or fetch it again from the source"))
            }
            Self::BadTensor { .. } => Some("the file is damaged: fetch or export it again".into()),
            Self::NotPlan { .. } => {
                Some("plans of TensorRT before 8.6 and of TensorRT-RTX do not state their version".into())
            }
            Self::TooLarge { .. } => Some("store the weights in a narrower type".into()),
            _ => None,
        }
    }
}
