//! How far `trtexec` is, as far as it says.

use std::fmt;

use super::log::parts;

/// What it is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Loading its libraries, choosing the device.
    Starting,
    /// Reading the graph.
    Parsing,
    /// Rewriting the graph.
    Optimizing,
    /// Trying kernels; its compiler says nothing for minutes.
    Timing,
    /// Writing the engine.
    Saving,
    /// Reading an engine.
    Loading,
    /// Running before it counts.
    WarmingUp,
    /// Running and counting.
    Measuring,
}

/// What a line contains that begins a phase.
const MARKS: &[(&str, Phase)] = &[
    ("Start parsing network model", Phase::Parsing),
    ("Finished parsing network model", Phase::Optimizing),
    ("timing cache in use", Phase::Timing),
    ("Compiler backend is used during engine", Phase::Timing),
    ("Engine generation completed", Phase::Saving),
    ("Engine built in ", Phase::Saving),
    ("Loaded engine size: ", Phase::Loading),
    ("Engine loaded in ", Phase::Loading),
    ("Starting inference", Phase::WarmingUp),
    ("Warmup completed ", Phase::Measuring),
];

impl Phase {
    /// The phase that a line begins.
    pub(super) fn begun_by(line: &str) -> Option<Self> {
        let (_, text) = parts(line);
        MARKS.iter().find(|(mark, _)| text.contains(mark)).map(|(_, phase)| *phase)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Parsing => "reading the graph",
            Self::Optimizing => "rewriting the graph",
            Self::Timing => "trying kernels",
            Self::Saving => "writing the engine",
            Self::Loading => "reading the engine",
            Self::WarmingUp => "warming up",
            Self::Measuring => "measuring",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_goes_through_its_phases_in_order() {
        let log = include_str!("../../../tests/fixtures/trtexec/build_8.log");
        let phases: Vec<Phase> = log.lines().filter_map(Phase::begun_by).collect();
        let mut once = phases.clone();
        once.dedup();
        let expected = [Phase::Parsing, Phase::Optimizing, Phase::Timing, Phase::Saving];
        assert_eq!(&once[..4], expected, "{phases:?}");
    }
}
