//! From a histogram to the range that eight bits cover.

use std::str::FromStr;

use super::histogram::Histogram;

/// Codes of one sign.
const LEVELS: usize = 128;
/// Stands for a probability of 0 where the rounded distribution has none: the divergence stays finite and large.
const IMPOSSIBLE: f64 = 1e-9;

/// How the range of a value is chosen. Values beyond it are cut off; a wider range rounds the others more coarsely.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// The largest magnitude: nothing is cut off.
    MinMax,
    /// The least divergence between the distribution and its rounded form, as TensorRT's entropy calibrator
    /// (S. Migacz, "8-bit Inference with TensorRT", 2017).
    Entropy,
    /// So many percent of the values are covered.
    Percentile(f64),
    /// The least mean squared rounding error.
    Mse,
}

impl Method {
    /// The magnitude that the largest code stands for; 0 for a value that was always 0.
    pub fn range(self, histogram: &Histogram) -> f32 {
        let range = match self {
            Self::MinMax => histogram.max_abs(),
            Self::Entropy => entropy(histogram),
            Self::Percentile(percent) => percentile(histogram, percent),
            Self::Mse => mean_squared_error(histogram),
        };
        range.min(histogram.max_abs())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "minmax" => Ok(Self::MinMax),
            "entropy" => Ok(Self::Entropy),
            "mse" => Ok(Self::Mse),
            "percentile" => Ok(Self::Percentile(99.99)),
            other => {
                let percent = other.strip_prefix("percentile:").and_then(|number| number.parse().ok());
                let percent = percent.filter(|percent| (50.0..=100.0).contains(percent));
                percent.map(Self::Percentile).ok_or_else(|| {
                    format!("`{text}` is no method: minmax, entropy, mse, percentile or percentile:99.9")
                })
            }
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MinMax => f.write_str("minmax"),
            Self::Entropy => f.write_str("entropy"),
            Self::Percentile(percent) => write!(f, "percentile:{percent}"),
            Self::Mse => f.write_str("mse"),
        }
    }
}

fn percentile(histogram: &Histogram, percent: f64) -> f32 {
    let wanted = (histogram.count() as f64 * percent / 100.0).ceil() as u64;
    let mut covered = 0;
    for (at, bin) in histogram.used().iter().enumerate() {
        covered += bin;
        if covered >= wanted {
            return (at + 1) as f32 * histogram.width();
        }
    }
    histogram.max_abs()
}

/// The best number of bins to cover, by a cost that is to be small. Coverings of no more bins than levels round nothing.
fn best(used: usize, cost: impl Fn(usize) -> f64) -> usize {
    let candidates = LEVELS.min(used)..=used;
    let costs = candidates.map(|bins| (bins, cost(bins)));
    costs.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(used, |(bins, _)| bins)
}

fn entropy(histogram: &Histogram) -> f32 {
    let mut bins = histogram.used().to_vec();
    // Exact zeros (padding, what an activation cut off) are rounded without an error and say nothing of the range.
    if bins.len() > 1 {
        bins[0] = bins[1];
    }
    let total: u64 = bins.iter().sum();
    let mut before = Vec::with_capacity(bins.len() + 1);
    before.push(0_u64);
    for bin in &bins {
        before.push(before[before.len() - 1] + bin);
    }
    let covered = best(bins.len(), |covered| divergence(&bins[..covered], total - before[covered], total));
    covered as f32 * histogram.width()
}

/// Kullback–Leibler divergence of the covered bins, with what lies beyond in the last, from their rounded form: the bins
/// of one level share their count evenly, as far as they are not empty.
fn divergence(bins: &[u64], beyond: u64, total: u64) -> f64 {
    let inside = (total - beyond).max(1) as f64;
    let mut sum = 0.0;
    for level in 0..LEVELS {
        let from = level * bins.len() / LEVELS;
        let to = (level + 1) * bins.len() / LEVELS;
        let group = &bins[from..to];
        let filled = group.iter().filter(|bin| **bin > 0).count();
        let shared = group.iter().sum::<u64>() as f64 / filled.max(1) as f64 / inside;
        for (at, bin) in group.iter().enumerate() {
            let extra = if from + at + 1 == bins.len() { beyond } else { 0 };
            let is_filled = *bin > 0;
            let p = (bin + extra) as f64 / total.max(1) as f64;
            if p > 0.0 {
                sum += p * (p / if is_filled { shared } else { IMPOSSIBLE }).ln();
            }
        }
    }
    sum
}

fn mean_squared_error(histogram: &Histogram) -> f32 {
    let bins = histogram.used();
    let covered = best(bins.len(), |covered| {
        let step = covered as f64 / super::LARGEST_CODE as f64;
        let largest = f64::from(super::LARGEST_CODE);
        bins.iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(at, count)| {
                let value = at as f64 + 0.5;
                let rounded = (value / step).round().min(largest) * step;
                *count as f64 * (value - rounded) * (value - rounded)
            })
            .sum()
    });
    covered as f32 * histogram.width()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bell curve, cut at four deviations, with one value far away.
    fn bell(outlier: f32) -> Histogram {
        let mut histogram = Histogram::default();
        let mut values = Vec::new();
        for step in -400..=400 {
            let x = step as f32 / 100.0;
            let count = (2000.0 * (-x * x / 2.0).exp()) as usize;
            values.extend(std::iter::repeat_n(x, count));
        }
        values.push(outlier);
        histogram.observe(&values);
        histogram
    }

    #[test]
    fn one_outlier_moves_minmax_only() {
        let histogram = bell(40.0);
        assert!((Method::MinMax.range(&histogram) - 40.0).abs() < 1e-6);
        // One value of 40 costs the mean square as much as coarser steps for half a million small ones.
        for (method, most) in [(Method::Entropy, 8.0), (Method::Mse, 20.0), (Method::Percentile(99.99), 8.0)]
        {
            let range = method.range(&histogram);
            assert!((2.0..most).contains(&range), "{method}: {range}");
        }
    }

    #[test]
    fn a_range_never_exceeds_what_was_seen() {
        let mut constant = Histogram::default();
        constant.observe(&[3.0; 100]);
        let mut nothing = Histogram::default();
        nothing.observe(&[0.0; 100]);
        for method in [Method::MinMax, Method::Entropy, Method::Mse, Method::Percentile(100.0)] {
            assert!((method.range(&constant) - 3.0).abs() < 0.01, "{method}");
            assert_eq!(method.range(&nothing).to_bits(), 0, "{method}");
            assert_eq!(method.range(&Histogram::default()).to_bits(), 0, "{method}");
        }
    }

    #[test]
    fn methods_are_read_as_they_are_written() {
        for text in ["minmax", "entropy", "mse", "percentile:99.9"] {
            assert_eq!(text.parse::<Method>().unwrap().to_string(), text);
        }
        for text in ["max", "percentile:", "percentile:10", "percentile:101", "percentile:nan"] {
            assert!(text.parse::<Method>().is_err(), "{text}");
        }
    }
}
