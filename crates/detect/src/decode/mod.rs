//! From output tensors to detections, one file a kind of head.
//!
//! Outputs of a foreign graph are hostile: shapes are checked before anything is indexed, and rows with undefined
//! numbers are left out. A score passes when it is strictly above the threshold, as in the references.

mod dense;
mod end_to_end;
mod queries;

use std::borrow::Cow;

use graph::Tensor;
use serde::{Deserialize, Serialize};

use crate::nms::suppress;
use crate::{BoxFormat, Cxcywh, Detector, Error, Geometry, Head, Xyxy};

/// One object found in an image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Its box in pixels of the original image; may reach beyond the image.
    pub bbox: Xyxy,
    /// Confidence, 0–1.
    pub score: f32,
    /// Its class, an id of [`crate::Labels`].
    pub label: u32,
}

/// What was found in one image, best score first.
pub type Detections = Vec<Detection>;

/// What is kept of a head's rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// A detection's score is above this.
    pub confidence: f32,
    /// A dense head drops a box that overlaps a better one of its class by more than this.
    pub iou: f32,
    /// At most this many detections an image, the best.
    pub max_detections: usize,
    /// Whether boxes are cut at the image's border (Ultralytics does, Hugging Face does not).
    pub clip: bool,
}

impl Thresholds {
    /// What the reference post-processing of this head uses: Ultralytics' numbers for dense heads, the head's own for
    /// queries and parts.
    pub fn for_head(head: &Head) -> Self {
        let base = Self { confidence: Head::USUAL_CONFIDENCE, iou: 0.7, max_detections: 300, clip: false };
        match head {
            Head::Dense { iou, confidence, .. } => {
                Self { confidence: *confidence, iou: iou.unwrap_or(base.iou), clip: true, ..base }
            }
            // Where queries are suppressed, their boxes are also cut at the image's edges.
            Head::Queries { iou, confidence, .. } => {
                Self { confidence: *confidence, iou: iou.unwrap_or(base.iou), clip: iou.is_some(), ..base }
            }
            Head::EndToEnd { .. } => Self { confidence: 0.25, clip: true, ..base },
            Head::EndToEndParts { confidence, clip, .. } => {
                Self { confidence: *confidence, clip: *clip, ..base }
            }
        }
    }

    /// What COCO evaluation wants: everything above 0.001, at most 100 an image.
    pub fn for_evaluation(head: &Head) -> Self {
        Self { confidence: 0.001, max_detections: 100, ..Self::for_head(head) }
    }
}

impl Detector {
    /// Turns one run's outputs into detections, one list a row of the batch.
    ///
    /// `outputs` may hold more than the head reads, in any order; `geometries` are those of
    /// [`crate::preprocess()`]. Rows beyond `geometries` (padding of a fixed batch) are ignored.
    ///
    /// # Errors
    /// [`Error::MissingOutput`], [`Error::OutputShape`] (also for fewer rows than `geometries`, and for fewer classes
    /// than labels), [`Error::Tensor`] for element types that are not numbers.
    pub fn decode(
        &self,
        outputs: &[(String, Tensor)],
        geometries: &[Geometry],
        thresholds: &Thresholds,
    ) -> Result<Vec<Detections>, Error> {
        let outputs = Outputs { all: outputs, batch: geometries.len() };
        let mut images = match &self.head {
            Head::Queries { logits, boxes, format, activation, selection, iou, confidence: _ } => {
                let rows = queries::Rows::read(&outputs, logits, boxes, *activation, self.labels.len())?;
                let place = |row: usize, b: [f32; 4]| to_original(*format, &geometries[row], b);
                let mut images = rows.select(*selection, thresholds, place);
                if iou.is_some() {
                    // Suppression is the head's, its threshold the caller's.
                    images = images.into_iter().map(|found| suppress(found, thresholds.iou)).collect();
                }
                images
            }
            Head::Dense { output, layout, objectness, format, activation, iou, confidence: _ } => {
                let rows = dense::Rows::read(
                    &outputs,
                    output,
                    *layout,
                    *objectness,
                    *activation,
                    self.labels.len(),
                )?;
                let place = |row: usize, b: [f32; 4]| to_original(*format, &geometries[row], b);
                // Suppression is the head's, its threshold the caller's.
                rows.select(iou.map(|_| thresholds.iou), thresholds, place)
            }
            Head::EndToEnd { output, format } => end_to_end::rows(&outputs, output, thresholds, |row, b| {
                to_original(*format, &geometries[row], b)
            })?,
            Head::EndToEndParts { count, boxes, scores, classes, format, .. } => {
                let names =
                    end_to_end::Parts { count: count.as_deref(), boxes, scores: scores.as_deref(), classes };
                names.read(&outputs, thresholds, |row, b| to_original(*format, &geometries[row], b))?
            }
        };
        for (detections, geometry) in images.iter_mut().zip(geometries) {
            finish(detections, geometry, thresholds);
        }
        Ok(images)
    }
}

