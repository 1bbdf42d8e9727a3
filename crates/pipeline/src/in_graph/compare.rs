//! Whether a graph with more inside finds what the plain one finds with the code around it.

use std::path::Path;

use deploy::Precision;
use detect::in_graph::{PluginCut, Suppression};
use detect::metrics::{Agreement, AgreementBounds};
use detect::{Detections, Detector, Frames, Head, Image, Thresholds, preprocess, suppress_all};
use graph::{Model, Tensor};
use runtime::{LoadOptions, OnnxSource, Session};
use serde::Serialize;

use super::{InGraph, Proving};
use crate::bounds::Bounds;
use crate::images::turned;
use crate::network::{Network, Outputs};
use crate::{Error, Event, Subject};

/// How a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every detection was found again.
    Pass,
    /// One was missed, moved or rescored, or there was one more.
    Fail,
    /// Not compared, or there was nothing to find.
    NotRun,
}

/// What both found.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// How it ended.
    pub verdict: Verdict,
    /// Why it was not run, or shows nothing.
    pub reason: Option<String>,
    /// Where both graphs ran.
    pub backend: String,
    /// Whether TensorRT's plug-in was computed from its documentation, because no backend here has it.
    pub stand_in: bool,
    /// Images that were compared.
    pub images: usize,
    /// What may differ.
    pub bounds: AgreementBounds,
    /// What differed, over all rows of all runs.
    #[serde(flatten)]
    pub agreement: Agreement,
}

impl Found {
    pub(super) fn not_run(reason: &str, proving: &Proving<'_>) -> Self {
        Self {
            verdict: Verdict::NotRun,
            reason: Some(reason.to_owned()),
            backend: proving.backend.to_owned(),
            stand_in: false,
            images: 0,
            bounds: bounds(None),
            agreement: Agreement::EMPTY,
        }
    }
}

/// Both are fp32 or the same rounding: only the order of operations may differ. Near the threshold of a suppression, a
/// rounding decides whether there is a detection.
fn bounds(suppression: Option<&Suppression>) -> AgreementBounds {
    let fp32 = Bounds::of(Precision::Fp32);
    AgreementBounds {
        confidence: suppression.map_or(fp32.confidence, |options| options.confidence + fp32.score),
        moved_iou: fp32.iou,
        score_difference: fp32.score,
        ..AgreementBounds::default()
    }
}

