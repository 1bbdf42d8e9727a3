//! `reports/benchmark_data.json`: the report's numbers for other programs.
//!
//! The keys up to `deepstream` are the documented schema of the benchmark report; a number that was not measured is
//! `null`. The keys after it are additions and may grow.

use serde::{Deserialize, Serialize};

use super::{Command, PrecisionRecall, ReportData, Sample};
use crate::manifest::pretty;
use crate::{Accuracy, Check, Figure, ImageTimes, StreamRun};

/// The numbers of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchmarkData {
    /// The package's name.
    pub model_name: String,
    /// The engine's path in the package.
    pub engine: Option<String>,
    /// The largest batch: the engine's, else the package's.
    pub max_bs: u32,
    /// What `trtexec` measured.
    pub trtexec: Trtexec,
    /// 30 fps streams that the GPU alone could serve.
    pub peak_gpu_streams: Option<u32>,
    /// What `DeepStream` measured.
    pub deepstream: Streams,
    /// COCO scores by artefact.
    pub accuracy: Vec<Accuracy>,
    /// Checks with bound, value and verdict.
    pub parity: Vec<Check>,
    /// Latency and throughput on the backends of this machine.
    pub backends: Vec<Figure>,
    /// Where the time of one image goes.
    pub image: Option<ImageTimes>,
    /// Precision–recall curves.
    pub curves: Vec<PrecisionRecall>,
    /// Annotated images.
    pub samples: Vec<Sample>,
    /// The commands that made the package.
    pub commands: Vec<Command>,
}

/// `trtexec` at batch 1 and at the maximum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Trtexec {
    /// At batch 1.
    pub bs1: TrtexecNumbers,
    /// At the maximum batch.
    pub bsmax: TrtexecNumbers,
}

/// Numbers of one `trtexec` run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TrtexecNumbers {
    /// Queries a second.
    pub qps: Option<f64>,
    /// GPU compute time, mean.
    pub gpu_mean_ms: Option<f64>,
    /// GPU compute time, 99th percentile.
    pub p99_ms: Option<f64>,
    /// Images a second.
    pub imgs_per_sec: Option<f64>,
}

/// The two `DeepStream` runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Streams {
    /// As many streams as the engine promises.
    pub run1: StreamNumbers,
    /// As many streams as stay real-time.
    pub run2: StreamNumbers,
}

/// Numbers of one `DeepStream` run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamNumbers {
    /// Streams, and the batch.
    pub streams: Option<u32>,
    /// Frames a second of all streams.
    pub total_fps: Option<f64>,
    /// Frames a second of one stream.
    pub fps_per_stream: Option<f64>,
}

impl BenchmarkData {
    /// The text of `benchmark_data.json`: pretty JSON with a newline at the end.
    pub fn to_json(&self) -> String {
        pretty(self)
    }
}

impl From<&ReportData> for BenchmarkData {
    fn from(data: &ReportData) -> Self {
        let tensorrt = data.measurements.tensorrt.as_ref();
        let deepstream = data.measurements.deepstream.as_ref();
        let trtexec = |run: Option<crate::TrtexecRun>| {
            run.map_or_else(TrtexecNumbers::default, |run| TrtexecNumbers {
                qps: Some(run.qps),
                gpu_mean_ms: Some(run.gpu_mean_ms),
                p99_ms: Some(run.gpu_p99_ms),
                imgs_per_sec: Some(run.images_per_second()),
            })
        };
        let streams = |run: Option<StreamRun>| {
            run.map_or_else(StreamNumbers::default, |run| StreamNumbers {
                streams: Some(run.streams),
                total_fps: Some(run.total_fps),
                fps_per_stream: Some(run.fps_per_stream()),
            })
        };
        Self {
            model_name: data.manifest.name.to_string(),
            engine: tensorrt.map(|tensorrt| tensorrt.engine.path.clone()),
            max_bs: tensorrt.map_or(data.manifest.max_batch, |tensorrt| tensorrt.engine.max_batch),
            trtexec: Trtexec {
                bs1: trtexec(tensorrt.and_then(|tensorrt| tensorrt.batch_1)),
                bsmax: trtexec(tensorrt.and_then(|tensorrt| tensorrt.batch_max)),
            },
            peak_gpu_streams: tensorrt.and_then(|tensorrt| tensorrt.batch_max).map(|run| run.streams()),
            deepstream: Streams {
                run1: streams(deepstream.and_then(|deepstream| deepstream.run_1)),
                run2: streams(deepstream.and_then(|deepstream| deepstream.run_2)),
            },
            accuracy: data.manifest.accuracy.clone(),
            parity: data.checks().cloned().collect(),
            backends: data.measurements.figures.clone(),
            image: data.measurements.image.clone(),
            curves: data.curves.clone(),
            samples: data.samples.clone(),
            commands: data.commands.clone(),
        }
    }
}
