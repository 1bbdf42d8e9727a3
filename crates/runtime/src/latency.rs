//! How long a run takes, and how that was measured.
//!
//! A percentile is numpy's default: linear interpolation between the two samples around rank `q × (n − 1)`. With few
//! samples p99 is therefore close to the maximum, so the count stands beside every number.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Error;

/// How many runs to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Runs before the clock starts.
    pub warm_up: usize,
    /// Runs to time; at least 1.
    pub count: usize,
    /// Stop early once this much time has gone by (at least one run is timed). With `count: usize::MAX` this alone
    /// ends the measurement.
    pub at_most: Option<Duration>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { warm_up: 10, count: 100, at_most: None }
    }
}

/// The conditions that a latency holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    /// Runs before the clock started.
    pub warm_up: usize,
    /// Runs timed.
    pub count: usize,
    /// Images in a run.
    pub batch: usize,
    /// Threads that the backend computed with; `None` where that means nothing (a GPU).
    pub threads: Option<usize>,
}

/// Latency of one run in milliseconds, and the throughput.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The shortest run.
    pub min_ms: f64,
    /// The mean.
    pub mean_ms: f64,
    /// The median.
    pub p50_ms: f64,
    /// Nine runs of ten are not longer.
    pub p90_ms: f64,
    /// Ninety-nine runs of a hundred are not longer.
    pub p99_ms: f64,
    /// The longest run.
    pub max_ms: f64,
    /// Images in a second, by the clock on the wall: `batch × count / time from the first start to the last end`.
    pub throughput: f64,
    /// How it was measured.
    pub protocol: Protocol,
}

impl Latency {
    /// The statistics of these samples, taken within `wall` of time.
    ///
    /// # Errors
    /// [`Error::NoSamples`] when there are none.
    pub fn of(samples: &[Duration], wall: Duration, protocol: Protocol) -> Result<Self, Error> {
        let mut sorted: Vec<f64> = samples.iter().map(|sample| sample.as_secs_f64() * 1e3).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first().copied(), sorted.last().copied()) else {
            return Err(Error::NoSamples);
        };
        let images = (protocol.batch * samples.len()) as f64;
        let seconds = wall.as_secs_f64();
        Ok(Self {
            min_ms: min,
            mean_ms: sorted.iter().sum::<f64>() / sorted.len() as f64,
            p50_ms: percentile(&sorted, 0.50),
            p90_ms: percentile(&sorted, 0.90),
            p99_ms: percentile(&sorted, 0.99),
            max_ms: max,
            throughput: if seconds > 0.0 { images / seconds } else { 0.0 },
            protocol: Protocol { count: samples.len(), ..protocol },
        })
    }
}

/// The value below which the share `q` (0..1) of `sorted` lies, interpolated linearly as numpy does. 0 of nothing.
pub fn percentile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let rank = q.clamp(0.0, 1.0) * last as f64;
    let below = (rank.floor() as usize).min(last);
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (rank - below as f64)
}

/// Runs `run` by this sampling and times it. `batch` is the number of images in a run.
///
/// # Errors
/// The first error of `run`; [`Error::NoSamples`] when `sampling.count` is 0.
pub fn measure(
    sampling: Sampling,
    batch: usize,
    threads: Option<usize>,
    mut run: impl FnMut() -> Result<(), Error>,
) -> Result<Latency, Error> {
    for _ in 0..sampling.warm_up {
        run()?;
    }
    let mut samples = Vec::with_capacity(sampling.count.min(10_000));
    let start = Instant::now();
    for _ in 0..sampling.count {
        let before = Instant::now();
        run()?;
        samples.push(before.elapsed());
        if sampling.at_most.is_some_and(|limit| start.elapsed() >= limit) {
            break;
        }
    }
    let wall = start.elapsed();
    let protocol = Protocol { warm_up: sampling.warm_up, count: samples.len(), batch, threads };
    Latency::of(&samples, wall, protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOCOL: Protocol = Protocol { warm_up: 2, count: 0, batch: 4, threads: Some(2) };

    fn close(actual: f64, expected: f64) -> bool {
        (actual - expected).abs() < 1e-9
    }

    #[test]
    fn every_statistic_of_a_small_case() {
        let samples: Vec<Duration> = [7, 1, 3, 5, 100].map(Duration::from_millis).to_vec();
        let latency = Latency::of(&samples, Duration::from_millis(200), PROTOCOL).unwrap();
        // numpy.percentile([1, 3, 5, 7, 100], [50, 90, 99]) = 5, 62.8, 96.28
        let expected = [
            (latency.min_ms, 1.0),
            (latency.mean_ms, 23.2),
            (latency.p50_ms, 5.0),
            (latency.p90_ms, 62.8),
            (latency.p99_ms, 96.28),
            (latency.max_ms, 100.0),
            (latency.throughput, 100.0),
        ];
        for (at, (actual, expected)) in expected.into_iter().enumerate() {
            assert!(close(actual, expected), "statistic {at}: {actual} is not {expected}");
        }
        assert_eq!(latency.protocol.count, 5);
    }

    #[test]
    fn percentiles_are_numpys() {
        let cases: [(&[f64], f64, f64); 6] = [
            (&[4.0], 0.99, 4.0),
            (&[1.0, 2.0], 0.5, 1.5),
            (&[1.0, 2.0, 3.0, 4.0], 0.5, 2.5),
            (&[1.0, 2.0, 3.0, 4.0], 0.9, 3.7),
            (&[1.0, 2.0, 3.0, 4.0], 1.0, 4.0),
            (&[], 0.5, 0.0),
        ];
        for (sorted, q, expected) in cases {
            assert!(close(percentile(sorted, q), expected), "{sorted:?} {q}");
        }
    }

    #[test]
    fn warm_up_and_count_are_kept() {
        let mut calls = 0;
        let sampling = Sampling { warm_up: 3, count: 5, at_most: None };
        let latency = measure(sampling, 1, None, || {
            calls += 1;
            Ok(())
        });
        assert_eq!(latency.unwrap().protocol.count, 5);
        assert_eq!(calls, 8);
    }

    #[test]
    fn time_ends_a_measurement_after_at_least_one_run() {
        let sampling = Sampling { warm_up: 0, count: usize::MAX, at_most: Some(Duration::ZERO) };
        let latency = measure(sampling, 1, None, || Ok(())).unwrap();
        assert_eq!(latency.protocol.count, 1);
        let sampling = Sampling { at_most: Some(Duration::from_millis(20)), ..sampling };
        let started = Instant::now();
        let latency = measure(sampling, 1, None, || {
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        });
        let latency = latency.unwrap();
        assert!(latency.protocol.count > 1 && started.elapsed() >= Duration::from_millis(20));
        assert!(latency.min_ms >= 1.0 && latency.max_ms >= latency.p99_ms);
    }

    #[test]
    fn errors_come_through() {
        let none = Sampling { warm_up: 0, count: 0, at_most: None };
        assert!(matches!(measure(none, 1, None, || Ok(())), Err(Error::NoSamples)));
        let one = Sampling { warm_up: 0, count: 1, at_most: None };
        let failed =
            measure(one, 1, None, || Err(Error::MissingInput { name: "x".into(), expected: String::new() }));
        assert!(matches!(failed, Err(Error::MissingInput { .. })));
    }
}
