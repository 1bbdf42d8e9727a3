//! Puts an engine where it belongs: beside its logs, and into what the package records and reports.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use deploy::report::{BenchmarkData, Command};
use deploy::{Check, Engine, EngineBuild, Manifest, Measurements, StepTime, TensorRt, paths};

use super::make::{Made, Maker};
use super::proof::Precisions;
use super::timing::Timed;
use super::{Built, build_path, layers_path};
use crate::package::{rereport, write_whole};
use crate::run::Run;
use crate::steps::BUILD;
use crate::subject::read_manifest;
use crate::{Blob, Digest, Error};

/// What the report calls the commands that built engines.
const PURPOSE: &str = "Build the engine";
const RTX_PURPOSE: &str = "Build engines for RTX GPUs";

/// An engine that is ready to be handed over.
pub(super) struct Finished {
    pub(super) made: Made,
    pub(super) precisions: Precisions,
    pub(super) parity: Vec<Check>,
    pub(super) batch_1: Option<Timed>,
    pub(super) batch_max: Option<Timed>,
}

impl Maker<'_> {
    /// Writes the engine and its logs, the engine last of what it consists of; gives what is recorded and the files.
    pub(super) fn publish(
        &self,
        run: &Run<'_>,
        finished: Finished,
    ) -> Result<(TensorRt, Vec<String>), Error> {
        let Finished { made, precisions, parity, batch_1, batch_max } = finished;
        let path = self.engine_path(made.batches);
        let root = &self.job.place.root;
        let mut files = Vec::new();
        let mut put = |path: String, bytes: &[u8]| {
            write(root, &path, |file| file.write_all(bytes))?;
            files.push(path);
            Ok::<(), Error>(())
        };
        for timed in [&batch_1, &batch_max].into_iter().flatten() {
            put(self.processor.log_path(timed.run.batch), &timed.log)?;
        }
        let tensorrt = self.record(&made, precisions, parity, path, [batch_1, batch_max])?;
        files.extend(put_engine(run, root, &tensorrt, [&made.log, &made.engine], made.layers.as_ref())?);
        self.copy_times(run, &mut files)?;
        Ok((tensorrt, files))
    }

    fn record(
        &self,
        made: &Made,
        precisions: Precisions,
        parity: Vec<Check>,
        path: String,
        timed: [Option<Timed>; 2],
    ) -> Result<TensorRt, Error> {
        let checks = std::iter::once(precisions.check).chain(parity).collect();
        let [batch_1, batch_max] = timed.map(|timed| timed.map(|timed| timed.run));
        // An engine for one image at a time has one figure.
        let batch_1 = batch_1.or(batch_max.filter(|run| run.batch == 1));
        let engine = Engine {
            path,
            bytes: made.engine.bytes,
            precision: precisions.found,
            max_batch: made.batches.max,
            workspace_mib: Some(made.workspace_mib),
            timing_cache: Some(paths::TIMING_CACHE.to_owned()),
            optimization_level: made.level,
            build_seconds: made.seconds,
            built_from: self.job.source.path.clone(),
            build: Some(EngineBuild {
                tensorrt: self.trtexec.version.to_string(),
                gpu: self.processor.gpu.name.clone(),
                source_sha256: Digest::of_file(&self.job.source.onnx)?.to_string(),
                min_batch: made.batches.min,
                opt_batch: made.batches.opt,
                command: made.command.clone(),
                retries: made.retries.clone(),
                layers: precisions.shares,
            }),
        };
        Ok(TensorRt { engine, batch_1, batch_max, checks })
    }

    /// The times of kernels, for whoever builds with `trtexec` directly.
    fn copy_times(&self, run: &Run<'_>, files: &mut Vec<String>) -> Result<(), Error> {
        let times = self.timing_cache(&run.store)?;
        let Ok(mut source) = File::open(&times) else { return Ok(()) };
        write(&self.job.place.root, paths::TIMING_CACHE, |file| io::copy(&mut source, file).map(drop))?;
        files.push(paths::TIMING_CACHE.to_owned());
        Ok(())
    }
}

/// Writes an engine below `root`, with what is recorded, what was printed (the first of `parts`) and what its layers are; the
/// engine last. Gives the files.
pub(super) fn put_engine(
    run: &Run<'_>,
    root: &Path,
    tensorrt: &TensorRt,
    [log, engine]: [&Blob; 2],
    layers: Option<&Blob>,
) -> Result<Vec<String>, Error> {
    let path = &tensorrt.engine.path;
    let mut json = serde_json::to_vec_pretty(tensorrt)
        .map_err(|source| Error::Record { what: BUILD.name.into(), source })?;
    json.push(b'\n');
    write(root, &build_path(path), |file| file.write_all(&json))?;
    let mut files = vec![build_path(path)];
    let blobs = [(log_path(path), Some(log)), (layers_path(path), layers), (path.clone(), Some(engine))];
    for (path, blob) in blobs {
        let Some(blob) = blob else { continue };
        copy(run, blob, root, &path)?;
        files.push(path);
    }
    Ok(files)
}

