//! Suppression behind a network: four outputs of fixed size, whatever the head gives.
//!
//! The detections are those that [`Detector::decode`] leaves: one class a row for dense heads, suppression class by class.

use graph::{Attribute, Builder, DataType, Dim, Model, Shapes, Value};
use serde::{Deserialize, Serialize};

use super::boxes::first_four;
use super::{Output, PRODUCER, SUPPRESSION, builder, cornered, corners, fixed, from, output, refused};
use crate::{Activation, Background, DenseLayout, Detector, Error, Head, Selection, Thresholds};

/// Most rows that are sorted or suppressed: TensorRT sorts fewer than 3840.
pub const MOST_ROWS: usize = 3839;

/// Most classes that are moved apart for suppression: the farthest boxes then keep a hundredth of a pixel. More are suppressed
/// one by one.
const MOST_APART: usize = 128;

/// The outputs.
const COUNT: &str = "num_dets";
const BOXES: &str = "det_boxes";
const SCORES: &str = "det_scores";
const CLASSES: &str = "det_classes";

/// How boxes are suppressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuppressionForm {
    /// ONNX's `NonMaxSuppression`: ONNX Runtime, and TensorRT from 8.6 on.
    Onnx,
    /// The plug-in `EfficientNMS_TRT`: TensorRT up to 10.
    TensorRt,
}

/// What is left of the boxes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppression {
    /// The operator; heads that need no suppression use neither.
    pub form: SuppressionForm,
    /// A detection's score is above this.
    pub confidence: f32,
    /// A box that overlaps a better one by more than this is dropped.
    pub iou: f32,
    /// Most detections an image, and the number of rows that come out, unless the head has fewer.
    pub top_k: usize,
    /// Whether boxes of different classes suppress each other.
    pub class_agnostic: bool,
}

impl Suppression {
    /// The usual numbers: confidence 0.25, `IoU` 0.45, 100 detections, class by class.
    pub fn new(form: SuppressionForm) -> Self {
        Self { form, confidence: 0.25, iou: 0.45, top_k: 100, class_agnostic: false }
    }

    fn validate(&self) -> Result<(), Error> {
        let fraction = |name: &str, value: f32| {
            let inside = (0.0..=1.0).contains(&value);
            if inside {
                Ok(())
            } else {
                Err(refused(SUPPRESSION, format!("{name} {value} is not from 0 to 1")))
            }
        };
        fraction("confidence", self.confidence)?;
        fraction("IoU", self.iou)?;
        if (1..=MOST_ROWS).contains(&self.top_k) {
            return Ok(());
        }
        Err(refused(SUPPRESSION, format!("{} detections an image are not from 1 to {MOST_ROWS}", self.top_k)))
    }
}

/// The model whose outputs are detections, and its description. Outputs are `num_dets` int32 `[batch, 1]`, `det_boxes`
/// `[batch, k, 4]` (corners), `det_scores` `[batch, k]` and `det_classes` int32 `[batch, k]`, best first; rows beyond
/// `num_dets` are 0. Other outputs of the model go. A head that is end to end already is left as it is.
///
/// # Errors
/// [`Error::InGraph`] for a graph of another operator set than 16 to 22, for numbers out of range, for outputs of unknown or
/// unfitting sizes; [`Error::Graph`].
pub fn suppress_in_graph(
    model: Model,
    detector: &Detector,
    options: &Suppression,
) -> Result<(Model, Detector), Error> {
    detector.validate()?;
    options.validate()?;
    let heads = Heads { model: &model, shapes: Shapes::infer(&model, 1), detector, options };
    let (back, pairs) = match &detector.head {
        Head::Queries { .. } => heads.queries()?,
        Head::Dense { .. } => heads.dense()?,
        Head::EndToEnd { .. } | Head::EndToEndParts { .. } => return Ok((model, detector.clone())),
    };
    let head = Head::EndToEndParts {
        count: Some(COUNT.into()),
        boxes: BOXES.into(),
        scores: Some(SCORES.into()),
        classes: CLASSES.into(),
        format: cornered(detector.head.format()),
        confidence: options.confidence,
        clip: Thresholds::for_head(&detector.head).clip,
    };
    let described = Detector { head, ..detector.clone() };
    described.validate()?;
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    let mut model = model;
    model.graph.outputs.retain(|output| pairs.iter().any(|(from, _)| *from == output.name));
    let mut joined = model.followed_by(back, &pairs)?;
    joined.metadata.insert(Detector::METADATA_KEY.into(), described.to_json());
    Ok((joined, described))
}

