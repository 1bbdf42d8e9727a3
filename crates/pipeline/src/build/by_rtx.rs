//! Engines by TensorRT for RTX: one for each target, one after the other. No graphics processor is needed, so nothing is timed
//! and no answer compared; the precision is read back from what the builder says of its layers.

use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::Instant;

use deploy::{Check, Engine, EngineBuild, Retry, TensorRt, paths};
use runtime::tools::stdout::captured;
use runtime::tools::tensorrt_rtx::{self, Build};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::builder::rtx_version;
use super::history::{self, Past};
use super::job::{Job, Work, simplified};
use super::plan::{self, PlannedEngine};
use super::timing::FIRST_BATCH;
use super::{Batches, Building, Built, Capabilities, proof, publish};
use crate::run::{Event, Mode, Run, StepContext};
use crate::steps::BUILD;
use crate::{Blob, Digest, Error, Store};

/// Why there are no figures and no answers.
const NOT_RUN: &str = "TensorRT for RTX runs on RTX GPUs, and this program only builds with it";

/// Builds an engine for each target.
///
/// # Errors
/// [`Error::Options`] for what this builder does not take; [`Error::Runtime`] when a graph is refused, with its node, or the
/// build is called off: engines that were built before stand.
pub(super) fn build(
    builder: &tensorrt_rtx::Builder,
    job: &Job<'_>,
    store: &Store,
    tell: &dyn Fn(Event<'_>),
) -> Result<Vec<Built>, Error> {
    refuse(job.options)?;
    let targets = targets(job.options)?;
    let each = targets.iter().map(|target| {
        if job.cancelled.load(Ordering::Relaxed) {
            return Err(runtime::Error::Cancelled.into());
        }
        let run = Run::new(store.shared(), job.place.name.as_str(), Mode::Execute, tell);
        Maker { builder, job, target }.one(&run)
    });
    each.collect()
}

/// What would be built, or answered by an earlier build.
///
/// # Errors
/// As [`build`], for what is wrong before anything is built.
pub(super) fn plan(
    builder: &tensorrt_rtx::Builder,
    job: &Job<'_>,
    store: &Store,
) -> Result<Vec<PlannedEngine>, Error> {
    refuse(job.options)?;
    let targets = targets(job.options)?;
    let each = targets.iter().map(|target| {
        let maker = Maker { builder, job, target };
        let reuse = plan::of(store, job, |run| maker.made(run).map(drop))?;
        let (engine, _) = maker.engine();
        Ok(PlannedEngine { engine, source: job.source_words(), gpu: target.words(), command: None, reuse })
    });
    each.collect()
}

/// What an engine each is built for.
fn targets(options: &Building) -> Result<Vec<Capabilities>, Error> {
    match &options.targets[..] {
        [] => Ok(vec![Capabilities::of_this_machine()?]),
        targets => Ok(targets.to_vec()),
    }
}

/// What only `trtexec` takes.
fn refuse(options: &Building) -> Result<(), Error> {
    let reason = match () {
        () if !options.plugins.is_empty() => "TensorRT for RTX has no plug-ins: leave out `--plugin`",
        () if options.calibration.is_some() => {
            "TensorRT for RTX takes the scales from the graph: leave out `--calibration`, and run `sightline quantize` before"
        }
        () if !options.gpus.is_empty() => {
            "TensorRT for RTX builds for kinds of GPUs: write `--compute-capability` instead of `--gpu`"
        }
        () => return Ok(()),
    };
    Err(Error::Options(reason.into()))
}

struct Maker<'a> {
    builder: &'a tensorrt_rtx::Builder,
    job: &'a Job<'a>,
    target: &'a Capabilities,
}

/// An engine that was built.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Made {
    engine: Blob,
    /// What its layers are.
    layers: Option<Blob>,
    /// What the builder said.
    log: Blob,
    seconds: f64,
    retries: Vec<Retry>,
}

