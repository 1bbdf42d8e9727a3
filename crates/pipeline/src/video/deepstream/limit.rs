//! What many streams say: how many are real-time, and what holds back more of them.

use deploy::{StreamLimit, StreamRun, TrtexecRun};

use super::timed::Timed;

/// Frames a second of a stream.
const REAL_TIME: f64 = 30.0;
/// Share of its own throughput from which the engine is the limit.
const NEAR: f64 = 0.9;
/// Percent of the time from which a part of the GPU is busy.
const BUSY: f64 = 90.0;

/// Streams that get 30 frames a second: those of the run when they all did, else as many as its frames would serve.
pub(super) fn real_time(run: StreamRun) -> u32 {
    if run.fps_per_stream() >= REAL_TIME { run.streams } else { (run.total_fps / REAL_TIME) as u32 }
}

/// Images a second over those of the engine alone.
pub(super) fn efficiency(run: StreamRun, engine: TrtexecRun) -> f64 {
    run.total_fps / engine.images_per_second().max(f64::MIN_POSITIVE)
}

/// What the run was held back by: what the driver saw busy, else what the engine's own throughput says.
pub(super) fn of(timed: &Timed, engine: Option<TrtexecRun>) -> Option<StreamLimit> {
    if let Some(busy) = timed.busy {
        if busy.decoder >= BUSY && busy.decoder >= busy.gpu {
            return Some(StreamLimit::Nvdec);
        }
        if busy.gpu >= BUSY {
            return Some(StreamLimit::Gpu);
        }
    }
    let share = efficiency(timed.run, engine?);
    Some(match timed.busy {
        _ if share >= NEAR => StreamLimit::Gpu,
        // Both were seen idle: frames wait for something else.
        Some(_) => StreamLimit::Pipeline,
        None => StreamLimit::Nvdec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::deepstream::timed::Busy;

    #[test]
    fn what_is_busy_is_the_limit() {
        let engine = TrtexecRun { batch: 4, qps: 100.0, gpu_mean_ms: 1.0, gpu_p99_ms: 1.0 };
        let run = |total_fps| StreamRun { streams: 10, total_fps };
        let cases = [
            (390.0, None, Some(engine), Some(StreamLimit::Gpu)),
            (200.0, None, Some(engine), Some(StreamLimit::Nvdec)),
            (200.0, Some((40.0, 97.0)), Some(engine), Some(StreamLimit::Nvdec)),
            (200.0, Some((98.0, 97.0)), Some(engine), Some(StreamLimit::Gpu)),
            (200.0, Some((30.0, 20.0)), Some(engine), Some(StreamLimit::Pipeline)),
            (200.0, Some((95.0, 20.0)), None, Some(StreamLimit::Gpu)),
            (200.0, None, None, None),
        ];
        for (total, busy, engine, limit) in cases {
            let busy = busy.map(|(gpu, decoder)| Busy { gpu, decoder });
            assert_eq!(
                of(&Timed { run: run(total), log: String::new(), busy }, engine),
                limit,
                "{total} {busy:?}"
            );
        }
        assert_eq!((real_time(run(300.0)), real_time(run(299.0)), real_time(run(20.0))), (10, 9, 0));
        assert!((efficiency(run(200.0), engine) - 0.5).abs() < 1e-9);
    }
}