/// Rows that take part: boxes `[b, n, 4]` (corners), scores `[b, n]`, classes int64 `[b, n]`.
struct Rows {
    boxes: Value,
    scores: Value,
    classes: Value,
    count: usize,
}

impl Rows {
    /// The best `count` rows, best first.
    fn best(&self, b: &mut Builder, count: usize) -> Self {
        let (scores, at) = b.top_k(&self.scores, count, 1);
        Self {
            boxes: b.gather_rows(&self.boxes, &at),
            classes: b.gather_elements(&self.classes, &at, 1),
            scores,
            count,
        }
    }
}

type Made = (Model, Vec<(String, String)>);

struct Heads<'a> {
    model: &'a Model,
    shapes: Shapes,
    detector: &'a Detector,
    options: &'a Suppression,
}

impl Heads<'_> {
    /// Declares an output of the network as an input, in `float32`.
    fn input(&self, b: &mut Builder, name: &str) -> Result<(Value, (String, String)), Error> {
        let Output { dtype, shape } = output(self.model, &self.shapes, name, 3, SUPPRESSION)?;
        let inner = format!("{name}_of_network");
        let raw = b.input(&inner, dtype, shape);
        Ok((b.cast(&raw, DataType::F32), (name.to_owned(), inner)))
    }

    fn dense(&self) -> Result<Made, Error> {
        let Head::Dense { output, layout, objectness, format, activation, iou, .. } = &self.detector.head
        else {
            return Err(refused(SUPPRESSION, "the head is not dense"));
        };
        let mut b = builder(self.model, "suppression", SUPPRESSION)?;
        let (raw, pair) = self.input(&mut b, output)?;
        let columns_axis = if *layout == DenseLayout::ChannelsFirst { 1 } else { 2 };
        let count =
            fixed(&raw.shape()[3 - columns_axis], SUPPRESSION, &format!("the number of rows of `{output}`"))?;
        let first = 4 + usize::from(*objectness);
        if let Some(columns) = raw.shape()[columns_axis].fixed() {
            self.check_classes(columns.saturating_sub(first))?;
        }
        let (rows, classes) = b.scoped("suppression", |b| {
            let axis = columns_axis as i64;
            let flat = |b: &mut Builder, x: &Value| {
                if columns_axis == 1 { b.transpose(x, &[0, 2, 1]) } else { x.clone() }
            };
            let raw_scores = from(b, &raw, columns_axis, first);
            // The activation keeps the order of scores, so it is applied to the best only.
            let best = b.reduce_max(&raw_scores, &[axis], false);
            let mut scores = activate(b, &best, *activation);
            let rows = flat(b, &raw);
            if *objectness {
                let own = from(b, &rows, 2, 4);
                let position = b.integers(&[], vec![0]);
                let own = b.gather(&own, &position, 2);
                let own = activate(b, &own, *activation);
                scores = b.mul(&own, &scores);
            }
            let classes = b.arg_max(&raw_scores, axis);
            let boxes = first_four(b, &rows);
            let ids = ids(b, &raw_scores, columns_axis);
            (Rows { boxes: corners(b, &boxes, *format), scores, classes, count }, ids)
        });
        b.scoped("suppression", |b| self.finish(b, rows, &classes, iou.is_some()));
        Ok((b.finish(PRODUCER, "")?, vec![pair]))
    }

    fn queries(&self) -> Result<Made, Error> {
        let Head::Queries { logits, boxes, format, activation, selection, iou, .. } = &self.detector.head
        else {
            return Err(refused(SUPPRESSION, "the head has no queries"));
        };
        let mut b = builder(self.model, "suppression", SUPPRESSION)?;
        let (raw, logits_pair) = self.input(&mut b, logits)?;
        let (raw_boxes, boxes_pair) = self.input(&mut b, boxes)?;
        let queries = fixed(&raw.shape()[1], SUPPRESSION, &format!("the number of queries of `{logits}`"))?;
        let columns = fixed(&raw.shape()[2], SUPPRESSION, &format!("the number of classes of `{logits}`"))?;
        let background = *activation == Activation::Softmax { background: Background::Last };
        let classes = columns - usize::from(background);
        self.check_classes(classes)?;
        if raw_boxes.shape()[1..] != [Dim::Fixed(queries), Dim::Fixed(4)] {
            return Err(refused(SUPPRESSION, format!("output `{boxes}` is not [batch, {queries}, 4]")));
        }
        let rows = b.scoped("suppression", |b| {
            let boxes = corners(b, &raw_boxes, *format);
            let mut scores = activate(b, &raw, *activation);
            if background {
                scores = b.slice(&scores, 2, 0, classes);
            }
            match selection {
                Selection::PerQuery => {
                    let best = b.reduce_max(&scores, &[2], false);
                    let classes = b.arg_max(&scores, 2);
                    Rows { boxes, scores: best, classes, count: queries }
                }
                Selection::TopK { count } => {
                    let count = (*count as usize).min(queries.saturating_mul(classes)).min(MOST_ROWS);
                    best_pairs(b, &boxes, &scores, classes, count)
                }
            }
        });
        let ids = b.integers(&[classes], (0..classes as i64).collect());
        b.scoped("suppression", |b| self.finish(b, rows, &ids, iou.is_some()));
        Ok((b.finish(PRODUCER, "")?, vec![logits_pair, boxes_pair]))
    }

    /// Fewer classes than labels: the description belongs to another graph.
    fn check_classes(&self, classes: usize) -> Result<(), Error> {
        let labels = self.detector.labels.len();
        if classes >= labels.max(1) {
            return Ok(());
        }
        Err(refused(SUPPRESSION, format!("the graph has {classes} classes, the labels are {labels}")))
    }

    /// The outputs from rows that are not suppressed yet. `ids` are the numbers of all classes.
    fn finish(&self, b: &mut Builder, rows: Rows, ids: &Value, suppressed: bool) {
        let top_k = self.options.top_k.min(rows.count);
        let batch = rows.scores.shape()[0].clone();
        if suppressed && self.options.form == SuppressionForm::TensorRt {
            self.plugin(b, &rows, ids, top_k, &batch);
            return;
        }
        let rows = if suppressed {
            let rows = if rows.count > MOST_ROWS { rows.best(b, MOST_ROWS) } else { rows };
            let scores = self.onnx(b, &rows, ids, top_k, &batch);
            Rows { scores, ..rows }
        } else {
            rows
        };
        let best = rows.best(b, top_k);
        // Without suppression the threshold is applied here; suppressed rows have score 0, whatever the threshold.
        let least = if suppressed { 0.0 } else { self.options.confidence };
        let (least, zero, none) = (b.scalar(least), b.scalar(0.0), b.whole(0, DataType::I32));
        let real = b.greater(&best.scores, &least);
        let counted = b.cast(&real, DataType::I32);
        let count = b.reduce_sum(&counted, &[1], true);
        let scores = b.select(&real, &best.scores, &zero);
        let classes = b.cast(&best.classes, DataType::I32);
        let classes = b.select(&real, &classes, &none);
        let real = b.unsqueeze(&real, &[2]);
        let boxes = b.select(&real, &best.boxes, &zero);
        for (name, value) in [(COUNT, &count), (BOXES, &boxes), (SCORES, &scores), (CLASSES, &classes)] {
            b.output(name, value);
        }
    }

    /// The scores of the rows that `NonMaxSuppression` keeps, 0 for the others.
    ///
    /// A row has one class, so (image, row) names a box, and the list of unknown length goes back into a table of fixed size.
    fn onnx(&self, b: &mut Builder, rows: &Rows, ids: &Value, top_k: usize, batch: &Dim) -> Value {
        let row_scores = b.unsqueeze(&rows.scores, &[1]);
        let few = ids.shape().first().and_then(Dim::fixed).is_some_and(|classes| classes <= MOST_APART);
        let (boxes, scores) = if self.options.class_agnostic {
            (rows.boxes.clone(), row_scores)
        } else if few {
            (apart(b, rows, self.options.confidence), row_scores)
        } else {
            let own = b.unsqueeze(&rows.classes, &[1]);
            let all = b.unsqueeze(ids, &[0, 2]);
            (rows.boxes.clone(), only_own(b, &own, &all, &row_scores))
        };
        let most = b.ints(&[top_k as i64]);
        let thresholds = [self.options.iou, self.options.confidence].map(|value| b.floats(&[1], vec![value]));
        let kept = Dim::Symbol("kept".into());
        let selected = b.operator(
            "NonMaxSuppression",
            &[&boxes, &scores, &most, &thresholds[0], &thresholds[1]],
            [],
            DataType::I64,
            vec![kept.clone(), 3.into()],
        );
        let places = b.take(&selected, &[0, 2], 1);
        let found = b.operator("GatherND", &[&rows.scores, &places], [], DataType::F32, vec![kept]);
        let shape = b.shape_of(&rows.scores);
        let size = vec![batch.clone(), rows.count.into()];
        let nothing = b.operator("ConstantOfShape", &[&shape], [], DataType::F32, size.clone());
        b.operator("ScatterND", &[&nothing, &places, &found], [], DataType::F32, size)
    }

    /// The plug-in takes every pair of row and class, so all but the best class of a row have score 0.
    fn plugin(&self, b: &mut Builder, rows: &Rows, ids: &Value, top_k: usize, batch: &Dim) {
        let own = b.unsqueeze(&rows.classes, &[2]);
        let all = b.unsqueeze(ids, &[0, 1]);
        let row_scores = b.unsqueeze(&rows.scores, &[2]);
        let scores = only_own(b, &own, &all, &row_scores);
        let mut attributes = vec![
            ("plugin_version", Attribute::from("1")),
            ("plugin_namespace", Attribute::from("")),
            ("score_threshold", self.options.confidence.into()),
            ("iou_threshold", self.options.iou.into()),
            ("max_output_boxes", (top_k as i64).into()),
            ("background_class", (-1_i64).into()),
            ("score_activation", 0_i64.into()),
            ("box_coding", 0_i64.into()),
        ];
        // Not known to the plug-in of TensorRT 8.4 and before.
        if self.options.class_agnostic {
            attributes.push(("class_agnostic", 1_i64.into()));
        }
        let row = vec![batch.clone(), top_k.into()];
        let outputs = vec![
            (DataType::I32, vec![batch.clone(), 1.into()]),
            (DataType::F32, vec![batch.clone(), top_k.into(), 4.into()]),
            (DataType::F32, row.clone()),
            (DataType::I32, row),
        ];
        let made = b.foreign(("TRT", 1), "EfficientNMS_TRT", &[&rows.boxes, &scores], attributes, outputs);
        for (name, value) in [COUNT, BOXES, SCORES, CLASSES].into_iter().zip(&made) {
            b.output(name, value);
        }
    }
}

