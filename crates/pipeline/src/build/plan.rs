//! What `build` would do, without doing it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use super::job::Job;
use super::{Builder, Building, Opened, by_rtx, by_trtexec};
use crate::run::{Mode, Run};
use crate::{Error, Store};

/// An engine that would be built.
#[derive(Debug, Serialize)]
pub struct PlannedEngine {
    /// Its path in the package, or in the folder that it goes to.
    pub engine: String,
    /// The graph that it is built from.
    pub source: String,
    /// The graphics processor, or the compute capabilities.
    pub gpu: String,
    /// The command that builds it, where a program does.
    pub command: Option<String>,
    /// Whether an earlier build answers.
    pub reuse: bool,
}

/// Tells what [`build`](super::build) would build, first of all.
///
/// # Errors
/// Those of `build` for what is wrong before anything is built.
pub fn plan_build(model: &Path, options: &Building, builder: &Builder) -> Result<Vec<PlannedEngine>, Error> {
    let Opened { place, source, shapes } = Opened::new(model, options, builder)?;
    let cancelled = Arc::new(AtomicBool::new(false));
    let job = Job { place: &place, source: &source, shapes: &shapes, options, cancelled: &cancelled };
    let store = Store::open_to_look(place.store_folder());
    match builder {
        Builder::TensorRtRtx(builder) => by_rtx::plan(builder, &job, &store),
        Builder::Trtexec(trtexec) => by_trtexec::plan(trtexec, &job, &store),
    }
}

/// Whether the record of an earlier build answers `work`.
pub(super) fn of(
    store: &Store,
    job: &Job<'_>,
    work: impl FnOnce(&Run<'_>) -> Result<(), Error>,
) -> Result<bool, Error> {
    let run = Run::new(store.shared(), job.place.name.as_str(), Mode::Plan, &|_| {});
    match work(&run) {
        Ok(()) => Ok(true),
        Err(Error::Planned { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