fn copy(run: &Run<'_>, blob: &Blob, root: &Path, path: &str) -> Result<(), Error> {
    let from = run.store.path(blob);
    let mut source = File::open(&from).map_err(|source| Error::Io { path: from, source })?;
    write(root, path, |file| io::copy(&mut source, file).map(drop))
}

/// Writes a file below `root`, whole or not at all.
pub(crate) fn write(
    root: &Path,
    path: &str,
    content: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), Error> {
    let target = root.join(path);
    let folder = target.parent().unwrap_or(root);
    crate::store::create_dir(folder)?;
    write_whole(folder, &target, |file, _| {
        content(file).map_err(|source| Error::Io { path: target.clone(), source })
    })
}

/// Where what was printed while an engine was built lies.
fn log_path(engine: &str) -> String {
    format!("{}_build.log", engine.trim_end_matches(".engine"))
}

/// Where what was printed by a build that failed lies.
pub(super) fn failed_log_path(engine: &str) -> String {
    format!("{}_build.failed.log", engine.trim_end_matches(".engine"))
}

/// Records an engine in its package and writes the report again.
pub(super) fn record(package: &Path, tensorrt: &TensorRt, command: &str) -> Result<Vec<String>, Error> {
    amend(package, PURPOSE, command, |measurements| {
        if let Some(build) = &tensorrt.engine.build {
            measurements.machine.software.insert("TensorRT".into(), build.tensorrt.clone());
        }
        measurements.steps.retain(|step| step.name != BUILD.name);
        let seconds = (tensorrt.engine.build_seconds * 1e3).round() / 1e3;
        measurements.steps.push(StepTime { name: BUILD.name.to_owned(), seconds });
        measurements.tensorrt = Some(tensorrt.clone());
    })
}

/// Records engines of TensorRT for RTX, in place of earlier ones of their names, and writes the report again.
pub(super) fn record_rtx(package: &Path, built: &[Built], command: &str) -> Result<Vec<String>, Error> {
    amend(package, RTX_PURPOSE, command, |measurements| {
        let engines = &mut measurements.rtx_engines;
        engines.retain(|known| built.iter().all(|new| new.tensorrt.engine.path != known.engine.path));
        engines.extend(built.iter().map(|new| new.tensorrt.clone()));
        engines.sort_by(|a, b| a.engine.path.cmp(&b.engine.path));
    })
}

/// Changes what a package records of measurements, remembers the command and writes the report again. Gives the files.
pub(crate) fn amend(
    package: &Path,
    purpose: &str,
    command: &str,
    change: impl FnOnce(&mut Measurements),
) -> Result<Vec<String>, Error> {
    let mut measurements = read_measurements(package)?;
    change(&mut measurements);
    let text = measurements.to_json();
    write(package, paths::MEASUREMENTS, |file| file.write_all(text.as_bytes()))?;
    remember_command(package, purpose, command)?;
    let mut files = rereport(package)?;
    files.push(paths::MEASUREMENTS.to_owned());
    Ok(files)
}

/// Adds the command to those that made the package, in place of an earlier one.
fn remember_command(package: &Path, purpose: &str, command: &str) -> Result<(), Error> {
    let path = package.join(paths::BENCHMARK_DATA);
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Io { path, source })?;
    let read = |source| deploy::Error::Json { file: paths::BENCHMARK_DATA, source };
    let mut data: BenchmarkData = serde_json::from_str(&text).map_err(read)?;
    data.commands.retain(|known| known.purpose != purpose);
    data.commands.push(Command { purpose: purpose.into(), line: command.to_owned() });
    write(package, paths::BENCHMARK_DATA, |file| file.write_all(data.to_json().as_bytes()))
}

pub(crate) fn read_measurements(package: &Path) -> Result<Measurements, Error> {
    let path = package.join(paths::MEASUREMENTS);
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Io { path, source })?;
    Ok(Measurements::from_json(&text)?)
}

/// The engines of the package that is about to be replaced, as long as the graphs that they were built from stay: the one of
/// `trtexec`, and those for RTX GPUs.
pub(crate) fn kept(older: &Path, manifest: &Manifest) -> (Option<TensorRt>, Vec<TensorRt>) {
    let recorded = read_manifest(older).and_then(|_| read_measurements(older));
    let Ok(Measurements { tensorrt, rtx_engines, .. }) = recorded else { return (None, Vec::new()) };
    let stays = |built: &TensorRt| {
        let source = manifest.artefact(&built.engine.built_from);
        let digest = built.engine.build.as_ref().map(|build| &build.source_sha256);
        let is_same = source.is_some_and(|source| digest == Some(&source.sha256));
        is_same && older.join(&built.engine.path).is_file()
    };
    (tensorrt.filter(stays), rtx_engines.into_iter().filter(stays).collect())
}
