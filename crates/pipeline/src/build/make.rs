//! Makes one engine: the record of an earlier build answers, else `trtexec` builds, and again otherwise when it failed for
//! a reason that is known.

use std::cell::Cell;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use deploy::{Retry, paths};
use runtime::tools::Profile;
use runtime::tools::trtexec::{
    Build, Cause, Event, Failure, Numbers, Phase, Running, Trtexec, workspace_mib,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Batches;
use super::history::{self, Past};
use super::job::{Job, Work, simplified};
use super::ladder::Attempt;
use super::processor::Processor;
use super::publish;
use crate::run::{Run, StepContext};
use crate::steps::BUILD;
use crate::{Blob, Digest, Error, Store};

/// Longest build: the largest transformers at the largest batches take an hour.
const PATIENCE: Duration = Duration::from_hours(6);
/// How often it is said that a build goes on, when nobody can know how long it takes.
const SIGN_OF_LIFE: Duration = Duration::from_mins(1);

/// Makes the engines of one graphics processor.
pub(super) struct Maker<'a> {
    pub(super) trtexec: &'a Trtexec,
    pub(super) job: &'a Job<'a>,
    pub(super) processor: &'a Processor,
}

/// What a build reads and writes.
struct Files<'a> {
    onnx: &'a Path,
    engine: &'a Path,
    layers: &'a Path,
    /// The times of kernels.
    times: &'a Path,
    calibration: Option<&'a Path>,
}

/// An engine that was built.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) engine: Blob,
    /// What its layers are.
    pub(super) layers: Option<Blob>,
    /// What every attempt printed.
    pub(super) log: Blob,
    /// The batches that it takes: fewer than asked for, when memory was not enough.
    pub(super) batches: Batches,
    pub(super) level: Option<u32>,
    pub(super) workspace_mib: u64,
    pub(super) peak_gpu_mib: Option<f64>,
    pub(super) seconds: f64,
    /// The command, with paths that mean something in a package.
    pub(super) command: String,
    pub(super) retries: Vec<Retry>,
}

