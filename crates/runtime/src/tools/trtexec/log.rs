//! What `trtexec` prints, line by line.
//!
//! The forms are those of `samples/common/sampleReporting.cpp` of the TensorRT repository, the same from 8.6 to 11.1. Numbers
//! come in C++'s default formatting: `1.29477e+08`, `nan` and `inf` occur.

use serde::{Deserialize, Serialize};

use super::Version;

/// What a log said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Log {
    /// The TensorRT that ran.
    pub version: Option<Version>,
    /// Whether its last word was `&&&& PASSED`.
    pub passed: bool,
    /// The graphics processor that it chose.
    pub gpu: Option<String>,
    /// How long building took, by its own clock.
    pub build_seconds: Option<f64>,
    /// Most memory of the graphics processor that building took.
    pub peak_gpu_mib: Option<f64>,
    /// The workspace that it understood, in MiB.
    pub workspace_mib: Option<f64>,
    /// The engine's speed.
    pub performance: Option<Performance>,
    /// Lines of errors, without their time.
    pub errors: Vec<String>,
    /// Warnings that a figure is not to be trusted.
    pub doubts: Vec<String>,
    /// Whether a kernel was left out because the memory was not enough for it.
    pub starved: bool,
}

/// How fast an engine ran.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Performance {
    /// Queries a second: a query is one batch.
    pub qps: f64,
    /// Queries that were counted.
    pub queries: u64,
    /// The time that they took, in seconds.
    pub seconds: f64,
    /// Time on the graphics processor.
    pub gpu: Option<Statistics>,
    /// From host memory to host memory; the same as `gpu` without data transfers.
    pub latency: Option<Statistics>,
}

/// Statistics of a time, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// The shortest.
    pub min: f64,
    /// The longest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// The median.
    pub median: f64,
    /// Percentiles as they were asked for: (99, 0.07).
    pub percentiles: Vec<(f64, f64)>,
}

impl Statistics {
    /// The value of a percentile, when it was printed.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        self.percentiles.iter().find(|(known, _)| (known - percent).abs() < 1e-9).map(|(_, value)| *value)
    }
}

/// Errors kept of one log; one mistake can print thousands.
const MOST_ERRORS: usize = 100;

impl Log {
    /// Reads a whole log.
    pub fn read(text: &str) -> Self {
        let mut log = Self::default();
        for line in text.lines() {
            log.hear(line);
        }
        log
    }

    /// Takes the next line.
    pub fn hear(&mut self, line: &str) {
        if let Some(verdict) = line.trim_start().strip_prefix("&&&& ") {
            self.version = version_in(line).or(self.version);
            self.passed = verdict.starts_with("PASSED");
            return;
        }
        let (severity, text) = parts(line);
        match severity {
            Some('E' | 'F') if self.errors.len() < MOST_ERRORS => self.errors.push(text.to_owned()),
            Some('W') if is_doubt(text) => self.doubts.push(text.trim_start_matches("* ").to_owned()),
            _ => {}
        }
        // The first one is how 8.2 spells it.
        self.starved |=
            ["insuficient memory", "insufficient memory"].iter().any(|words| text.contains(words));
        self.hear_fact(text);
    }

    fn hear_fact(&mut self, text: &str) {
        if let Some((name, value)) = text.split_once(": ") {
            match name {
                "Selected Device" => self.gpu = Some(value.trim().to_owned()),
                "Memory Pools" => self.workspace_mib = number_after(value, "workspace: "),
                "Throughput" => self.performance().qps = first_number(value).unwrap_or(f64::NAN),
                "GPU Compute Time" => self.performance().gpu = statistics(value),
                "Latency" => self.performance().latency = statistics(value),
                _ => {}
            }
        }
        if let Some(rest) = text.strip_prefix("Engine built in ") {
            self.build_seconds = first_number(rest);
        }
        if let Some(rest) = text.strip_prefix("Timing trace has ") {
            let seconds = number_after(rest, "queries over ");
            let performance = self.performance();
            performance.queries = first_number(rest).map_or(0, |count| count as u64);
            performance.seconds = seconds.unwrap_or(f64::NAN);
        }
        if text.contains("Peak memory usage") {
            // `… of TRT CPU/GPU memory allocators: CPU 12 MiB, GPU 7809 MiB`
            self.peak_gpu_mib = number_after(text, ", GPU ").or(self.peak_gpu_mib);
        }
    }

    fn performance(&mut self) -> &mut Performance {
        self.performance.get_or_insert_default()
    }
}

/// `[07/07/2026-02:11:47] [W] [TRT] text` in its parts; a line that goes on with an earlier one has no severity.
pub(super) fn parts(line: &str) -> (Option<char>, &str) {
    let unlike = (None, line);
    let Some(rest) = line.strip_prefix('[') else { return unlike };
    let Some((_, rest)) = rest.split_once("] [") else { return unlike };
    let mut letters = rest.chars();
    let (Some(severity), Some(']')) = (letters.next(), letters.next()) else { return unlike };
    let text = letters.as_str().trim_start();
    (Some(severity), text.strip_prefix("[TRT] ").unwrap_or(text))
}

