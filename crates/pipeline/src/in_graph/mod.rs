//! Preprocessing and suppression inside a model's graph, and the proof that it finds the same.
//!
//! What goes in derives from the model's own description; the file carries the description of what it became, so every
//! other job runs it like any model.

mod compare;

use std::path::{Path, PathBuf};
use std::time::Instant;

use detect::in_graph::{Suppression, preprocess_in_graph, suppress_in_graph};
use detect::{Detector, Frames, Head};
use graph::{Model, ValueInfo};
use serde::Serialize;

use crate::optimize::{Applied, ExternalData, Optimizing, apply, follow_names, write_model};
use crate::quantize::open_graph;
use crate::{Error, Event, ImageSet, Subject};

pub use compare::{Found, Verdict};

/// What goes into the graph.
#[derive(Debug, Clone)]
pub struct InGraph {
    /// The raw frames that the graph takes; `None` leaves its input as it is.
    pub frames: Option<Frames>,
    /// How boxes are suppressed; `None` leaves its outputs as they are.
    pub suppression: Option<Suppression>,
}

/// What the result is compared on.
#[derive(Debug, Clone, Copy)]
pub struct Proving<'a> {
    /// Real images, as they are.
    pub images: &'a ImageSet,
    /// Where both graphs run.
    pub backend: &'a str,
    /// Leaves the comparison out.
    pub unchecked: bool,
}

/// A model with more in its graph.
#[derive(Debug, Serialize)]
pub struct InGraphFile {
    /// The file.
    pub path: PathBuf,
    /// Whether it was written: it is not when the comparison failed.
    pub written: bool,
    /// Nodes before.
    pub nodes_before: usize,
    /// Nodes after.
    pub nodes_after: usize,
    /// The passes that were applied before, in order.
    pub passes: Vec<Applied>,
    /// What the graph takes.
    pub inputs: Vec<ValueInfo>,
    /// What it gives.
    pub outputs: Vec<ValueInfo>,
    /// Whether it finds what the model and the code around it find.
    pub check: Found,
    /// The time from opening the model to the file's name.
    pub seconds: f64,
}

/// Applies `passes` to the model, puts what is `wanted` into its graph, compares and writes `to`.
///
/// # Errors
/// [`Error::Options`] for passes after which the description no longer fits, and for a head that is end to end already;
/// [`Error::Detect`] for what cannot be put into this graph; those of running, of reading images and of writing. A failed
/// comparison is no error: see [`InGraphFile::written`]. Nothing is left under the final name then.
pub fn put_in_graph(
    subject: &Subject,
    passes: &Optimizing,
    wanted: &InGraph,
    proving: &Proving<'_>,
    to: &Path,
    tell: &dyn Fn(Event<'_>),
) -> Result<InGraphFile, Error> {
    let started = Instant::now();
    refuse(subject, passes, wanted)?;
    let mut model = open_graph(subject)?;
    let nodes_before = model.graph.nodes.len();
    model.metadata.insert(Detector::METADATA_KEY.into(), subject.detector.to_json());
    let applied = apply(&mut model, passes)?;
    follow_names(&mut model, &passes.rename);
    let detector = Detector::from_json(&model.metadata[Detector::METADATA_KEY])?;
    let (mut model, detector) = extended(model, detector, wanted)?;
    model.check()?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    crate::store::create_dir(folder)?;
    let mut check = Found::not_run("it was not asked for", proving);
    let split = passes.external == Some(ExternalData::Split);
    let made = model.clone();
    let written = write_model(&mut model, folder, to, split, |file| {
        if proving.unchecked {
            return Ok(());
        }
        check = compare::compare(subject, wanted, &made, (file, &detector), proving, tell)?;
        if check.verdict == Verdict::Fail { Err(Error::Disagrees) } else { Ok(()) }
    });
    let written = match written {
        Ok(()) => true,
        Err(Error::Disagrees) => false,
        Err(error) => return Err(error),
    };
    Ok(InGraphFile {
        path: to.to_owned(),
        written,
        nodes_before,
        nodes_after: model.graph.nodes.len(),
        passes: applied,
        inputs: model.graph.inputs.clone(),
        outputs: model.graph.outputs.clone(),
        check,
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn refuse(subject: &Subject, passes: &Optimizing, wanted: &InGraph) -> Result<(), Error> {
    let told = |reason: String| Err(Error::Options(reason));
    if passes.extract.is_some() || !passes.freeze.is_empty() {
        return told(
            "parts and frozen inputs are graphs that the description does not fit: make them in another command".into(),
        );
    }
    let (input, head) = (&subject.detector.input, &subject.detector.head);
    if wanted.frames.is_some() && input.frames.is_some() {
        return told(format!("`{}` takes raw frames already", subject.onnx.display()));
    }
    if wanted.suppression.is_some() && matches!(head, Head::EndToEnd { .. } | Head::EndToEndParts { .. }) {
        return told(format!("the head of `{}` is end to end already", subject.onnx.display()));
    }
    Ok(())
}

/// Frames first: suppression then sees boxes in pixels of the frame, and is the end of the graph.
fn extended(model: Model, detector: Detector, wanted: &InGraph) -> Result<(Model, Detector), Error> {
    let (model, detector) = match &wanted.frames {
        Some(frames) => preprocess_in_graph(model, &detector, frames.clone())?,
        None => (model, detector),
    };
    Ok(match &wanted.suppression {
        Some(suppression) => suppress_in_graph(model, &detector, suppression)?,
        None => (model, detector),
    })
}
