//! Many streams, timed: as many as the engine promises, then as many as the first run says are real-time.

use std::time::{Duration, Instant};

use deploy::{StreamRun, TrtexecRun};
use runtime::tools::deepstream_app::PerfLog;
use runtime::tools::nvidia_smi;

use super::config::Kind;
use super::{Job, Streaming, limit};
use crate::Error;
use crate::build::write;

/// Seconds between two lines of frame rates, as the configuration says.
const INTERVAL: u32 = 2;
/// How long the start may take: loading the engine, opening every stream.
const START: Duration = Duration::from_mins(20);
/// How often it is asked what is busy.
const ASK: Duration = Duration::from_secs(2);

/// A run with many streams.
pub(super) struct Timed {
    pub(super) run: StreamRun,
    /// What was printed, by its path in the package.
    pub(super) log: String,
    /// What was busy; `None` where the driver does not tell.
    pub(super) busy: Option<Busy>,
}

/// Percent of the time that parts of the GPU worked, on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Busy {
    pub(super) gpu: f64,
    pub(super) decoder: f64,
}

impl Job<'_> {
    /// Both runs.
    pub(super) fn timed(
        &self,
        streaming: &Streaming,
        engine: Option<TrtexecRun>,
    ) -> Result<Vec<Timed>, Error> {
        let most = self.engine.max_batch;
        let promised = engine.map_or(most, |engine| engine.streams());
        let first =
            self.run_streams(streaming.streams.unwrap_or(promised).clamp(1, most), 1, streaming.seconds)?;
        let real_time = (first.run.total_fps / 30.0) as u32;
        let second = self.run_streams(real_time.clamp(1, most), 2, streaming.seconds)?;
        let message = format!("{} of 30 fps", limit::real_time(second.run));
        self.note(&message);
        Ok(vec![first, second])
    }

    fn run_streams(&self, streams: u32, run: u32, seconds: u32) -> Result<Timed, Error> {
        self.note(&format!("run {run}: {streams} streams"));
        let config = self.configs.write(Kind::Perf(streams), &self.engine)?;
        let lines = seconds.div_ceil(INTERVAL).max(1) as usize;
        let (mut perf, mut samples, mut asked) = (PerfLog::default(), Vec::new(), Instant::now());
        let mut is_enough = |line: Option<&str>| {
            if line.is_some_and(|line| perf.add(line)) {
                return perf.steady().len() >= lines;
            }
            if !perf.steady().is_empty() && asked.elapsed() >= ASK {
                asked = Instant::now();
                samples.extend(nvidia_smi::busy().ok().flatten());
            }
            false
        };
        let limit = START + Duration::from_secs(u64::from(seconds) * 2);
        let ended = self.app.run(config.path(), self.package, limit, self.cancelled, &mut is_enough)?;
        let log = format!("benchmarks/ds/ds_s{streams}_run{run}.log");
        write(self.package, &log, |file| std::io::Write::write_all(file, ended.log.as_bytes()))?;
        let failed = |reason: String| runtime::Error::Tool { tool: "deepstream-app", reason };
        if perf.streams != streams as usize {
            let reason = format!("it ran {} streams instead of {streams}: see `{log}`", perf.streams);
            return Err(failed(reason).into());
        }
        let total = perf
            .total()
            .ok_or_else(|| failed(format!("it ended before its frame rate was steady: see `{log}`")))?;
        let count = samples.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
        let busy = (!samples.is_empty())
            .then(|| Busy { gpu: mean(|sample| sample.0), decoder: mean(|sample| sample.1) });
        Ok(Timed { run: StreamRun { streams, total_fps: total }, log, busy })
    }
}
