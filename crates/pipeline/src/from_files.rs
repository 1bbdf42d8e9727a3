//! `bench --from-files`: images a second from image files to boxes, with decoding, graph and boxes side by side.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use detect::Thresholds;
use serde::Serialize;

use crate::images::ImageSet;
use crate::network::Network;
use crate::steps::measure::Load;
use crate::stream::Stream;
use crate::{Error, Subject};

/// Throughput of the whole way of images, from their files to boxes.
#[derive(Debug, Clone, Serialize)]
pub struct FromFiles {
    /// Images in one run of the graph.
    pub batch: usize,
    /// How many times the graph is loaded; each takes the next batch that is ready.
    pub sessions: usize,
    /// Images counted.
    pub images: usize,
    /// Images a second, by the clock on the wall.
    pub images_per_second: f64,
}

/// Takes the figure at each of the load's batches: `load.count` runs, or until `load.at_most` is over.
///
/// # Errors
/// [`Error::Options`] without images or sessions, and with images of several sizes for a graph that takes raw frames in
/// batches; those of loading and running.
pub fn bench_files(
    subject: &Subject,
    images: &ImageSet,
    load: &Load,
    sessions: usize,
    backend: &str,
) -> Result<Vec<FromFiles>, Error> {
    if images.images.is_empty() || sessions == 0 {
        return Err(Error::Options("there is nothing to measure with".into()));
    }
    let load_one = || Network::load(&subject.onnx, &subject.detector, backend, load.threads);
    let mut networks = (0..sessions).map(|_| load_one()).collect::<Result<Vec<_>, _>>()?;
    load.batches.iter().map(|batch| measure(subject, images, load, *batch, &mut networks)).collect()
}

fn measure(
    subject: &Subject,
    images: &ImageSet,
    load: &Load,
    batch: usize,
    networks: &mut [Network<'_>],
) -> Result<FromFiles, Error> {
    let sessions = networks.len();
    // Every session has its warm-up, and the way is full when the clock starts.
    let before = load.warm_up.max(1) * sessions * batch;
    let most = load.count.max(1).saturating_mul(batch);
    let stream = Stream {
        detector: &subject.detector,
        batch,
        count: before.saturating_add(most),
        image: &|at| images.images[at % images.images.len()].decode(),
        thresholds: Thresholds::for_head(&subject.detector.head),
    };
    let (mut seen, mut started, mut took) = (0, None, Duration::ZERO);
    stream.run(networks, &mut |_, _| {
        seen += 1;
        if seen == before {
            started = Some(Instant::now());
        }
        let Some(started) = started else { return Ok(ControlFlow::Continue(())) };
        took = started.elapsed();
        // Whole batches only: their images come together.
        let is_whole = (seen - before).is_multiple_of(batch);
        let is_over = is_whole && seen > before && took >= load.at_most;
        Ok(if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    let counted = seen - before.min(seen);
    let images_per_second = if took.is_zero() { 0.0 } else { counted as f64 / took.as_secs_f64() };
    Ok(FromFiles { batch, sessions, images: counted, images_per_second })
}
