//! `optimize`: passes over one ONNX file, and the proof that its outputs stayed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use detect::Detector;
use graph::Model;
use graph::passes::{self, Batch, Outcome};
use serde::Serialize;

use crate::folding::Folding;
use crate::package::write_whole;
use crate::{Error, map_file};

mod npy;
mod same;

pub use same::{Sameness, Verdict};

/// What becomes of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExternalData {
    /// Into the ONNX file.
    Fold,
    /// Into a file beside it.
    Split,
}

/// What the caller asks for. The order in which it is done is the order here.
#[derive(Debug, Clone, Default)]
pub struct Optimizing {
    /// The part between these values only: inputs, outputs. An empty list means the graph's own.
    pub extract: Option<(Vec<String>, Vec<String>)>,
    /// Inputs that become constants.
    pub freeze: Vec<(String, Frozen)>,
    /// The batch of the inputs.
    pub batch: Option<Batch>,
    /// The operator set.
    pub opset: Option<i64>,
    /// All passes that change no output.
    pub simplify: bool,
    /// Inputs and outputs under new names.
    pub rename: Vec<(String, String)>,
    /// Where the weights go; `None` folds them in where they fit.
    pub external: Option<ExternalData>,
    /// Leaves out the comparison of the outputs.
    pub unchecked: bool,
    /// The backend that runs both for it; `None` is the embedded one.
    pub backend: Option<String>,
}

/// What an input is frozen to.
#[derive(Debug, Clone)]
pub enum Frozen {
    /// A number for every element.
    Number(f64),
    /// A file of `NumPy`.
    File(PathBuf),
}

/// One thing that was done.
#[derive(Debug, Serialize)]
pub struct Applied {
    /// The pass.
    pub pass: &'static str,
    /// What it changed.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The time it took.
    pub seconds: f64,
}

/// An optimized model.
#[derive(Debug, Serialize)]
pub struct Optimized {
    /// The file.
    pub path: PathBuf,
    /// Nodes before.
    pub nodes_before: usize,
    /// Nodes after.
    pub nodes_after: usize,
    /// What was done, in order.
    pub passes: Vec<Applied>,
    /// Whether the outputs are what they were.
    pub check: Sameness,
    /// The time from opening the file to its new name.
    pub seconds: f64,
}