/// The version in `[TensorRT v101601]`.
pub(super) fn version_in(line: &str) -> Option<Version> {
    let (_, rest) = line.split_once("[TensorRT v")?;
    let (number, _) = rest.split_once(']')?;
    number.parse().ok().filter(|number| *number >= 1000).map(Version::from_number)
}

/// Warnings about the measurement, not about the network.
fn is_doubt(text: &str) -> bool {
    text.starts_with("* GPU compute time is unstable") || text.starts_with("* Throughput may be bound by")
}

/// The number that the text begins with.
fn first_number(text: &str) -> Option<f64> {
    let word = text.split_whitespace().next()?;
    word.trim_end_matches(['%', ',', '.']).parse().ok()
}

fn number_after(text: &str, mark: &str) -> Option<f64> {
    first_number(text.split_once(mark)?.1)
}

/// `min = 0.047 ms, max = 0.166 ms, mean = 0.053 ms, median = 0.054 ms, percentile(99%) = 0.063 ms`
fn statistics(text: &str) -> Option<Statistics> {
    let mut found = Statistics::default();
    let mut seen = 0;
    for field in text.split(", ") {
        let (name, value) = field.split_once(" = ")?;
        let value = first_number(value)?;
        seen += 1;
        match name.trim() {
            "min" => found.min = value,
            "max" => found.max = value,
            "mean" => found.mean = value,
            "median" => found.median = value,
            other => {
                let percent = other.strip_prefix("percentile(")?.strip_suffix("%)")?;
                found.percentiles.push((percent.parse().ok()?, value));
                seen -= 1;
            }
        }
    }
    (seen == 4).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = include_str!("../../../tests/fixtures/trtexec/timing_10.log");

    #[test]
    fn a_whole_log_is_read() {
        let log = Log::read(SUMMARY);
        assert_eq!(log.version.map(|version| version.to_string()).as_deref(), Some("10.16.1"));
        assert!(log.passed && log.errors.is_empty());
        assert_eq!(log.gpu.as_deref(), Some("NVIDIA H100 PCIe"));
        assert_eq!(log.workspace_mib, Some(32768.0));
        let performance = log.performance.unwrap();
        assert_eq!((performance.qps, performance.queries, performance.seconds), (12764.5, 38295, 3.00011));
        let gpu = performance.gpu.unwrap();
        assert_eq!(
            (gpu.min, gpu.max, gpu.mean, gpu.median),
            (0.047_424_3, 0.166_016, 0.052_835_7, 0.054_199_2)
        );
        assert_eq!((gpu.percentile(99.0), gpu.percentile(98.0)), (Some(0.062_622_1), None));
        assert_eq!(performance.latency.unwrap().percentiles.len(), 3);
        assert_eq!(log.doubts, ["GPU compute time is unstable, with coefficient of variance = 7.22113%."]);
    }

    #[test]
    fn numbers_in_every_spelling_of_cpp() {
        let cases =
            [("1.29477e+08 qps", 1.294_77e8), ("4 qps", 4.0), ("0 qps", 0.0), ("inf qps", f64::INFINITY)];
        for (text, expected) in cases {
            let log = Log::read(&format!("[07/07/2026-02:11:51] [I] Throughput: {text}"));
            assert_eq!(log.performance.unwrap().qps.to_bits(), expected.to_bits(), "{text}");
        }
        let log = Log::read(
            "[t] [I] Throughput: -nan qps\n[t] [I] GPU Compute Time: min = nan ms, max = inf ms, mean = 1e-05 ms, median = 2 ms",
        );
        let performance = log.performance.unwrap();
        assert!(performance.qps.is_nan());
        let gpu = performance.gpu.unwrap();
        assert!(gpu.min.is_nan() && gpu.max.is_infinite() && gpu.percentiles.is_empty());
        assert!((gpu.mean - 1e-5).abs() < 1e-12);
    }

    #[test]
    fn what_is_cut_or_foreign_gives_nothing() {
        for line in [
            "",
            "[",
            "[t] [I",
            "&&&& ",
            "[t] [I] Throughput",
            "[t] [I] GPU Compute Time: min = 1 ms, max",
            "[t] [I] GPU Compute Time: min = 1 ms",
            "[t] [I] Memory Pools: workspace: default",
            "Engine built in ages",
            "[TensorRT v]",
        ] {
            let log = Log::read(line);
            assert!(!log.passed && log.build_seconds.is_none() && log.workspace_mib.is_none(), "{line}");
            assert!(log.performance.is_none_or(|found| found.gpu.is_none()), "{line}");
        }
    }

    #[test]
    fn the_last_verdict_counts() {
        let running = "&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec --onnx=PASSED.onnx";
        assert!(!Log::read(running).passed);
        let failed = format!(
            "{running}\n[t] [E] Engine set up failed\n&&&& FAILED TensorRT.trtexec [TensorRT v8601] # x"
        );
        let log = Log::read(&failed);
        assert!(!log.passed);
        assert_eq!(log.errors, ["Engine set up failed"]);
        let memory = "[t] [I] [TRT] [MemUsageStats] Peak memory usage of TRT CPU/GPU memory allocators: CPU 22 MiB, GPU 7809 MiB";
        assert_eq!(Log::read(memory).peak_gpu_mib, Some(7809.0));
    }
}
