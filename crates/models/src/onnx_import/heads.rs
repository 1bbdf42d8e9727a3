//! Which head a foreign graph has, told by its outputs: names, shapes, types, and what the files beside it say.
//!
//! One pair of names is ambiguous: `dets` and `labels` are boxes and class logits in Roboflow's exports, boxes with
//! scores and class *ids* in `MMDetection`'s. The last dimension and the element type decide, never the names.

use std::str::FromStr;

use detect::{Activation, Background, BoxFormat, DenseLayout, Head, Selection};
use graph::{DataType, Dim, Model, ValueInfo};

use super::inputs::describe;
use super::ultralytics::Ultralytics;
use crate::Error;

/// Which head a graph has, where it cannot be derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadKind {
    /// Class logits with a sigmoid each, and boxes (centre, size; normalized).
    QueriesSigmoid,
    /// Class logits with a softmax whose last column is "no object", and boxes.
    QueriesSoftmax,
    /// One output `[batch, 4 + classes, rows]` without objectness (Ultralytics).
    Yolo,
    /// One output `[batch, rows, 5 + classes]` with objectness (`YOLOv5`).
    Yolov5,
    /// One output `[batch, rows, 6]`: corners in pixels, score, class.
    EndToEnd,
}

/// Every kind with its name on the command line.
const KINDS: &[(&str, HeadKind)] = &[
    ("queries-sigmoid", HeadKind::QueriesSigmoid),
    ("queries-softmax", HeadKind::QueriesSoftmax),
    ("yolo", HeadKind::Yolo),
    ("yolov5", HeadKind::Yolov5),
    ("end-to-end", HeadKind::EndToEnd),
];

impl HeadKind {
    /// The names of all kinds.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|row| row.0)
    }
}

impl FromStr for HeadKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        KINDS
            .iter()
            .find(|row| row.0 == name)
            .map(|row| row.1)
            .ok_or_else(|| format!("`{name}` is none of {}", Self::names().collect::<Vec<_>>().join(", ")))
    }
}

/// What is known beside the outputs.
pub(super) struct Evidence<'a> {
    pub(super) model_type: Option<&'a str>,
    pub(super) use_focal_loss: bool,
    pub(super) num_queries: Option<u32>,
    pub(super) ultralytics: Option<&'a Ultralytics>,
    pub(super) from_tao: bool,
    pub(super) told_size: bool,
    /// Number of class ids that have names.
    pub(super) classes: usize,
}

/// Boxes and confidence of the frameworks, where the user says nothing.
const YOLO_IOU: f32 = 0.7;
const YOLOV5_IOU: f32 = 0.45;
const CONFIDENCE: f32 = 0.25;
/// Queries of the DETR family when neither graph nor configuration says how many.
const QUERIES: u32 = 300;
/// Detections that Deformable DETR and its relatives keep.
const DEFORMABLE_COUNT: u32 = 100;
/// Most rows of an output that is suppressed already; more are cells.
const SUPPRESSED_ROWS: usize = 1000;

/// Families whose scores have a column for "no object".
const SOFTMAX: &[&str] = &["detr", "table_transformer", "yolos"];
/// Families that keep 100 pairs of query and class.
const DEFORMABLE: &[&str] = &["conditional_detr", "deformable_detr", "dab_detr", "lw_detr"];
/// Families that keep as many pairs as there are queries.
const SIGMOID: &[&str] = &["rt_detr", "rt_detr_v2", "d_fine", "deimv2", "rf_detr"];

/// The head of a graph.
///
/// # Errors
/// [`Error::UnsupportedHead`] for a family that cannot be expressed, [`Error::Underivable`] otherwise.
pub(super) fn derive(
    model: &Model,
    wanted: Option<HeadKind>,
    evidence: &Evidence<'_>,
) -> Result<Head, Error> {
    let outputs = Outputs(&model.graph.outputs);
    if let Some(kind) = wanted {
        return outputs.as_kind(kind, evidence);
    }
    outputs.refuse_known()?;
    let rules = [
        Outputs::counted,
        Outputs::detr,
        Outputs::dets_and_labels,
        Outputs::original_pixels,
        Outputs::single,
    ];
    for rule in rules {
        if let Some(head) = rule(&outputs, evidence)? {
            return Ok(head);
        }
    }
    Err(outputs.underivable("no known head has these outputs"))
}

struct Outputs<'a>(&'a [ValueInfo]);

type Found = Result<Option<Head>, Error>;

