//! How the output tensors become boxes.
//!
//! A head says what the tensors mean, not what they are called elsewhere: `dets` and `labels` stand for boxes and raw
//! scores in one exporter and for boxes with scores and class ids in another.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::detector::{named, refused};

/// How the output tensors become boxes. `b` is the batch, `n` the rows, `C` the classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Head {
    /// DETR family: one row a query, class scores and a box.
    Queries {
        /// Output of raw class scores, `[b, n, C]` (`C + 1` with a background column).
        logits: String,
        /// Output of boxes, `[b, n, 4]`.
        boxes: String,
        /// What the four numbers are.
        format: BoxFormat,
        /// From raw scores to probabilities.
        activation: Activation,
        /// Which pairs of query and class become detections.
        selection: Selection,
        /// Default `IoU` threshold of class-aware suppression; `None`, as nearly always, where queries need none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        iou: Option<f32>,
        /// Default confidence threshold.
        #[serde(default = "usual_confidence", skip_serializing_if = "is_usual_confidence")]
        confidence: f32,
    },
    /// One row an anchor or cell, suppressed by us (Ultralytics without `nms`, `YOLOv5`).
    Dense {
        /// Output of rows: four box numbers, objectness where there is one, `C` class scores.
        output: String,
        /// Which axis is the rows'.
        layout: DenseLayout,
        /// Whether a fifth number multiplies the class scores.
        objectness: bool,
        /// What the four numbers are.
        format: BoxFormat,
        /// What is left to apply to objectness and scores ([`Activation::None`] when the graph did it).
        activation: Activation,
        /// Default `IoU` threshold of class-aware suppression; `None` for rows that need none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        iou: Option<f32>,
        /// Default confidence threshold.
        confidence: f32,
    },
    /// Suppressed in the graph, one output `[b, n, 6]`: four box numbers, score, class. Rows of score 0 are padding.
    EndToEnd {
        /// Output of rows.
        output: String,
        /// What the four numbers are.
        format: BoxFormat,
    },
    /// Suppressed in the graph, one output a quantity.
    EndToEndParts {
        /// Output `[b]` or `[b, 1]` of how many rows are used; `None` when all are (padding then has score 0, or a
        /// negative class).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<String>,
        /// Output of boxes, `[b, n, 4]`; `[b, n, 5]` with the score last when `scores` is `None` (`MMDetection`).
        boxes: String,
        /// Output of scores, `[b, n]`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scores: Option<String>,
        /// Output of class ids, `[b, n]`, of any number type.
        classes: String,
        /// What the four numbers are.
        format: BoxFormat,
        /// Default confidence threshold.
        #[serde(default = "usual_confidence", skip_serializing_if = "is_usual_confidence")]
        confidence: f32,
        /// Whether boxes are cut at the image's border by default.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        clip: bool,
    },
}

/// What the four numbers of a box are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxFormat {
    /// Centre and size relative to the model's image, 0–1. With [`crate::Resize::ShortestEdge`] relative to the image
    /// without its padding, as the Hugging Face post-processing takes them.
    CxcywhNormalized,
    /// Corners relative to the model's image, as above.
    XyxyNormalized,
    /// Centre and size in pixels of the input tensor.
    CxcywhPixels,
    /// Corners in pixels of the input tensor.
    XyxyPixels,
    /// Corners in pixels of the original image: the graph was told its size ([`crate::ImageInput::image_size`]) or saw it
    /// ([`crate::ImageInput::frames`]).
    XyxyOriginal,
}

/// From raw class scores to probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "function", rename_all = "snake_case", deny_unknown_fields)]
pub enum Activation {
    /// They are probabilities already.
    None,
    /// Each class by itself.
    Sigmoid,
    /// All classes of a row together.
    Softmax {
        /// Which column means "no object"; it is dropped after the softmax.
        background: Background,
    },
}

/// The column that means "no object".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Background {
    /// There is none.
    None,
    /// The last one.
    Last,
}

/// Which pairs of query and class become detections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum Selection {
    /// The best `count` of all queries × classes: a query may give several detections.
    TopK {
        /// How many are kept.
        count: u32,
    },
    /// The best class of each query.
    PerQuery,
}

/// Which axis of a dense output is the rows'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DenseLayout {
    /// `[b, 4 + C, n]`: Ultralytics from v8 on.
    ChannelsFirst,
    /// `[b, n, 4 + C]`: `YOLOv5`, with objectness.
    RowsFirst,
}
/// What the post-processing of the DETR family takes for a detection where nothing else is said.
fn usual_confidence() -> f32 {
    Head::USUAL_CONFIDENCE
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_usual_confidence(confidence: &f32) -> bool {
    confidence.to_bits() == Head::USUAL_CONFIDENCE.to_bits()
}

impl Head {
    /// The confidence threshold of a head whose reference names no other.
    pub const USUAL_CONFIDENCE: f32 = 0.5;

    /// Queries as nearly every model of the DETR family on the Hugging Face Hub gives them: `logits`, and `pred_boxes` as
    /// centre and size relative to the image.
    pub fn queries(activation: Activation, selection: Selection) -> Self {
        Self::Queries {
            logits: "logits".into(),
            boxes: "pred_boxes".into(),
            format: BoxFormat::CxcywhNormalized,
            activation,
            selection,
            iou: None,
            confidence: Self::USUAL_CONFIDENCE,
        }
    }

    /// What the four numbers of a box are.
    pub fn format(&self) -> BoxFormat {
        match self {
            Self::Queries { format, .. }
            | Self::Dense { format, .. }
            | Self::EndToEnd { format, .. }
            | Self::EndToEndParts { format, .. } => *format,
        }
    }

    /// The outputs that decoding reads, in the order of the fields.
    pub fn outputs(&self) -> Vec<&str> {
        match self {
            Self::Queries { logits, boxes, .. } => vec![logits, boxes],
            Self::Dense { output, .. } | Self::EndToEnd { output, .. } => vec![output],
            Self::EndToEndParts { count, boxes, scores, classes, .. } => count
                .iter()
                .chain([boxes])
                .chain(scores.iter())
                .chain([classes])
                .map(String::as_str)
                .collect(),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let outputs = self.outputs();
        for (index, output) in outputs.iter().enumerate() {
            named("head", output)?;
            if outputs[..index].contains(output) {
                return Err(refused("head", format!("`{output}` twice"), "a different output for each part"));
            }
        }
        match self {
            Self::Queries { selection: Selection::TopK { count: 0 }, .. } => {
                Err(refused("head.selection.count", 0, "at least 1"))
            }
            Self::Queries {
                selection: Selection::TopK { .. },
                activation: Activation::Softmax { .. },
                ..
            } => Err(refused("head.selection", "`top_k` with a softmax", "`per_query`")),
            Self::Dense { activation: Activation::Softmax { .. }, .. } => {
                Err(refused("head.activation", "`softmax`", "`none` or `sigmoid` for a dense head"))
            }
            Self::Dense { iou, confidence, .. } | Self::Queries { iou, confidence, .. } => {
                fraction("head.iou", iou.unwrap_or(0.0))?;
                fraction("head.confidence", *confidence)
            }
            Self::EndToEndParts { confidence, .. } => fraction("head.confidence", *confidence),
            Self::EndToEnd { .. } => Ok(()),
        }
    }
}

fn fraction(field: &str, value: f32) -> Result<(), Error> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(refused(field, value, "a number from 0 to 1")) }
}
