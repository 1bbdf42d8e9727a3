//! What a search leaves behind: the chosen graph, the plan as data and as a drawing, and the report of a package.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use deploy::report::plan_drawing;
use deploy::{Measurements, Plan, paths};
use serde::Serialize;

use super::{Made, Planned};
use crate::package::{rereport, write_whole};
use crate::subject::read_manifest;
use crate::{Error, Store};

/// The files of a plan.
#[derive(Debug, Serialize)]
pub struct PlanFiles {
    /// The chosen graph; `None` when that is the model as it is, or nothing.
    pub model: Option<PathBuf>,
    /// TensorRT's calibration cache, where the chosen graph is INT8.
    pub cache: Option<PathBuf>,
    /// The plan as JSON.
    pub plan: PathBuf,
    /// Accuracy over time, as SVG.
    pub drawing: PathBuf,
}

impl Planned {
    /// Writes the chosen graph to `to`, and the plan beside it. What an earlier plan wrote there goes.
    ///
    /// # Errors
    /// Those of writing. Nothing partial is left under a final name.
    pub fn write(&self, name: &str, store: &Store, to: &Path) -> Result<PlanFiles, Error> {
        let beside = |ending: &str| to.with_extension(ending);
        let mut files =
            PlanFiles { model: None, cache: None, plan: beside("plan.json"), drawing: beside("plan.svg") };
        if files.plan.exists() {
            // What an earlier search chose must not stand beside a plan that chose otherwise.
            remove(to)?;
            remove(&beside("calibration.cache"))?;
        }
        if let Some(chosen) = self.chosen.as_ref().filter(|graph| !matches!(graph.made, Made::AsItIs)) {
            if let Made::Int8(int8) = &chosen.made {
                let cache = beside("calibration.cache");
                copy(&store.path(&int8.cache), &cache)?;
                files.cache = Some(cache);
            }
            copy(&chosen.onnx, to)?;
            files.model = Some(to.to_owned());
        }
        let text = serde_json::to_string_pretty(&self.plan)
            .map_err(|source| Error::Record { what: "plan".into(), source })?;
        write(&files.plan, format!("{text}\n").as_bytes())?;
        write(&files.drawing, plan_drawing(name, &self.plan)?.as_bytes())?;
        Ok(files)
    }
}

/// Puts a plan into the report of a package; gives the files that were written.
///
/// # Errors
/// [`Error::NotAModel`] for a folder that is no package; those of reading, rendering and writing.
pub fn report_plan(package: &Path, plan: &Plan) -> Result<Vec<String>, Error> {
    read_manifest(package)?;
    let path = package.join(paths::MEASUREMENTS);
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
    let measurements = Measurements { plan: Some(plan.clone()), ..Measurements::from_json(&text)? };
    write(&path, measurements.to_json().as_bytes())?;
    rereport(package)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_whole(folder(path), path, |file, _| {
        file.write_all(bytes).map_err(|source| Error::Io { path: path.to_owned(), source })
    })
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    let mut original = std::fs::File::open(from).map_err(at(from))?;
    write_whole(folder(to), to, |file, _| {
        std::io::copy(&mut original, file).map_err(at(to))?;
        Ok(())
    })
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
