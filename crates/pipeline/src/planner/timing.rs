//! Times a graph in turns with another one.
//!
//! What else a machine does slows both alike, so their ratio says more than two times that were taken one after the other.

use std::path::Path;
use std::time::{Duration, Instant};

use detect::Detector;
use runtime::latency::percentile;
use runtime::{Latency, Protocol};
use serde::{Deserialize, Serialize};

use crate::images::ImageFile;
use crate::network::{Network, Outputs};
use crate::{Error, Load};

/// How a graph is timed.
pub(super) struct Timing<'a> {
    pub(super) detector: &'a Detector,
    pub(super) backend: &'a str,
    pub(super) load: &'a Load,
    pub(super) image: Option<&'a ImageFile>,
}

/// Time of one image: pairs of the graph and another one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Timed {
    pub(super) latency: Latency,
    /// The median time of the other graph in the same minutes, in milliseconds; the own one without another.
    pub(super) reference_ms: f64,
    /// How many times as fast as the other graph: the median over the pairs.
    pub(super) speed: f64,
}

impl Timing<'_> {
    /// Times a graph at batch 1, in turns with `reference`.
    pub(super) fn of(&self, onnx: &Path, reference: Option<&Path>) -> Result<Timed, Error> {
        let image = self.image.ok_or_else(|| Error::Options("there is no image to time with".into()))?;
        let mut network = self.load(onnx)?;
        let mut other = reference.map(|onnx| self.load(onnx)).transpose()?;
        let inputs = network.inputs(&[image.decode()?])?.inputs;
        let (mut samples, mut others) = (Vec::new(), Vec::new());
        let started = Instant::now();
        for round in 0..self.load.warm_up + self.load.count.max(1) {
            let before = other.as_mut().map(|other| timed(other, &inputs)).transpose()?;
            let own = timed(&mut network, &inputs)?;
            if round < self.load.warm_up {
                continue;
            }
            samples.push(own);
            others.extend(before);
            if started.elapsed() >= self.load.at_most {
                break;
            }
        }
        let ratio = |(own, other): (&Duration, &Duration)| other.as_secs_f64() / own.as_secs_f64().max(1e-9);
        let speed = median(samples.iter().zip(&others).map(ratio)).unwrap_or(1.0);
        let protocol = Protocol {
            warm_up: self.load.warm_up,
            count: samples.len(),
            batch: 1,
            threads: self.load.threads,
        };
        let latency = Latency::of(&samples, samples.iter().sum(), protocol)?;
        let reference = median(others.iter().map(|other| other.as_secs_f64() * 1e3));
        Ok(Timed { reference_ms: reference.unwrap_or(latency.p50_ms), latency, speed })
    }

    fn load(&self, onnx: &Path) -> Result<Network<'_>, Error> {
        Network::load(onnx, self.detector, self.backend, self.load.threads)
    }
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty()).then(|| percentile(&sorted, 0.5))
}

fn timed(network: &mut Network<'_>, inputs: &Outputs) -> Result<Duration, Error> {
    let before = Instant::now();
    network.run(inputs)?;
    Ok(before.elapsed())
}
