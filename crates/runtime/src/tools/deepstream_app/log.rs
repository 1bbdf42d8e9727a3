//! What `deepstream-app` prints of the frame rate of its streams.
//!
//! ```text
//! **PERF:  FPS 0 (Avg)<TAB>FPS 1 (Avg)<TAB>
//! **PERF:  30.05 (29.98)<TAB>30.01 (29.96)<TAB>
//! ```
//!
//! The header comes again every twenty lines; other messages stand between, and a program that is ended leaves its last line
//! unfinished. Several applications in one process count theirs: `PERF(0): …`.

/// The last line of a run that failed.
pub(super) const FAILED: &str = "App run failed";

/// The frame rates of one line: one a stream, over the last interval.
pub type StreamRates = Vec<f64>;

/// The lines of a log that tell frame rates, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PerfLog {
    /// Streams, after the header; 0 before there was one.
    pub streams: usize,
    /// Rates of every whole line, those of 0 while the pipeline starts included.
    pub lines: Vec<StreamRates>,
}

impl PerfLog {
    /// Reads a log.
    pub fn read(text: &str) -> Self {
        let mut log = Self::default();
        text.lines().for_each(|line| {
            log.add(line);
        });
        log
    }

    /// Reads a line more; gives whether it told rates.
    pub fn add(&mut self, line: &str) -> bool {
        // Control characters arrive as spaces where the log was shown on the way.
        let Some(columns) = columns(line) else { return false };
        let heads = columns.matches("(Avg)").count();
        if heads > 0 {
            self.streams = self.streams.max(heads);
            return false;
        }
        let Some(rates) = rates(columns) else { return false };
        // Without a header before it nobody knows whether a line is whole.
        let is_whole = self.streams > 0 && rates.len() == self.streams;
        if is_whole {
            self.lines.push(rates);
        }
        is_whole
    }

    /// The lines that count: those from after the first one in which every stream ran, which is of the start.
    pub fn steady(&self) -> &[StreamRates] {
        let first = self.lines.iter().position(|line| line.iter().all(|rate| *rate > 0.0));
        first.and_then(|first| self.lines.get(first + 1..)).unwrap_or_default()
    }

    /// Frames a second of all streams together: the mean over the lines that count. `None` where there is none.
    pub fn total(&self) -> Option<f64> {
        let lines = self.steady();
        let sum: f64 = lines.iter().map(|line| line.iter().sum::<f64>()).sum();
        (!lines.is_empty()).then(|| sum / lines.len() as f64)
    }

    /// The mean of each stream over the lines that count.
    pub fn by_stream(&self) -> StreamRates {
        let lines = self.steady();
        let mean = |stream: usize| {
            lines.iter().filter_map(|line| line.get(stream)).sum::<f64>() / lines.len() as f64
        };
        if lines.is_empty() { Vec::new() } else { (0..self.streams).map(mean).collect() }
    }
}

/// What follows `**PERF:` or `PERF(0):`.
fn columns(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("**PERF:")
        .or_else(|| line.strip_prefix("PERF(")?.split_once("):").map(|(_, rest)| rest))
}

/// `30.05 (29.98)<TAB>30.01 (29.96)`; `None` for a line that is cut in the middle of a column.
fn rates(columns: &str) -> Option<StreamRates> {
    let mut rates = Vec::new();
    let mut words = columns.split_whitespace();
    while let Some(rate) = words.next() {
        let mean = words.next()?.strip_prefix('(')?.strip_suffix(')')?;
        let finite = |text: &str| text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate >= 0.0);
        finite(mean)?;
        rates.push(finite(rate)?);
    }
    Some(rates).filter(|rates| !rates.is_empty())
}