impl Maker<'_> {
    /// The engine: built, its precision read, put in place.
    fn one(&self, run: &Run<'_>) -> Result<Built, Error> {
        let (path, batches) = self.engine();
        let made = self.made(run)?;
        let precisions = proof::precisions(run, made.layers.as_ref(), self.job.options.precision, &path)?;
        let answers = Check::not_run("answers beside those of the graph", &path, NOT_RUN);
        let engine = Engine {
            path,
            bytes: made.engine.bytes,
            precision: precisions.found,
            max_batch: batches.max,
            workspace_mib: self.job.options.workspace_mib,
            timing_cache: None,
            optimization_level: self.job.options.level,
            build_seconds: made.seconds,
            built_from: self.job.source.path.clone(),
            build: Some(EngineBuild {
                tensorrt: rtx_version(self.builder),
                gpu: self.target.words(),
                source_sha256: Digest::of_file(&self.job.source.onnx)?.to_string(),
                min_batch: batches.min,
                opt_batch: batches.opt,
                command: format!("sightline {}", self.job.options.command_line),
                retries: made.retries,
                layers: precisions.shares,
            }),
        };
        let checks = vec![precisions.check, answers];
        let tensorrt = TensorRt { engine, batch_1: None, batch_max: None, checks };
        let root = &self.job.place.root;
        let files =
            publish::put_engine(run, root, &tensorrt, [&made.log, &made.engine], made.layers.as_ref())?;
        Ok(Built {
            folder: root.clone(),
            backend: tensorrt_rtx::NAME,
            program: self.builder.library().to_owned(),
            gpu: self.target.words(),
            passed: tensorrt.passed(),
            tensorrt,
            tried: Vec::new(),
            peak_gpu_streams: None,
            untimed: Some(NOT_RUN),
            files,
        })
    }

    /// Keeps what the library printed while it failed, where the log of a finished engine would be.
    fn keep(&self, printed: &str) -> Result<(), Error> {
        let path = publish::failed_log_path(&self.engine().0);
        if printed.is_empty() {
            return Ok(());
        }
        publish::write(&self.job.place.root, &path, |file| file.write_all(printed.as_bytes()))
    }

    /// Its path in the package, and the batches that it takes.
    fn engine(&self) -> (String, Batches) {
        let fixed = self.job.shapes.fixed_batch.map(Batches::only);
        let batches = fixed.or(self.job.options.batches).unwrap_or(Batches::up_to(FIRST_BATCH));
        let label = self.target.label();
        (paths::rtx_engine(&self.job.place.name, &label, batches.max, fixed.is_some()), batches)
    }

    /// The engine itself: the record of an earlier build answers.
    fn made(&self, run: &Run<'_>) -> Result<Made, Error> {
        let (path, batches) = self.engine();
        let mut key = self.job.key(batches)?;
        key["compute_capabilities"] = json!(self.target.all());
        key["tensorrt"] = rtx_version(self.builder).into();
        run.step_for(&path, BUILD, self.job.options.fresh, &key, |context| self.attempts(batches, context))
    }

    /// Builds, and once more from the simplified graph when the graph is refused.
    fn attempts(&self, batches: Batches, context: &StepContext<'_, '_>) -> Result<Made, Error> {
        let work = Work(context.store().temporary_folder()?);
        let mut onnx = self.job.graph(&work)?;
        let mut retries = Vec::new();
        loop {
            let failure = match self.once(&onnx, batches, &work, context) {
                Ok(made) => return Ok(Made { retries, ..made }),
                Err(error) => error,
            };
            let refused = matches!(&failure, Error::Runtime(error) if matches!(**error, runtime::Error::TensorRtRtx(_)));
            // What simplifying says of a graph that was refused is less than why it was refused.
            let simple =
                if refused && retries.is_empty() { simplified(&onnx, &work).ok().flatten() } else { None };
            let Some(simple) = simple else { return Err(failure) };
            let (because, then) = (failure.to_string(), "the graph was simplified".to_owned());
            context.warn(format!("{because}: tried again: {then}"));
            retries.push(Retry { because, then });
            onnx = simple;
        }
    }

    fn once(
        &self,
        onnx: &std::path::Path,
        batches: Batches,
        work: &Work,
        context: &StepContext<'_, '_>,
    ) -> Result<Made, Error> {
        let engine = work.file("engine");
        let build = Build {
            onnx,
            graph: &self.job.source.model,
            engine: &engine,
            capabilities: self.target.all(),
            profiles: &self.job.shapes.profiles(batches),
            workspace_mib: self.job.options.workspace_mib,
            level: self.job.options.level,
            cancelled: self.job.cancelled,
        };
        let past = self.job.past(&self.target.words(), rtx_version(self.builder), batches)?;
        if let Some(seconds) = history::expected(context.store(), &past) {
            context.note(&format!("a similar build took {seconds:.0} s"));
        }
        let started = Instant::now();
        // The library's parser prints some warnings on its own.
        let (printed, aside) = captured(|| self.builder.build(&build));
        let printed = match printed {
            Ok(printed) => printed,
            Err(error) => {
                self.keep(&aside)?;
                return Err(error.into());
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        history::remember(context.store(), Past { seconds, ..past });
        Ok(Made {
            engine: context.adopt(&engine)?,
            layers: printed.layers.map(|layers| context.put(layers.as_bytes())).transpose()?,
            log: context.put(format!("{}{aside}", printed.log).as_bytes())?,
            seconds,
            retries: Vec::new(),
        })
    }
}
