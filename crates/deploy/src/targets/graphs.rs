//! The graphs of a package as a target sees them: what their files state, not their bytes.

use detect::Detector;
use graph::{Dim, ValueInfo};
use serde::{Deserialize, Serialize};

/// What is inside a graph besides the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Nothing: tensors in, the head's outputs out.
    Plain,
    /// Suppression: tensors in, detections out.
    EndToEnd,
    /// Preprocessing and suppression: frames in, detections in pixels of the frame out.
    Raw,
}

impl Form {
    /// What is put behind the package's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::EndToEnd => "_end2end",
            Self::Raw => "_raw",
        }
    }
}

/// A graph of the package.
#[derive(Debug, Clone)]
pub struct DeliveredGraph {
    /// What is inside.
    pub form: Form,
    /// The ONNX file's path in the package.
    pub path: String,
    /// The description that the file carries.
    pub detector: Detector,
    /// Its inputs; a first dimension that is the batch is [`Dim::batch`].
    pub inputs: Vec<ValueInfo>,
    /// Its outputs, likewise.
    pub outputs: Vec<ValueInfo>,
    /// Path in the package of the engine that was built of it.
    pub engine: Option<String>,
}

impl DeliveredGraph {
    /// Whether all inputs and outputs have the batch in front.
    pub fn is_batched(&self) -> bool {
        let first = |info: &ValueInfo| info.shape.as_ref().and_then(|dims| dims.first().cloned());
        self.inputs.iter().chain(&self.outputs).all(|info| first(info) == Some(Dim::batch()))
    }
}

/// The graphs that a target may deliver.
#[derive(Debug, Clone, Default)]
pub struct Graphs {
    /// The largest batch that was verified; 0 where no graph was looked at.
    pub max_batch: u32,
    /// The graphs, at most one a form.
    pub made: Vec<DeliveredGraph>,
    /// Forms that this network cannot have, and why.
    pub refused: Vec<(Form, String)>,
}

impl Graphs {
    /// For targets that look at no graph.
    pub const NONE: &'static Self = &Self { max_batch: 0, made: Vec::new(), refused: Vec::new() };

    /// The graph of this form.
    pub fn of(&self, form: Form) -> Option<&DeliveredGraph> {
        self.made.iter().find(|graph| graph.form == form)
    }
}
