//! Engines by `trtexec`: one for each graphics processor that was asked for.

use runtime::tools::trtexec::Trtexec;

use super::job::Job;
use super::make::Maker;
use super::plan::{self, PlannedEngine};
use super::processor::Processor;
use super::proof::precisions;
use super::publish::Finished;
use super::timing::Candidate;
use super::{BUILDERS, Built, side_by_side};
use crate::run::{Event, Mode, Run};
use crate::steps::BUILD;
use crate::{Error, Store};

/// Builds, times and proves them, all at a time.
///
/// # Errors
/// [`Error::Options`] for a graphics processor that is not there, and for what `trtexec` is not asked; those of the builds.
pub(super) fn build(
    trtexec: &Trtexec,
    job: &Job<'_>,
    store: &Store,
    tell: &dyn Fn(Event<'_>),
) -> Result<Vec<Built>, Error> {
    refuse(job)?;
    let work = |processor: &Processor, tell: &dyn Fn(Event<'_>)| {
        let maker = Maker { trtexec, job, processor };
        one(&maker, &Run::new(store.shared(), job.place.name.as_str(), Mode::Execute, tell))
    };
    let processors = Processor::chosen(&job.options.gpus)?;
    side_by_side::each(&processors, Processor::prefix, work, tell)
}

/// What would be built first, or answered by an earlier build: which batches follow depends on the figures.
///
/// # Errors
/// As [`build`], for what is wrong before anything is built.
pub(super) fn plan(trtexec: &Trtexec, job: &Job<'_>, store: &Store) -> Result<Vec<PlannedEngine>, Error> {
    refuse(job)?;
    let each = Processor::chosen(&job.options.gpus)?.into_iter().map(|processor| {
        let maker = Maker { trtexec, job, processor: &processor };
        let batches = maker.first();
        let reuse = plan::of(store, job, |run| maker.first_made(run).map(drop))?;
        Ok(PlannedEngine {
            engine: maker.engine_path(batches),
            source: job.source_words(),
            gpu: processor.gpu.name.clone(),
            command: Some(maker.command(batches)),
            reuse,
        })
    });
    each.collect()
}

/// What only TensorRT for RTX takes.
fn refuse(job: &Job<'_>) -> Result<(), Error> {
    if job.options.targets.is_empty() {
        return Ok(());
    }
    let reason = "`--compute-capability` is for `--backend tensorrt-rtx`: `trtexec` builds for the GPU that it runs on";
    Err(Error::Options(reason.into()))
}

/// The engine of one graphics processor: built, timed, proven, put in place.
fn one(maker: &Maker<'_>, run: &Run<'_>) -> Result<Built, Error> {
    let mut candidates = maker.search(run)?;
    let tried = candidates.iter().filter_map(|candidate| Some(candidate.at_max.as_ref()?.run)).collect();
    let Some(Candidate { made, at_max }) = candidates.pop() else {
        return Err(Error::Options("no engine was asked for".into()));
    };
    let is_range = maker.job.shapes.fixed_batch.is_none() && made.batches.min == 1 && made.batches.max > 1;
    let batch_1 = (is_range && maker.job.options.timed).then(|| maker.time(run, &made, 1)).transpose()?;
    for doubt in [&batch_1, &at_max].into_iter().flatten().flat_map(|timed| &timed.doubts) {
        run.tell(Event::Warning { step: BUILD.name, message: doubt });
    }
    let name = maker.engine_path(made.batches);
    let precisions = precisions(run, made.layers.as_ref(), maker.job.options.precision, &name)?;
    let parity = if maker.job.options.compared { maker.parity(run, &made, &name)? } else { Vec::new() };
    let peak_gpu_streams = at_max.as_ref().map(|timed| timed.run.streams());
    let (tensorrt, files) =
        maker.publish(run, Finished { made, precisions, parity, batch_1, batch_max: at_max })?;
    let passed = tensorrt.passed();
    Ok(Built {
        folder: maker.job.place.root.clone(),
        backend: BUILDERS[0],
        program: maker.trtexec.program.clone(),
        gpu: maker.processor.gpu.name.clone(),
        tensorrt,
        tried,
        peak_gpu_streams,
        untimed: None,
        files,
        passed,
    })
}