impl Outputs<'_> {
    fn get(&self, names: &[&str]) -> Option<&ValueInfo> {
        self.0.iter().find(|output| names.contains(&output.name.as_str()))
    }

    fn underivable(&self, reason: &str) -> Error {
        let outputs: Vec<String> = self.0.iter().map(describe).collect();
        Error::Underivable {
            what: "the head",
            reason: format!("{reason}: {}", outputs.join(", ")),
            option: "--head queries-sigmoid|queries-softmax|yolo|yolov5|end-to-end",
        }
    }

    /// Families whose outputs no [`Head`] can express.
    fn refuse_known(&self) -> Result<(), Error> {
        let has = |part: &str| self.0.iter().any(|output| output.name.starts_with(part));
        if has("output_bbox/BiasAdd") && has("output_cov/Sigmoid") {
            return Err(Error::UnsupportedHead {
                family: "DetectNet_v2",
                reason: "it predicts coverage and offsets on a grid, which are clustered outside the graph"
                    .into(),
            });
        }
        if self.0.iter().any(|output| output.name.starts_with("text_embeds")) {
            return Err(Error::UnsupportedHead { family: "OWL-ViT", reason: "its classes are texts".into() });
        }
        Ok(())
    }

    /// `EfficientNMS` and its relatives: how many, boxes, scores, classes.
    #[expect(clippy::unnecessary_wraps, reason = "one signature for all rules")]
    fn counted(&self, _: &Evidence<'_>) -> Found {
        let parts = (
            self.get(&["num_dets", "num_detections"]),
            self.get(&["det_boxes", "detection_boxes"]),
            self.get(&["det_scores", "detection_scores"]),
            self.get(&["det_classes", "detection_classes"]),
        );
        let (Some(count), Some(boxes), Some(scores), Some(classes)) = parts else { return Ok(None) };
        Ok(Some(Head::EndToEndParts {
            count: Some(count.name.clone()),
            boxes: boxes.name.clone(),
            scores: Some(scores.name.clone()),
            classes: classes.name.clone(),
            format: BoxFormat::XyxyPixels,
            confidence: Head::USUAL_CONFIDENCE,
            clip: false,
        }))
    }

    /// Class logits and boxes by the names of transformers, or of the DETR repositories and TAO.
    fn detr(&self, evidence: &Evidence<'_>) -> Found {
        let (Some(logits), Some(boxes)) = (self.get(&["logits", "pred_logits"]), self.get(&["pred_boxes"]))
        else {
            return Ok(None);
        };
        let queries = evidence.num_queries.or(queries(logits)).unwrap_or(QUERIES);
        let activation = match evidence.model_type {
            Some(family) if SOFTMAX.contains(&family) => Activation::Softmax { background: Background::Last },
            Some(family) if SIGMOID.contains(&family) && !evidence.use_focal_loss => {
                Activation::Softmax { background: Background::Last }
            }
            Some(family) if SIGMOID.contains(&family) || DEFORMABLE.contains(&family) => Activation::Sigmoid,
            _ if evidence.from_tao => Activation::Sigmoid,
            _ => {
                let reason = "nothing says whether the scores need a sigmoid or a softmax";
                return Err(self.underivable(reason));
            }
        };
        let keeps_hundred = evidence.model_type.is_some_and(|family| DEFORMABLE.contains(&family));
        let count = if keeps_hundred { DEFORMABLE_COUNT } else { queries };
        Ok(Some(queries_head(logits, boxes, activation, count)))
    }

    /// The ambiguous pair.
    fn dets_and_labels(&self, evidence: &Evidence<'_>) -> Found {
        let (Some(dets), Some(labels)) = (self.get(&["dets"]), self.get(&["labels"])) else {
            return Ok(None);
        };
        let is_id = matches!(labels.dtype, Some(DataType::I64 | DataType::I32));
        match (last(dets), is_id) {
            (Some(5), _) => Ok(Some(Head::EndToEndParts {
                count: None,
                boxes: dets.name.clone(),
                scores: None,
                classes: labels.name.clone(),
                format: BoxFormat::XyxyPixels,
                confidence: Head::USUAL_CONFIDENCE,
                clip: false,
            })),
            (Some(4), false) => {
                let count = evidence.num_queries.or(queries(dets)).unwrap_or(QUERIES);
                Ok(Some(queries_head(labels, dets, Activation::Sigmoid, count)))
            }
            _ => {
                Err(self.underivable("`dets` and `labels` are neither logits with boxes nor ids with scores"))
            }
        }
    }

    /// RT-DETR's and D-FINE's own repositories: the graph is told the size of the original image.
    fn original_pixels(&self, evidence: &Evidence<'_>) -> Found {
        let parts = (self.get(&["boxes"]), self.get(&["scores"]), self.get(&["labels"]));
        let (Some(boxes), Some(scores), Some(labels)) = parts else { return Ok(None) };
        if !evidence.told_size {
            return Err(self.underivable("nothing says what the numbers of `boxes` are relative to"));
        }
        Ok(Some(Head::EndToEndParts {
            count: None,
            boxes: boxes.name.clone(),
            scores: Some(scores.name.clone()),
            classes: labels.name.clone(),
            format: BoxFormat::XyxyOriginal,
            confidence: Head::USUAL_CONFIDENCE,
            clip: false,
        }))
    }

    /// One output of rows. The program that wrote it says more than the shape: two classes also make six numbers.
    fn single(&self, evidence: &Evidence<'_>) -> Found {
        let [output] = self.0 else { return Ok(None) };
        let Some([_, middle, last]) = output.shape.as_deref() else { return Ok(None) };
        let (middle, last) = (middle.fixed(), last.fixed());
        let name = output.name.clone();
        let classes = evidence.classes;
        let is_rt_detr = evidence.ultralytics.is_some_and(|their| their.is_rt_detr);
        let rows_are_few = middle.is_none_or(|rows| rows <= SUPPRESSED_ROWS);
        let says_suppressed = evidence.ultralytics.is_some_and(|their| their.end_to_end || their.suppressed);
        let format = if is_rt_detr { BoxFormat::CxcywhNormalized } else { BoxFormat::XyxyPixels };

        if is_rt_detr && last == Some(4 + classes) && classes != 2 {
            return Ok(Some(dense(&name, DenseLayout::RowsFirst, false, format, None)));
        }
        if last == Some(6) && rows_are_few && (says_suppressed || is_rt_detr || classes != 2) {
            return Ok(Some(Head::EndToEnd { output: name, format }));
        }
        let pixels = BoxFormat::CxcywhPixels;
        match (middle, last) {
            (Some(numbers), _) if numbers == 4 + classes => {
                Ok(Some(dense(&name, DenseLayout::ChannelsFirst, false, pixels, Some(YOLO_IOU))))
            }
            (_, Some(numbers)) if numbers == 5 + classes => {
                Ok(Some(dense(&name, DenseLayout::RowsFirst, true, pixels, Some(YOLOV5_IOU))))
            }
            _ => {
                let reason = format!("one output that does not fit {classes} classes");
                Err(self.underivable(&reason))
            }
        }
    }

    /// The head that the user named.
    fn as_kind(&self, kind: HeadKind, evidence: &Evidence<'_>) -> Result<Head, Error> {
        let refuse = |reason: &str| Err(self.underivable(reason));
        let single = || match self.0 {
            [output] => Some(output.name.clone()),
            _ => None,
        };
        match kind {
            HeadKind::QueriesSigmoid | HeadKind::QueriesSoftmax => {
                let is_boxes = |output: &&ValueInfo| last(output) == Some(4);
                let by_name = |output: &&ValueInfo| output.name.contains("box") || output.name == "dets";
                let boxes =
                    self.0.iter().filter(is_boxes).find(by_name).or_else(|| self.0.iter().find(is_boxes));
                let logits = self.0.iter().find(|output| {
                    output.dtype.is_some_and(DataType::is_float)
                        && output.shape.as_ref().is_some_and(|shape| shape.len() == 3)
                        && boxes.is_some_and(|boxes| boxes.name != output.name)
                });
                let (Some(boxes), Some(logits)) = (boxes, logits) else {
                    return refuse(
                        "the wanted head needs logits [batch, queries, classes] and boxes [batch, queries, 4]",
                    );
                };
                let activation = match kind {
                    HeadKind::QueriesSoftmax => Activation::Softmax { background: Background::Last },
                    _ => Activation::Sigmoid,
                };
                let count = evidence.num_queries.or(queries(logits)).unwrap_or(QUERIES);
                Ok(queries_head(logits, boxes, activation, count))
            }
            HeadKind::Yolo | HeadKind::Yolov5 | HeadKind::EndToEnd => {
                let Some(name) = single() else { return refuse("the wanted head has one output") };
                let pixels = BoxFormat::CxcywhPixels;
                Ok(match kind {
                    HeadKind::Yolo => dense(&name, DenseLayout::ChannelsFirst, false, pixels, Some(YOLO_IOU)),
                    HeadKind::Yolov5 => dense(&name, DenseLayout::RowsFirst, true, pixels, Some(YOLOV5_IOU)),
                    _ => Head::EndToEnd { output: name, format: BoxFormat::XyxyPixels },
                })
            }
        }
    }
}