impl Maker<'_> {
    /// The engine for these batches. `may_shrink` allows fewer when memory is not enough.
    pub(super) fn make(&self, run: &Run<'_>, batches: Batches, may_shrink: bool) -> Result<Made, Error> {
        let key = self.key(batches, may_shrink)?;
        let label = self.processor.label(&self.stem(batches));
        run.step_for(&label, BUILD, self.job.options.fresh, &key, |context| {
            self.attempts(batches, may_shrink, context)
        })
    }

    /// Everything that decides what the engine is. The free memory does not: it only limits.
    fn key(&self, batches: Batches, may_shrink: bool) -> Result<Value, Error> {
        let mut key = self.job.key(batches)?;
        key["may_shrink"] = may_shrink.into();
        key["gpu"] = json!(self.processor.gpu);
        key["tensorrt"] = json!(self.trtexec.version);
        Ok(key)
    }

    /// The engine's path in the package.
    pub(super) fn engine_path(&self, batches: Batches) -> String {
        let name = &self.job.place.name;
        let path = match self.job.shapes.fixed_batch {
            Some(batch) => paths::static_engine(name, batch),
            None => paths::engine(name, batches.max),
        };
        self.processor.engine_path(&path)
    }

    /// Its file's name without the ending.
    fn stem(&self, batches: Batches) -> String {
        let path = PathBuf::from(self.engine_path(batches));
        path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn attempts(
        &self,
        batches: Batches,
        may_shrink: bool,
        context: &StepContext<'_, '_>,
    ) -> Result<Made, Error> {
        let work = Work(context.store().temporary_folder()?);
        let mut attempt = Attempt::first(batches, self.job.options.level);
        let (mut retries, mut onnx, mut logs) = (Vec::new(), self.job.graph(&work)?, Vec::new());
        loop {
            let built = self.once(&onnx, &attempt, &work, context);
            logs.extend(fs::read(work.log()).unwrap_or_default());
            let failure = match built {
                Ok(mut made) => {
                    made.log = context.put(&logs)?;
                    made.retries = retries;
                    return Ok(made);
                }
                Err(Error::Runtime(error)) => match *error {
                    runtime::Error::Trtexec(failure) => *failure,
                    other => {
                        self.keep_log(batches, &logs)?;
                        return Err(other.into());
                    }
                },
                Err(other) => return Err(other),
            };
            let answer =
                self.answer(attempt, failure.cause, may_shrink, &mut onnx, (&work, context.store()))?;
            let Some((next, then)) = answer else {
                let log = self.keep_log(batches, &logs)?;
                return Err(runtime::Error::Trtexec(Box::new(Failure { log: Some(log), ..failure })).into());
            };
            let because = Failure { log: None, ..failure }.to_string();
            context.warn(format!("{because}: tried again: {then}"));
            retries.push(Retry { because, then });
            attempt = next;
        }
    }

    /// The next attempt, with what it needs: simplifying a graph that is simple already is no answer.
    fn answer(
        &self,
        attempt: Attempt,
        cause: Cause,
        may_shrink: bool,
        onnx: &mut PathBuf,
        (work, store): (&Work, &Store),
    ) -> Result<Option<(Attempt, String)>, Error> {
        let Some((next, then)) = attempt.after(cause, may_shrink) else { return Ok(None) };
        if next.fresh_times && !attempt.fresh_times {
            let _ = fs::remove_file(self.timing_cache(store)?);
        }
        if next.simplified && !attempt.simplified {
            match simplified(onnx, work)? {
                Some(file) => *onnx = file,
                None => return Ok(next.after(cause, may_shrink)),
            }
        }
        Ok(Some((next, then)))
    }

    fn once(
        &self,
        onnx: &Path,
        attempt: &Attempt,
        work: &Work,
        context: &StepContext<'_, '_>,
    ) -> Result<Made, Error> {
        let (engine, layers, log) = (work.file("engine"), work.file("layers.json"), work.log());
        for stale in [&engine, &layers] {
            let _ = fs::remove_file(stale);
        }
        let calibration = self.calibration(work)?;
        let times = self.timing_cache(context.store())?;
        let profiles = self.job.shapes.profiles(attempt.batches);
        let files = Files {
            onnx,
            engine: &engine,
            layers: &layers,
            times: &times,
            calibration: calibration.as_deref(),
        };
        let build = self.invocation(&files, &profiles, attempt.level);
        let arguments = build.arguments(self.trtexec.version);
        let running = Running { folder: &work.0, log: &log, limit: PATIENCE, cancelled: self.job.cancelled };
        let tensorrt = self.trtexec.version.to_string();
        let past = self.job.past(&self.processor.gpu.name, tensorrt, attempt.batches)?;
        let started = Instant::now();
        let teller = Teller::new(history::expected(context.store(), &past), context);
        let printed = self.trtexec.run(&arguments, &running, &mut |event| teller.hear(event))?;
        let seconds = started.elapsed().as_secs_f64();
        history::remember(context.store(), Past { seconds, ..past });
        let command = Trtexec::line(&arguments, &|word| self.readable(word, &build, attempt.batches));
        Ok(Made {
            engine: context.adopt(&engine)?,
            layers: layers.is_file().then(|| context.adopt(&layers)).transpose()?,
            // Replaced by what all attempts printed.
            log: context.put(b"")?,
            batches: attempt.batches,
            level: attempt.level,
            workspace_mib: build.workspace_mib,
            peak_gpu_mib: printed.peak_gpu_mib,
            seconds,
            command,
            retries: Vec::new(),
        })
    }

    /// How `trtexec` is called.
    fn invocation<'b>(&'b self, files: &Files<'b>, profiles: &'b [Profile], level: Option<u32>) -> Build<'b> {
        Build {
            onnx: files.onnx,
            engine: files.engine,
            numbers: match self.job.options.precision {
                deploy::Precision::Fp32 => Numbers::Fp32,
                deploy::Precision::Fp16 => Numbers::Fp16,
                deploy::Precision::Int8 => Numbers::Int8 { calibration: files.calibration },
            },
            profiles,
            workspace_mib: workspace_mib(self.job.options.workspace_mib, self.processor.free_mib),
            level,
            timing_cache: Some(files.times),
            layers: Some(files.layers),
            plugins: &self.job.options.plugins,
            device: self.processor.device,
        }
    }

    /// The command that builds an engine for these batches first.
    pub(super) fn command(&self, batches: Batches) -> String {
        let (engine, root) = (self.engine_path(batches), &self.job.place.root);
        let (layers, times) = (root.join(super::layers_path(&engine)), root.join(paths::TIMING_CACHE));
        let profiles = self.job.shapes.profiles(batches);
        let files = Files {
            onnx: &self.job.source.onnx,
            engine: &root.join(&engine),
            layers: &layers,
            times: &times,
            calibration: self.job.source.calibration.as_deref(),
        };
        let build = self.invocation(&files, &profiles, self.job.options.level);
        Trtexec::line(&build.arguments(self.trtexec.version), &str::to_owned)
    }

    /// The calibration cache with the version of this TensorRT in its first line: another one's is not taken.
    fn calibration(&self, work: &Work) -> Result<Option<PathBuf>, Error> {
        let Some(cache) = &self.job.source.calibration else { return Ok(None) };
        let bytes = fs::read(cache).map_err(|source| Error::Io { path: cache.clone(), source })?;
        let mut content = graph::CalibrationCache::read(&bytes)?;
        content.version = self.trtexec.version.number();
        // `trtexec` asks for this kind, whatever the scales were found by.
        content.algorithm = "EntropyCalibration2".into();
        let path = work.file("calibration.cache");
        fs::write(&path, content.to_text()).map_err(|source| Error::Io { path: path.clone(), source })?;
        Ok(Some(path))
    }

    /// Times of kernels, one file for each kind of GPU and version: another one's would be refused.
    pub(super) fn timing_cache(&self, store: &Store) -> Result<PathBuf, Error> {
        let of = Digest::of_json(&(&self.processor.gpu, self.trtexec.version))?;
        Ok(store.side_file(&format!("timing-{}.cache", &of.as_hex()[..16])))
    }

    /// Keeps what a failed build printed beside the engines.
    fn keep_log(&self, batches: Batches, logs: &[u8]) -> Result<PathBuf, Error> {
        let path = publish::failed_log_path(&self.engine_path(batches));
        publish::write(&self.job.place.root, &path, |file| file.write_all(logs))?;
        Ok(self.job.place.root.join(path))
    }

    /// Paths of this machine as those of the package.
    fn readable(&self, word: &str, build: &Build<'_>, batches: Batches) -> String {
        let engine = self.engine_path(batches);
        let replaced = [
            (build.onnx, self.job.source.path.clone()),
            (build.engine, engine.clone()),
            (build.timing_cache.unwrap_or(build.engine), paths::TIMING_CACHE.to_owned()),
            (build.layers.unwrap_or(build.engine), super::layers_path(&engine)),
        ];
        let calibration = match build.numbers {
            Numbers::Int8 { calibration: Some(file) } => Some((file, paths::CALIBRATION_CACHE.to_owned())),
            _ => None,
        };
        replaced
            .into_iter()
            .chain(calibration)
            .fold(word.to_owned(), |word, (path, name)| word.replace(&*path.to_string_lossy(), &name))
    }
}

