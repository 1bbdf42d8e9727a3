//! What can be wrong with a description, an image, an output tensor or an annotation file.
//!
//! Messages state the fact; the way out, where there is one, is [`Error::hint`].

/// A failure of this crate; the message is the fact, [`Error::hint`] the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of a detector description has a value that cannot be.
    #[error("`{field}` of the detector is {value}, expected {expected}")]
    Field {
        /// Path of the field, as in `detector.json`.
        field: String,
        /// The value found.
        value: String,
        /// What would be accepted.
        expected: String,
    },
    /// A label map that cannot be used.
    #[error("the label map cannot be used: {reason}")]
    Labels {
        /// What is wrong with it.
        reason: String,
    },
    /// `detector.json` is not what this program writes.
    #[error("the detector description cannot be read")]
    Json(#[from] serde_json::Error),
    /// `detector.json` of another schema.
    #[error("the detector description has schema {found}, this program reads schema {expected}")]
    Schema {
        /// The number in the file.
        found: u32,
        /// The number this program reads.
        expected: u32,
    },
    /// A file that is neither JPEG nor PNG.
    #[error("the image is neither JPEG nor PNG: it starts with {start:02x?}")]
    ImageFormat {
        /// The first bytes of the file.
        start: Vec<u8>,
    },
    /// An image file that cannot be decoded.
    #[error("the {format} image is damaged: {reason}")]
    ImageData {
        /// `JPEG` or `PNG`.
        format: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// An image that cannot be written as a file.
    #[error("the image cannot be written as {format}: {reason}")]
    Encode {
        /// `JPEG` or `PNG`.
        format: &'static str,
        /// What the encoder says.
        reason: String,
    },
    /// An image of a size that cannot be.
    #[error("an image of {width} × {height} pixels cannot be used: {reason}")]
    ImageSize {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// Images cannot be resized.
    #[error("the image cannot be resized: {reason}")]
    Resize {
        /// What the resizer says.
        reason: String,
    },
    /// Images that cannot be one batch of raw frames.
    #[error("frames of {first:?} and {other:?} pixels cannot be one batch")]
    Frames {
        /// Width and height of the first.
        first: (u32, u32),
        /// Width and height of one that differs.
        other: (u32, u32),
    },
    /// Something that cannot be put into a graph.
    #[error("{what} cannot be put into the graph: {reason}")]
    InGraph {
        /// Preprocessing or suppression.
        what: &'static str,
        /// What is in the way.
        reason: String,
    },
    /// A graph that could not be rewritten.
    #[error("the graph cannot be rewritten")]
    Graph(#[from] graph::Error),
    /// A tensor that cannot be made or read.
    #[error("tensor `{name}` cannot be used")]
    Tensor {
        /// Its name in the graph.
        name: String,
        /// Why.
        source: graph::Error,
    },
    /// The graph's run did not give an output that the head needs.
    #[error("there is no output `{name}` among {found:?}")]
    MissingOutput {
        /// The name that the head gives.
        name: String,
        /// The names of the outputs.
        found: Vec<String>,
    },
    /// An output of a shape that the head does not have.
    #[error("output `{name}` has shape {shape:?}, expected {expected}")]
    OutputShape {
        /// Its name.
        name: String,
        /// The shape found.
        shape: Vec<usize>,
        /// What the head gives.
        expected: String,
    },
    /// An annotation file that cannot be used.
    #[error("the annotations cannot be used: {reason}")]
    Annotations {
        /// What is wrong with it.
        reason: String,
    },
    /// Categories of a dataset that are none of the detector's classes.
    #[error("the detector has no class for {}", missing.join(", "))]
    Categories {
        /// Id and name of each.
        missing: Vec<String>,
        /// The detector's classes.
        known: Vec<String>,
    },
    /// Detections of an image that the dataset does not have.
    #[error("the dataset has no image {id}")]
    UnknownImage {
        /// Its id.
        id: u64,
    },
    /// The metric cannot be computed.
    #[error("the metric cannot be computed: {reason}")]
    Metric {
        /// Why.
        reason: String,
    },
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Labels { .. } => Some("pass `--labels labels.txt` with one class name a line".into()),
            Self::Schema { .. } => Some("import the model again with this version".into()),
            Self::Frames { .. } => Some("run frames of one size together, or one at a time".into()),
            Self::Graph(source) => source.hint(),
            Self::ImageFormat { .. } => Some("convert it to JPEG or PNG".into()),
            Self::MissingOutput { .. } | Self::OutputShape { .. } => Some(
                "the description belongs to another graph: pass `--head`, or import the model again".into(),
            ),
            Self::Categories { known, .. } => {
                let shown = known.iter().take(12).cloned().collect::<Vec<_>>().join(", ");
                let more =
                    if known.len() > 12 { format!(" and {} more", known.len() - 12) } else { String::new() };
                Some(format!("rename the categories; the detector's classes are {shown}{more}"))
            }
            Self::Annotations { .. } => Some("COCO's `instances.json` form is expected".into()),
            _ => None,
        }
    }
}