/// The numbers of the classes of `scores`, which lie along `axis`.
fn ids(b: &mut Builder, scores: &Value, axis: usize) -> Value {
    let length = scores.shape()[axis].clone();
    if let Some(count) = length.fixed() {
        return b.integers(&[count], (0..count as i64).collect());
    }
    let (shape, position) = (b.shape_of(scores), b.integers(&[], vec![axis as i64]));
    let count = b.gather(&shape, &position, 0);
    b.range(&count, length)
}

/// The boxes, those of each class where no other class has any. Libraries take the classes one after the other: for 80 of them
/// that is 80 times the work, and on a graphics processor longer than the network.
///
/// Boxes below the confidence are not asked how far they reach: they may reach anywhere.
fn apart(b: &mut Builder, rows: &Rows, confidence: f32) -> Value {
    let (threshold, zero) = (b.scalar(confidence), b.scalar(0.0));
    let real = b.greater(&rows.scores, &threshold);
    let real = b.unsqueeze(&real, &[2]);
    let boxes = b.select(&real, &rows.boxes, &zero);
    let (least, most) = (b.reduce_min(&boxes, &[1, 2], true), b.reduce_max(&boxes, &[1, 2], true));
    let (span, one) = (b.sub(&most, &least), b.scalar(1.0));
    let step = b.add(&span, &one);
    let classes = b.cast(&rows.classes, DataType::F32);
    let classes = b.unsqueeze(&classes, &[2]);
    let moved = b.mul(&classes, &step);
    b.add(&rows.boxes, &moved)
}

/// The score where the class is the row's own, else 0.
fn only_own(b: &mut Builder, own: &Value, all: &Value, score: &Value) -> Value {
    let zero = b.scalar(0.0);
    let same = b.equal(own, all);
    b.select(&same, score, &zero)
}

/// The best pairs of query and class.
fn best_pairs(b: &mut Builder, boxes: &Value, scores: &Value, classes: usize, count: usize) -> Rows {
    let flat = b.flatten_from(scores, 1);
    let (best, at) = b.top_k(&flat, count, 1);
    let width = b.integers(&[], vec![classes as i64]);
    let query = b.div(&at, &width);
    let start = b.mul(&query, &width);
    let classes = b.sub(&at, &start);
    Rows { boxes: b.gather_rows(boxes, &query), scores: best, classes, count }
}

fn activate(b: &mut Builder, x: &Value, activation: Activation) -> Value {
    match activation {
        Activation::None => x.clone(),
        Activation::Sigmoid => b.sigmoid(x),
        Activation::Softmax { .. } => b.softmax(x, -1),
    }
}