/// Tells how a build goes on.
struct Teller<'a, 'r, 'c> {
    context: &'a StepContext<'r, 'c>,
    /// How long a similar build took.
    expected: Option<f64>,
    started: Instant,
    phase: Cell<Phase>,
    told: Cell<Instant>,
}

impl<'a, 'r, 'c> Teller<'a, 'r, 'c> {
    fn new(expected: Option<f64>, context: &'a StepContext<'r, 'c>) -> Self {
        if let Some(seconds) = expected {
            context.note(&format!("a similar build took {seconds:.0} s"));
        }
        let started = Instant::now();
        Self { context, expected, started, phase: Cell::new(Phase::Starting), told: Cell::new(started) }
    }

    fn hear(&self, event: Event) {
        let elapsed = self.started.elapsed();
        match event {
            Event::Phase(phase) => {
                self.phase.set(phase);
                self.told.set(Instant::now());
                self.context.note(&phase.to_string());
            }
            Event::Tick => {
                if let Some(expected) = self.expected {
                    // The bar stays open until the build is done.
                    let total = (expected.ceil() as u64).max(elapsed.as_secs() + 1);
                    self.context.progress("s", elapsed.as_secs(), total);
                }
                if self.told.get().elapsed() >= SIGN_OF_LIFE {
                    self.told.set(Instant::now());
                    self.context.note(&format!(
                        "{}, {} min so far",
                        self.phase.get(),
                        elapsed.as_secs() / 60
                    ));
                }
            }
        }
    }
}