/// The number of class ids that the head has room for, where its outputs say so.
pub(super) fn classes(model: &Model, head: &Head) -> Option<usize> {
    let Head::Queries { logits, activation, .. } = head else { return None };
    let columns = last(model.graph.outputs.iter().find(|output| output.name == *logits)?)?;
    Some(match activation {
        Activation::Softmax { background: Background::Last } => columns.saturating_sub(1),
        _ => columns,
    })
}

fn queries_head(logits: &ValueInfo, boxes: &ValueInfo, activation: Activation, count: u32) -> Head {
    let selection = match activation {
        Activation::Softmax { .. } => Selection::PerQuery,
        _ => Selection::TopK { count },
    };
    Head::Queries {
        logits: logits.name.clone(),
        boxes: boxes.name.clone(),
        format: BoxFormat::CxcywhNormalized,
        activation,
        selection,
        iou: None,
        confidence: Head::USUAL_CONFIDENCE,
    }
}

fn dense(output: &str, layout: DenseLayout, objectness: bool, format: BoxFormat, iou: Option<f32>) -> Head {
    Head::Dense {
        output: output.to_owned(),
        layout,
        objectness,
        format,
        activation: Activation::None,
        iou,
        confidence: CONFIDENCE,
    }
}

fn last(output: &ValueInfo) -> Option<usize> {
    output.shape.as_ref()?.last()?.fixed()
}

fn queries(output: &ValueInfo) -> Option<u32> {
    let rows = output.shape.as_ref()?.get(1).and_then(Dim::fixed)?;
    u32::try_from(rows).ok().filter(|rows| *rows > 0)
}