/// Leaves the best detections with defined boxes, best first; equal scores keep the head's order.
fn finish(detections: &mut Detections, geometry: &Geometry, thresholds: &Thresholds) {
    detections.retain(|detection| detection.bbox.is_finite());
    detections.sort_by(|a, b| b.score.total_cmp(&a.score));
    detections.truncate(thresholds.max_detections);
    if thresholds.clip {
        for detection in detections {
            detection.bbox = detection.bbox.clipped(geometry.original.0, geometry.original.1);
        }
    }
}

fn to_original(format: BoxFormat, geometry: &Geometry, [a, b, c, d]: [f32; 4]) -> Xyxy {
    let corners = Xyxy::new(a, b, c, d);
    let centred = || Xyxy::from(Cxcywh { cx: a, cy: b, w: c, h: d });
    match format {
        BoxFormat::CxcywhNormalized => geometry.from_normalized(centred()),
        BoxFormat::XyxyNormalized => geometry.from_normalized(corners),
        BoxFormat::CxcywhPixels => geometry.from_input_pixels(centred()),
        BoxFormat::XyxyPixels => geometry.from_input_pixels(corners),
        BoxFormat::XyxyOriginal => corners,
    }
}

/// The outputs of a run, looked up and checked by name.
struct Outputs<'a> {
    all: &'a [(String, Tensor)],
    /// Rows that the caller wants.
    batch: usize,
}

/// The values of an output with at least `batch` rows.
struct Values<'a> {
    values: Cow<'a, [f32]>,
    shape: Vec<usize>,
}

impl<'a> Outputs<'a> {
    fn tensor(&self, name: &str) -> Result<&'a Tensor, Error> {
        let found = self.all.iter().find(|(own, _)| own == name);
        found.map(|(_, tensor)| tensor).ok_or_else(|| Error::MissingOutput {
            name: name.to_owned(),
            found: self.all.iter().map(|(name, _)| name.clone()).collect(),
        })
    }

    /// The output, when `fits` accepts its dimensions after the batch and it has rows enough.
    fn values(
        &self,
        name: &str,
        expected: &str,
        fits: impl Fn(&[usize]) -> bool,
    ) -> Result<Values<'a>, Error> {
        let tensor = self.tensor(name)?;
        let shape = tensor.shape();
        let accepted = shape.split_first().is_some_and(|(rows, rest)| *rows >= self.batch && fits(rest));
        if !accepted {
            let expected = format!("{expected} with a batch of at least {}", self.batch);
            return Err(Error::OutputShape { name: name.to_owned(), shape: shape.to_vec(), expected });
        }
        let wrap = |source| Error::Tensor { name: name.to_owned(), source };
        let values = if tensor.dtype() == graph::DataType::F32 {
            tensor.as_f32().map_err(wrap)?
        } else {
            Cow::Owned(tensor.to_f32().map_err(wrap)?)
        };
        Ok(Values { values, shape: shape.to_vec() })
    }
}

impl Values<'_> {
    /// The values of one row of the batch.
    fn row(&self, row: usize) -> &[f32] {
        let len: usize = self.shape[1..].iter().product();
        &self.values[row * len..(row + 1) * len]
    }
}

/// Fewer classes than labels: the labels would name classes that can never be found.
fn check_classes(name: &str, shape: &[usize], classes: usize, labels: usize) -> Result<(), Error> {
    if classes >= labels {
        return Ok(());
    }
    let expected = format!("at least the {labels} classes of the labels, it has {classes}");
    Err(Error::OutputShape { name: name.to_owned(), shape: shape.to_vec(), expected })
}

fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + (-value).exp())
}
