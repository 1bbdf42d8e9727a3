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
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Labels { .. } => Some("pass `--labels labels.txt` with one class name a line".into()),
            Self::Schema { .. } => Some("import the model again with this version".into()),
            _ => None,
        }
    }
}
