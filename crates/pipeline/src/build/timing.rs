//! Times an engine with `trtexec`, and the search for the batch at which it serves as many streams as it has room for.

use std::fs;
use std::time::Duration;

use deploy::TrtexecRun;
use runtime::tools::trtexec::{Cause, Load, Log, Running};

use super::Batches;
use super::job::Work;
use super::make::{Made, Maker};
use crate::Error;
use crate::run::{Event, Run};
use crate::steps::BUILD;

/// Loading a large engine, warming up and counting.
const PATIENCE: Duration = Duration::from_mins(15);
/// Where the search begins and where it ends.
pub(super) const FIRST_BATCH: u32 = 64;
const LARGEST_BATCH: u32 = 512;
/// The percentile that is reported.
const PERCENTILE: f64 = 99.0;

/// An engine at one batch.
pub(super) struct Timed {
    pub(super) run: TrtexecRun,
    /// Why the figure may be off.
    pub(super) doubts: Vec<String>,
    /// Everything that was printed.
    pub(super) log: Vec<u8>,
}

/// An engine with its figure at the maximum batch, where it was timed.
pub(super) struct Candidate {
    pub(super) made: Made,
    pub(super) at_max: Option<Timed>,
}

impl Maker<'_> {
    /// The engine at one batch, on the GPU alone.
    pub(super) fn time(&self, run: &Run<'_>, made: &Made, batch: u32) -> Result<Timed, Error> {
        let work = Work(run.store.temporary_folder()?);
        let (engine, log) = (run.store.path(&made.engine), work.log());
        let load = Load {
            engine: &engine,
            shapes: &self.job.shapes.at(batch),
            plugins: &self.job.options.plugins,
            device: self.processor.device,
        };
        let running = Running { folder: &work.0, log: &log, limit: PATIENCE, cancelled: self.job.cancelled };
        run.tell(Event::Note { step: BUILD.name, message: &format!("timing batch {batch}") });
        let printed = self.trtexec.run(&load.timing(self.trtexec.version), &running, &mut |_| {})?;
        let log = fs::read(&log).map_err(|source| Error::Io { path: log, source })?;
        let run = figure(&printed, batch)?;
        Ok(Timed { run, doubts: printed.doubts, log })
    }

    /// The engine for the batches that were asked for. When nobody asked, batches double from 64 on while the engine would
    /// serve more streams than it takes at a time, as far as the memory goes.
    pub(super) fn search(&self, run: &Run<'_>) -> Result<Vec<Candidate>, Error> {
        if let Some(batches) = self.asked() {
            return Ok(vec![self.candidate(run, batches, true)?]);
        }
        let mut candidates = vec![self.candidate(run, Batches::up_to(FIRST_BATCH), true)?];
        while let Some(next) = candidates.last().and_then(|last| self.next(run, last)) {
            match self.candidate(run, Batches::up_to(next), false) {
                Ok(candidate) => candidates.push(candidate),
                Err(error) if is_limit(&error) => {
                    let message = format!("no engine for batch {next}: {}", crate::chain(&error));
                    run.tell(Event::Warning { step: BUILD.name, message: &message });
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(candidates)
    }

    /// The batches that are built first.
    pub(super) fn first(&self) -> Batches {
        self.asked().unwrap_or(Batches::up_to(FIRST_BATCH))
    }

    /// The engine for them.
    pub(super) fn first_made(&self, run: &Run<'_>) -> Result<Made, Error> {
        self.make(run, self.first(), self.may_shrink(true))
    }

    /// One batch only was meant literally.
    fn may_shrink(&self, wanted: bool) -> bool {
        wanted && self.job.shapes.fixed_batch.is_none()
    }

    /// The batches that leave no choice.
    fn asked(&self) -> Option<Batches> {
        let fixed = self.job.shapes.fixed_batch.map(Batches::only);
        fixed
            .or(self.job.options.batches)
            .or_else(|| (!self.job.options.timed).then(|| Batches::up_to(FIRST_BATCH)))
    }

    fn candidate(&self, run: &Run<'_>, batches: Batches, may_shrink: bool) -> Result<Candidate, Error> {
        let made = self.make(run, batches, self.may_shrink(may_shrink))?;
        let at_max = self.job.options.timed.then(|| self.time(run, &made, made.batches.max)).transpose()?;
        Ok(Candidate { made, at_max })
    }

    /// The next batch to try after this one.
    fn next(&self, run: &Run<'_>, last: &Candidate) -> Option<u32> {
        let timed = last.at_max.as_ref()?;
        let max = last.made.batches.max;
        let next = doubled(max, timed.run.streams())?;
        let needs = last.made.peak_gpu_mib.map(|peak| peak * 2.0);
        let (Some(needs), Some(free)) = (needs, self.processor.free_mib) else { return Some(next) };
        if needs <= free as f64 {
            return Some(next);
        }
        let message =
            format!("batch {next} is not tried: it would take about {needs:.0} MiB, {free} are free");
        run.tell(Event::Note { step: BUILD.name, message: &message });
        None
    }
}

/// The next batch while the engine would serve more streams than it takes at a time.
fn doubled(max: u32, streams: u32) -> Option<u32> {
    // One that shrank for want of memory is not tried larger.
    (max >= FIRST_BATCH && streams > max && max < LARGEST_BATCH).then_some(max * 2)
}

/// Whether an engine was not possible where a smaller one was.
fn is_limit(error: &Error) -> bool {
    let Error::Runtime(error) = error else { return false };
    let runtime::Error::Trtexec(failure) = &**error else { return false };
    matches!(failure.cause, Cause::OutOfMemory | Cause::NoImplementation | Cause::Killed)
}

/// What a log says about the speed.
fn figure(log: &Log, batch: u32) -> Result<TrtexecRun, Error> {
    let lacks =
        |what: &str| runtime::Error::Tool { tool: "trtexec", reason: format!("it counted no {what}") };
    let performance = log.performance.as_ref().ok_or_else(|| lacks("throughput"))?;
    let gpu = performance.gpu.as_ref().ok_or_else(|| lacks("time on the GPU"))?;
    let p99 = gpu.percentile(PERCENTILE).ok_or_else(|| lacks("99th percentile"))?;
    let run = TrtexecRun { batch, qps: performance.qps, gpu_mean_ms: gpu.mean, gpu_p99_ms: p99 };
    // What is no number cannot be kept: JSON has no word for it.
    let is_figure =
        [run.qps, run.gpu_mean_ms, run.gpu_p99_ms].iter().all(|value| value.is_finite() && *value > 0.0);
    if is_figure { Ok(run) } else { Err(lacks("number that means something").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_double_while_there_are_more_streams_than_rows() {
        let cases = [
            (64, 65, Some(128)),
            (64, 64, None),
            (128, 334, Some(256)),
            (256, 334, Some(512)),
            (512, 900, None),
            (32, 90, None),
        ];
        for (max, streams, expected) in cases {
            assert_eq!(doubled(max, streams), expected, "{max} {streams}");
        }
    }

    #[test]
    fn a_log_without_a_figure_is_an_error() {
        let gpu = |mean: &str| {
            format!(
                "[t] [I] GPU Compute Time: min = 1 ms, max = 3 ms, mean = {mean} ms, median = 2 ms, percentile(99%) = 3 ms"
            )
        };
        let log = |qps: &str, mean: &str| Log::read(&format!("[t] [I] Throughput: {qps} qps\n{}", gpu(mean)));
        let run = figure(&log("1.5e+02", "2"), 64).unwrap();
        assert_eq!((run.streams(), run.batch), (320, 64));
        for (qps, mean) in [("nan", "2"), ("0", "2"), ("100", "inf")] {
            assert!(figure(&log(qps, mean), 1).is_err(), "{qps} {mean}");
        }
        assert!(figure(&Log::read("[t] [I] Throughput: 3 qps"), 1).is_err());
        assert!(figure(&Log::default(), 1).is_err());
    }
}
