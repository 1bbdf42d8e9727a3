//! What an engine on the disk is: what its header says, what was recorded when it was built, what `trtexec` says of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use deploy::TensorRt;
use graph::{EngineLayers, EngineShare, Plan, PlanKind};
use runtime::tools::trtexec::{Load, Running, Trtexec};
use serde::Serialize;

use super::{build_path, layers_path};
use crate::{Error, map_file};

/// Reading a large engine from a cold disk.
const PATIENCE: Duration = Duration::from_mins(10);

/// What is known of an engine.
#[derive(Debug, Serialize)]
pub struct EngineFacts {
    /// What its header says.
    #[serde(flatten)]
    pub plan: Plan,
    /// Names of the inputs, as the nodes of Isaac ROS take them.
    pub input_binding_names: Vec<String>,
    /// Names of the outputs, as the nodes of Isaac ROS take them.
    pub output_binding_names: Vec<String>,
    /// What it computes with, the most used first.
    pub precisions: Vec<EngineShare>,
    /// Its layers, inputs and outputs, where they are known.
    pub layers: Option<EngineLayers>,
    /// What was recorded when it was built, where that lies beside it.
    pub build: Option<TensorRt>,
}

/// Looks at an engine. What its layers are lies beside it where this program built it; otherwise `trtexec` is asked.
///
/// # Errors
/// [`Error::Graph`] when it is no engine; [`Error::Runtime`] when `trtexec` cannot read it.
pub(crate) fn inspect_engine(path: &Path, trtexec: Option<&Trtexec>) -> Result<EngineFacts, Error> {
    let plan = Plan::read(&map_file(path)?)?;
    let beside = |name: fn(&str) -> String| fs::read(name(&path.to_string_lossy())).ok();
    let recorded = beside(layers_path).and_then(|bytes| EngineLayers::read(&bytes).ok());
    let layers = match (recorded, trtexec) {
        (Some(layers), _) => Some(layers),
        // Neither TensorRT reads the other's engines.
        (None, Some(trtexec)) if plan.builder == PlanKind::TensorRt => Some(asked(path, &plan, trtexec)?),
        (None, _) => None,
    };
    let names = |tensors: &[graph::EngineTensor]| tensors.iter().map(|tensor| tensor.name.clone()).collect();
    Ok(EngineFacts {
        plan,
        input_binding_names: layers.as_ref().map(|layers| names(&layers.inputs)).unwrap_or_default(),
        output_binding_names: layers.as_ref().map(|layers| names(&layers.outputs)).unwrap_or_default(),
        precisions: layers.as_ref().map(EngineLayers::shares).unwrap_or_default(),
        layers,
        build: beside(build_path).and_then(|bytes| serde_json::from_slice(&bytes).ok()),
    })
}

/// What `trtexec` says the layers are.
fn asked(path: &Path, plan: &Plan, trtexec: &Trtexec) -> Result<EngineLayers, Error> {
    let work = tempfile::tempdir().map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let engine = whole_plan(path, plan, work.path())?;
    let (layers, log) = (work.path().join("layers.json"), work.path().join("trtexec.log"));
    let load = Load { engine: &engine, shapes: &[], plugins: &[], device: None };
    let running =
        Running { folder: work.path(), log: &log, limit: PATIENCE, cancelled: &AtomicBool::new(false) };
    let failed = |error: runtime::Error| match error {
        // The log goes with the folder.
        runtime::Error::Trtexec(mut failure) => {
            failure.log = None;
            runtime::Error::Trtexec(failure)
        }
        other => other,
    };
    trtexec.run(&load.layers(&layers), &running, &mut |_| {}).map_err(failed)?;
    let bytes = fs::read(&layers).map_err(|source| Error::Io { path: layers, source })?;
    Ok(EngineLayers::read(&bytes)?)
}

/// The engine as TensorRT's own tools read it: without what Ultralytics writes in front.
fn whole_plan(path: &Path, plan: &Plan, work: &Path) -> Result<PathBuf, Error> {
    let at = |source| Error::Io { path: path.to_owned(), source };
    if plan.offset == 0 {
        return fs::canonicalize(path).map_err(at);
    }
    let engine = work.join("plan.engine");
    fs::write(&engine, &map_file(path)?[plan.offset..]).map_err(at)?;
    Ok(engine)
}
