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

/// Running sums over bins: what lies in any stretch of them is one subtraction.
struct Running(Vec<f64>);

impl Running {
    fn of(terms: impl Iterator<Item = f64>) -> Self {
        let mut sums = vec![0.0];
        sums.extend(terms.scan(0.0, |sum, term| {
            *sum += term;
            Some(*sum)
        }));
        Self(sums)
    }

    fn between(&self, from: usize, to: usize) -> f64 {
        self.0[to] - self.0[from]
    }
}

fn entropy(histogram: &Histogram) -> f32 {
    let mut bins = histogram.used().to_vec();
    // Exact zeros (padding, what an activation cut off) are rounded without an error and say nothing of the range.
    if bins.len() > 1 {
        bins[0] = bins[1];
    }
    let distribution = Distribution::of(&bins);
    let covered = best(bins.len(), |covered| distribution.divergence(covered));
    covered as f32 * histogram.width()
}

/// A distribution over bins, with what its divergences need.
struct Distribution {
    probabilities: Vec<f64>,
    mass: Running,
    /// Bins that are not empty.
    filled: Running,
    /// p ln p.
    information: Running,
}

impl Distribution {
    fn of(bins: &[u64]) -> Self {
        let total = bins.iter().sum::<u64>().max(1) as f64;
        let probabilities: Vec<f64> = bins.iter().map(|bin| *bin as f64 / total).collect();
        Self {
            mass: Running::of(probabilities.iter().copied()),
            filled: Running::of(bins.iter().map(|bin| f64::from(u8::from(*bin > 0)))),
            information: Running::of(probabilities.iter().map(|p| information(*p))),
            probabilities,
        }
    }

    /// Kullback–Leibler divergence of the first `covered` bins, with what lies beyond in the last, from their rounded
    /// form: the bins of one level share their mass evenly, as far as they are not empty. Σ p ln(p ÷ q) is taken as
    /// Σ p ln p − Σ p ln q, where q is the same in a whole level.
    fn divergence(&self, covered: usize) -> f64 {
        let Some(last) = covered.checked_sub(1).map(|at| self.probabilities[at]) else { return 0.0 };
        let inside = self.mass.between(0, covered);
        let beyond = self.mass.between(covered, self.probabilities.len()).max(0.0);
        let mut sum = 0.0;
        let mut shared = 0.0;
        for level in 0..LEVELS {
            let (from, to) = (level * covered / LEVELS, (level + 1) * covered / LEVELS);
            let (mass, filled) = (self.mass.between(from, to), self.filled.between(from, to));
            if mass > 0.0 && filled > 0.0 {
                shared = mass / filled / inside;
                sum += self.information.between(from, to) - mass * shared.ln();
            }
        }
        if beyond > 0.0 {
            let rounded = if last > 0.0 { shared } else { IMPOSSIBLE };
            sum += information(last + beyond) - information(last) - beyond * rounded.ln();
        }
        sum
    }
}

fn information(p: f64) -> f64 {
    if p > 0.0 { p * p.ln() } else { 0.0 }
}

fn mean_squared_error(histogram: &Histogram) -> f32 {
    let bins = histogram.used();
    let middle = |at: usize| at as f64 + 0.5;
    let moment =
        |power: i32| Running::of(bins.iter().enumerate().map(|(at, n)| *n as f64 * middle(at).powi(power)));
    let moments = [moment(0), moment(1), moment(2)];
    let largest = usize::from(super::LARGEST_CODE as u8);
    let covered = best(bins.len(), |covered| {
        let step = covered as f64 / largest as f64;
        let mut from = 0;
        let mut sum = 0.0;
        for code in 0..=largest {
            // The bins that are rounded to this code; the largest takes what lies beyond as well.
            let border = ((code as f64 + 0.5) * step - 0.5).ceil();
            let to = if code == largest { bins.len() } else { (border as usize).clamp(from, bins.len()) };
            let [count, linear, square] = moments.each_ref().map(|moment| moment.between(from, to));
            let rounded = code as f64 * step;
            sum += square - 2.0 * rounded * linear + rounded * rounded * count;
            from = to;
        }
        sum
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

    /// The definitions, bin by bin.
    fn divergence_by_bins(bins: &[u64], covered: usize) -> f64 {
        let total = bins.iter().sum::<u64>() as f64;
        let inside = bins[..covered].iter().sum::<u64>() as f64;
        let beyond = bins[covered..].iter().sum::<u64>();
        let mut sum = 0.0;
        for level in 0..LEVELS {
            let group = level * covered / LEVELS..(level + 1) * covered / LEVELS;
            let filled = bins[group.clone()].iter().filter(|bin| **bin > 0).count().max(1) as f64;
            let shared = bins[group.clone()].iter().sum::<u64>() as f64 / filled / inside;
            for at in group {
                let extra = if at + 1 == covered { beyond } else { 0 };
                let p = (bins[at] + extra) as f64 / total;
                let q = if bins[at] > 0 { shared } else { IMPOSSIBLE };
                sum += if p > 0.0 { p * (p / q).ln() } else { 0.0 };
            }
        }
        sum
    }

    fn error_by_bins(bins: &[u64], covered: usize) -> f64 {
        let step = covered as f64 / 127.0;
        let error = |at: usize| {
            let value = at as f64 + 0.5;
            value - (value / step).round().min(127.0) * step
        };
        bins.iter().enumerate().map(|(at, count)| *count as f64 * error(at) * error(at)).sum()
    }

    #[test]
    fn running_sums_choose_what_the_definitions_choose() {
        let mut sparse = Histogram::default();
        sparse.observe(&(0..5000).map(|at| ((at * at) % 977) as f32 / 40.0).collect::<Vec<_>>());
        for histogram in [bell(5.0), bell(40.0), sparse] {
            let mut bins = histogram.used().to_vec();
            let by_error = best(bins.len(), |covered| error_by_bins(&bins, covered)) as f32;
            let wanted = (by_error * histogram.width()).min(histogram.max_abs());
            assert_eq!(Method::Mse.range(&histogram).to_bits(), wanted.to_bits());
            bins[0] = bins[1];
            let distribution = Distribution::of(&bins);
            for covered in (LEVELS.min(bins.len())..=bins.len()).step_by(37) {
                let (quick, slow) = (distribution.divergence(covered), divergence_by_bins(&bins, covered));
                assert!((quick - slow).abs() < 1e-9 * slow.abs().max(1.0), "{covered}: {quick} {slow}");
            }
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