/// Runs both on every image; `file` holds the new graph, which is `model`, with its description.
pub(super) fn compare(
    subject: &Subject,
    wanted: &InGraph,
    model: &Model,
    (file, detector): (&Path, &Detector),
    proving: &Proving<'_>,
    tell: &dyn Fn(Event<'_>),
) -> Result<Found, Error> {
    let bounds = bounds(wanted.suppression.as_ref());
    let mut plain = Plain {
        network: Network::load(&subject.onnx, &subject.detector, proving.backend, None)?,
        rows: fixed_batch(subject)?,
        subject,
        suppression: wanted.suppression.as_ref(),
        bounds: &bounds,
    };
    let thresholds = plain.thresholds(detector);
    let mut new = Graph::load(model, file, detector, proving.backend)?;
    let fixed = batch_of(model, detector);
    let mut agreement = Agreement::EMPTY;
    let total = proving.images.images.len();
    for (done, image) in proving.images.images.iter().enumerate() {
        tell(Event::Progress { step: "optimize", unit: "images", done: done as u64, total: total as u64 });
        let image = image.decode()?;
        // Two rows that differ show whether rows are mixed up; frames of one batch are of one size.
        let rows = fixed.unwrap_or(if done == 0 { 2 } else { 1 });
        let kinds = if rows > 1 { vec![turned(&image)?] } else { Vec::new() };
        let kinds: Vec<Image> = std::iter::once(image).chain(kinds).collect();
        let expected = kinds
            .iter()
            .map(|image| plain.found(image, wanted.frames.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        let batch: Vec<&Image> = kinds.iter().cycle().take(rows).collect();
        for (found, expected) in new.found(&batch, &thresholds)?.iter().zip(expected.iter().cycle()) {
            agreement.merge(&Agreement::new(expected, found, &bounds));
        }
    }
    let nothing = agreement.matched == 0 && agreement.is_complete();
    Ok(Found {
        verdict: match (nothing, agreement.is_complete()) {
            (true, _) => Verdict::NotRun,
            (false, true) => Verdict::Pass,
            (false, false) => Verdict::Fail,
        },
        reason: nothing.then(|| "nothing was found on these images, by neither graph".to_owned()),
        backend: proving.backend.to_owned(),
        stand_in: matches!(new, Graph::Cut { .. }),
        images: total,
        bounds,
        agreement,
    })
}

/// The batch that a graph's image input is fixed to.
fn batch_of(model: &Model, detector: &Detector) -> Option<usize> {
    let input = model.graph.inputs.iter().find(|input| input.name == detector.input.tensor)?;
    input.shape.as_ref()?.first()?.fixed()
}

fn fixed_batch(subject: &Subject) -> Result<usize, Error> {
    let model = graph::onnx::read_structure(crate::map_file(&subject.onnx)?)?;
    Ok(batch_of(&model, &subject.detector).unwrap_or(1))
}

/// The model as it was, with the code around it.
struct Plain<'a> {
    network: Network<'a>,
    /// Images that the graph takes at a time.
    rows: usize,
    subject: &'a Subject,
    suppression: Option<&'a Suppression>,
    bounds: &'a AgreementBounds,
}

impl Plain<'_> {
    /// What is kept of what a graph of this description gives.
    fn thresholds(&self, detector: &Detector) -> Thresholds {
        let usual = Thresholds::for_head(&detector.head);
        match self.suppression {
            Some(options) => Thresholds {
                confidence: options.confidence,
                iou: options.iou,
                max_detections: options.top_k,
                ..usual
            },
            // Below what counts: what is just above it in one run may be just below it in the other.
            None => Thresholds { confidence: self.bounds.confidence / 2.0, ..usual },
        }
    }

    fn found(&mut self, image: &Image, frames: Option<&Frames>) -> Result<Detections, Error> {
        let seen = match frames {
            // NV12 has less colour than the image: the code around the graph has to start from the same frame.
            Some(Frames::Nv12 { matrix, .. }) => {
                let (light, colour) = image.to_nv12(*matrix);
                Image::from_nv12((image.width(), image.height()), &light, &colour, *matrix)?
            }
            _ => image.clone(),
        };
        let batch = vec![seen; self.rows];
        let mut thresholds = self.thresholds(&self.subject.detector);
        let agnostic = self.suppression.filter(|options| options.class_agnostic && self.is_suppressed());
        if agnostic.is_some() {
            // No box overlaps another by more than all of it.
            (thresholds.iou, thresholds.max_detections) = (1.0, usize::MAX);
        }
        let mut found = self.network.detect(&batch, &thresholds)?.into_iter().next().unwrap_or_default();
        if let Some(options) = agnostic {
            found = suppress_all(found, options.iou);
            found.truncate(options.top_k);
        }
        Ok(found)
    }

    /// Whether the head needs suppression at all.
    fn is_suppressed(&self) -> bool {
        matches!(
            self.subject.detector.head,
            Head::Dense { iou: Some(_), .. } | Head::Queries { iou: Some(_), .. }
        )
    }
}

/// The new graph, whole, or in two parts around TensorRT's plug-in.
enum Graph<'a> {
    Whole(Network<'a>),
    Cut {
        detector: &'a Detector,
        cut: Box<PluginCut>,
        before: Box<dyn Session>,
        after: Option<Box<dyn Session>>,
    },
}

impl<'a> Graph<'a> {
    fn load(model: &Model, file: &Path, detector: &'a Detector, backend: &str) -> Result<Self, Error> {
        let Some(cut) = PluginCut::new(model)? else {
            return Ok(Self::Whole(Network::load(file, detector, backend, None)?));
        };
        let session = |model: &Model| -> Result<Box<dyn Session>, Error> {
            let mut bytes = Vec::new();
            graph::onnx::write(model, &mut bytes)?;
            Ok(runtime::backend(backend)?.load(OnnxSource::Bytes(bytes), &LoadOptions::default())?)
        };
        let (before, after) = (session(&cut.before)?, cut.after.as_ref().map(session).transpose()?);
        Ok(Self::Cut { detector, cut: Box::new(cut), before, after })
    }

    fn found(&mut self, images: &[&Image], thresholds: &Thresholds) -> Result<Vec<Detections>, Error> {
        match self {
            Self::Whole(network) => {
                let images: Vec<Image> = images.iter().copied().cloned().collect();
                network.detect(&images, thresholds)
            }
            Self::Cut { detector, cut, before, after } => {
                let prepared = preprocess(&detector.input, images)?;
                let boxes_and_scores = before.run(&refs(&prepared.inputs))?;
                let [(_, boxes), (_, scores)] = boxes_and_scores.as_slice() else {
                    return Err(Error::Options("the plug-in has no boxes and scores".into()));
                };
                let mut outputs = cut.run(boxes, scores)?;
                if let Some(after) = after {
                    outputs = after.run(&refs(&[prepared.inputs, outputs].concat()))?;
                }
                Ok(detector.decode(&outputs, &prepared.geometries, thresholds)?)
            }
        }
    }
}

fn refs(values: &Outputs) -> Vec<(&str, &Tensor)> {
    values.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
}