/// Applies passes to the ONNX file `from` and writes `to`.
///
/// # Errors
/// [`Error::Graph`] from a pass, with the node that it cannot treat; [`Error::Runtime`] for a backend that is not there;
/// [`Error::Changed`] when the outputs are not what they were. Nothing is left under the final name then.
pub fn optimize(from: &Path, options: &Optimizing, to: &Path) -> Result<Optimized, Error> {
    let started = Instant::now();
    if let Some(name) = options.backend.as_ref().filter(|_| !options.unchecked) {
        runtime::backend(name)?.probe()?;
    }
    let beside = from.parent().unwrap_or(Path::new(""));
    let mut model = graph::onnx::read(map_file(from)?, &|location| {
        map_file(&beside.join(location)).map_err(|error| crate::chain(&error))
    })?;
    let (before, interface) = (model.graph.nodes.len(), same::Interface::of(&model));
    let passes = apply(&mut model, options)?;
    model.check()?;
    follow_names(&mut model, &options.rename);
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    crate::store::create_dir(folder)?;
    let mut check = Sameness::not_run("it was not asked for");
    let weights = options.external == Some(ExternalData::Split);
    write_model(&mut model, folder, to, weights, |written| {
        if !options.unchecked {
            let after = same::Interface::of(&model_header(written)?);
            check = same::compare(from, &interface, written, &after, options)?;
        }
        Ok(())
    })?;
    Ok(Optimized {
        path: to.to_owned(),
        nodes_before: before,
        nodes_after: model.graph.nodes.len(),
        passes,
        check,
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn model_header(path: &Path) -> Result<Model, Error> {
    Ok(graph::onnx::read_structure(map_file(path)?)?)
}

/// Everything that was asked for, in the fixed order.
pub(crate) fn apply(model: &mut Model, options: &Optimizing) -> Result<Vec<Applied>, Error> {
    let mut applied = Vec::new();
    let mut timed = |pass: &'static str, work: &mut dyn FnMut() -> Result<Outcome, Error>| {
        let started = Instant::now();
        let outcome = work()?;
        applied.push(Applied { pass, outcome, seconds: started.elapsed().as_secs_f64() });
        Ok::<(), Error>(())
    };
    if let Some((inputs, outputs)) = &options.extract {
        timed("extract", &mut || Ok(passes::extract(model, inputs, outputs)?))?;
    }
    for (name, frozen) in &options.freeze {
        let tensor = same::frozen(model, name, frozen)?;
        timed("freeze-input", &mut || Ok(passes::freeze_input(model, name, tensor.clone())?))?;
    }
    if let Some(batch) = options.batch {
        timed("set-batch", &mut || Ok(passes::set_batch(model, batch)?))?;
    }
    if let Some(opset) = options.opset {
        timed("set-opset", &mut || Ok(passes::set_opset(model, opset)?))?;
    }
    if options.simplify {
        let folding = Folding::default();
        timed("simplify", &mut || Ok(folding.simplify(model)?))?;
    }
    if !options.rename.is_empty() {
        timed("rename", &mut || Ok(passes::rename(model, &options.rename)?))?;
    }
    Ok(applied)
}

/// The detector's description goes by the names of the graph.
pub(crate) fn follow_names(model: &mut Model, renames: &[(String, String)]) {
    if renames.is_empty() {
        return;
    }
    let Some(text) = model.metadata.get(Detector::METADATA_KEY) else { return };
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(text) else { return };
    for part in ["input", "head"] {
        value.get_mut(part).into_iter().for_each(|part| rename_in(part, renames));
    }
    model.metadata.insert(Detector::METADATA_KEY.into(), value.to_string());
}

/// The fields that hold names of the graph.
const NAMES: &[&str] =
    &["tensor", "uv", "image_size", "logits", "boxes", "output", "count", "scores", "classes"];

fn rename_in(value: &mut serde_json::Value, renames: &[(String, String)]) {
    let Some(fields) = value.as_object_mut() else { return };
    for (field, value) in fields {
        match value {
            serde_json::Value::String(text) if NAMES.contains(&field.as_str()) => {
                if let Some((_, new)) = renames.iter().find(|(old, _)| old == text) {
                    text.clone_from(new);
                }
            }
            serde_json::Value::Object(_) => rename_in(value, renames),
            _ => {}
        }
    }
}

/// Writes a model, with its weights beside it where `split` asks; `look` sees the file before it has its name.
pub(crate) fn write_model(
    model: &mut Model,
    folder: &Path,
    to: &Path,
    split: bool,
    look: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    if !split {
        return write_whole(folder, to, |file, place| {
            crate::package::write_model(model, file, to)?;
            look(place)
        });
    }
    // Looked at with its weights inside: passing names are no place to look for others.
    let mut whole = tempfile::Builder::new()
        .prefix(".partial-")
        .suffix(".onnx")
        .tempfile_in(folder)
        .map_err(|source| Error::Io { path: to.to_owned(), source })?;
    crate::package::write_model(model, whole.as_file_mut(), to)?;
    look(whole.path())?;
    drop(whole);
    let location = format!("{}.data", to.file_name().unwrap_or_default().to_string_lossy());
    let weights = folder.join(&location);
    let at = |source| Error::Io { path: weights.clone(), source };
    write_whole(folder, &weights, |file, _| {
        let mut out = std::io::BufWriter::with_capacity(1 << 20, &mut *file);
        graph::onnx::split_external(model, &location, &mut out)?;
        std::io::Write::flush(&mut out).map_err(at)?;
        drop(out);
        write_whole(folder, to, |file, _| {
            let mut out = std::io::BufWriter::new(file);
            graph::onnx::write_referring(model, &mut out)?;
            std::io::Write::flush(&mut out).map_err(at)
        })
    })
}