/// The words of a line that tells a failure: `** ERROR: <main:733>: Failed to set pipeline to PAUSED`,
/// `ERROR from primary_gie: Failed to create NvDsInferContext instance`.
pub(super) fn complaint(line: &str) -> Option<String> {
    let line = line.trim();
    let rest =
        line.strip_prefix("** ERROR: ").map(|rest| rest.split_once(">: ").map_or(rest, |(_, words)| words));
    let rest = rest.or_else(|| line.strip_prefix("ERROR from "))?;
    Some(rest.to_owned()).filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded on an Orin with one stream, other messages between.
    const ONE: &str = "\n**PERF:  FPS 0 (Avg)\t\n**PERF:  0.00 (0.00)\t\n** INFO: <bus_callback:239>: Pipeline ready\n\n\
        NvMMLiteBlockCreate : Block : BlockType = 261 \n** INFO: <bus_callback:225>: Pipeline running\n\n\
        **PERF:  51.56 (51.50)\t\n**PERF:  59.97 (56.31)\t\n**PERF:  59.90 (57.57)\t\n";

    #[test]
    fn the_start_does_not_count() {
        let log = PerfLog::read(ONE);
        assert_eq!((log.streams, log.lines.len()), (1, 4));
        assert!((log.total().unwrap() - f64::midpoint(59.97, 59.90)).abs() < 1e-9);
        assert_eq!(PerfLog::read("**PERF:  FPS 0 (Avg)\t\n**PERF:  0.00 (0.00)\t\n").total(), None);
        // One interval only, which began with the start.
        assert_eq!(PerfLog::read("**PERF:  FPS 0 (Avg)\t\n**PERF:  51.5 (51.5)\t\n").total(), None);
    }

    #[test]
    fn all_streams_are_added_up_and_lines_that_are_cut_are_left_out() {
        let lines = "**PERF:  FPS 0 (Avg)\tFPS 1 (Avg)\tFPS 2 (Avg)\t\n\
            **PERF:  0.00 (0.00)\t0.00 (0.00)\t0.00 (0.00)\t\n\
            **PERF:  10.00 (9.00)\t0.00 (0.00)\t11.00 (10.00)\t\n\
            **PERF:  20.00 (15.00)\t20.00 (15.00)\t20.00 (15.00)\t\n\
            **PERF:  30.05 (29.98)\t30.01 (29.96)\t29.94 (29.90)\t\n\
            \n**PERF:  FPS 0 (Avg)\tFPS 1 (Avg)\tFPS 2 (Avg)\t\n\
            **PERF:  30.00 (29.98)\t30.00 (29.96)\t33.00 (29.90)\t\n";
        let whole = PerfLog::read(lines);
        assert_eq!(whole.steady().len(), 2);
        assert!((whole.total().unwrap() - f64::midpoint(90.0, 93.0)).abs() < 1e-9);
        assert!((whole.by_stream()[2] - f64::midpoint(29.94, 33.0)).abs() < 1e-9);
        for cut in [
            "**PERF:  30.00 (29.98)\t30.00 (29.9",
            "**PERF:  30.00 (29.98)\t30.0",
            "**PERF:  9",
            "**PERF:  30.00 (29.98)\t",
            "**PERF:",
            "**PERF:  nan (nan)\tinf (1.0)\t1.0 (1.0)\t",
        ] {
            assert_eq!(PerfLog::read(&format!("{lines}{cut}")), whole, "{cut}");
        }
        // Tabs become spaces where a log is passed on.
        assert_eq!(PerfLog::read(&lines.replace('\t', " ")), whole);
        assert_eq!(PerfLog::read(&lines.replace("**PERF:", "PERF(0):")), whole);
        assert_eq!(PerfLog::read("**PERF:  30.00 (29.98)\t\n"), PerfLog::default(), "no header");
        // This is what some documents show and the program never prints.
        assert_eq!(PerfLog::read("**PERF: FPS 0 (Avg) 29.87\n").lines.len(), 0);
    }

    #[test]
    fn failures_are_told_in_the_programs_words() {
        let cases = [
            (
                "** ERROR: <main:733>: Failed to set pipeline to PAUSED",
                Some("Failed to set pipeline to PAUSED"),
            ),
            (
                "ERROR from primary_gie: Failed to create NvDsInferContext instance",
                Some("primary_gie: Failed to create NvDsInferContext instance"),
            ),
            ("** INFO: <bus_callback:225>: Pipeline running", None),
            ("", None),
        ];
        for (line, words) in cases {
            assert_eq!(complaint(line).as_deref(), words, "{line}");
        }
    }
}
