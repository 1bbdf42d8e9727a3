//! Times a model on this machine: the graph at batch 1 and at the maximum, and where the time of one image goes.

use std::path::Path;
use std::time::{Duration, Instant};

use detect::{Detector, Image, Thresholds};
use runtime::{Latency, Sampling};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::images::ImageSet;
use crate::network::{Network, stacked};

/// How often and how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Images in one run, one figure each.
    pub batches: Vec<usize>,
    /// Runs before counting.
    pub warm_up: usize,
    /// Runs counted.
    pub count: usize,
    /// Counting ends after this long, whatever the count.
    pub at_most: Duration,
    /// Threads of the backend; `None` leaves it to the backend.
    pub threads: Option<usize>,
}

impl Default for Load {
    fn default() -> Self {
        Self { batches: vec![1, 4], warm_up: 2, count: 50, at_most: Duration::from_secs(3), threads: None }
    }
}

/// Figures of one model on one backend.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures {
    /// The backend.
    pub backend: String,
    /// Its version.
    pub version: String,
    /// What it ran on.
    pub device: String,
    /// Time to load the graph, in milliseconds.
    pub load_ms: f64,
    /// One entry a batch, the smallest first.
    pub batches: Vec<Latency>,
    /// Where the time of one image goes.
    pub image: Stages,
}

/// Figures and when they were taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) at: String,
    pub(crate) machine: runtime::Machine,
    pub(crate) figures: Figures,
}

/// Medians in milliseconds of one image's way from file to boxes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Stages {
    /// File to pixels, the read included.
    pub decode_ms: f64,
    /// Pixels to the input tensor.
    pub preprocess_ms: f64,
    /// The graph.
    pub inference_ms: f64,
    /// Output tensors to boxes.
    pub postprocess_ms: f64,
    /// Images counted.
    pub count: usize,
}

/// Takes the figures. `images` must not be empty.
pub(crate) fn measure(
    onnx: &Path,
    detector: &Detector,
    backend: &str,
    load: &Load,
    images: &ImageSet,
    progress: &dyn Fn(u64, u64),
) -> Result<Figures, Error> {
    let probe = runtime::backend(backend)?.probe()?;
    let started = Instant::now();
    let mut network = Network::load(onnx, detector, backend, load.threads)?;
    let load_ms = milliseconds(started.elapsed());
    let first =
        images.images.first().ok_or_else(|| Error::Options("there is no image to measure with".into()))?;
    let one = network.inputs(&[first.decode()?])?.inputs;

    let sizes = &load.batches;
    let mut batches = Vec::new();
    for (done, batch) in sizes.iter().enumerate() {
        progress(done as u64, sizes.len() as u64 + 1);
        let inputs = stacked(&vec![one.as_slice(); *batch])?;
        let sampling = Sampling { warm_up: load.warm_up, count: load.count, at_most: Some(load.at_most) };
        let latency = runtime::measure(sampling, *batch, load.threads, || network.run(&inputs).map(drop))?;
        batches.push(latency);
    }
    progress(sizes.len() as u64, sizes.len() as u64 + 1);
    let image = stages(&mut network, detector, load, images)?;
    progress(sizes.len() as u64 + 1, sizes.len() as u64 + 1);
    Ok(Figures {
        backend: backend.to_owned(),
        version: probe.version,
        device: probe.device,
        load_ms,
        batches,
        image,
    })
}

/// Times each stage of single images, going round the set.
fn stages(
    network: &mut Network<'_>,
    detector: &Detector,
    load: &Load,
    images: &ImageSet,
) -> Result<Stages, Error> {
    let thresholds = Thresholds::for_head(&detector.head);
    let mut times: [Vec<f64>; 4] = Default::default();
    let started = Instant::now();
    for image in images.images.iter().cycle().take(load.count.max(1)) {
        let mut lap = Instant::now();
        let mut next = |stage: usize| {
            times[stage].push(milliseconds(lap.elapsed()));
            lap = Instant::now();
        };
        let pixels: [Image; 1] = [image.decode()?];
        next(0);
        let prepared = network.inputs(&pixels)?;
        next(1);
        let outputs = network.run(&prepared.inputs)?;
        next(2);
        network.decode(&outputs, &prepared.geometries, &thresholds)?;
        next(3);
        if started.elapsed() >= load.at_most {
            break;
        }
    }
    let count = times[0].len();
    let [decode_ms, preprocess_ms, inference_ms, postprocess_ms] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        runtime::latency::percentile(&times, 0.5)
    });
    Ok(Stages { decode_ms, preprocess_ms, inference_ms, postprocess_ms, count })
}

fn milliseconds(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * 1e3
}
