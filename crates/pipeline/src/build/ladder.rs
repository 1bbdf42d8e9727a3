//! What is tried after a build failed: pure, one rung at a time.

use runtime::tools::trtexec::Cause;

use super::Batches;

/// How an engine is built this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) batches: Batches,
    /// How hard the builder tries; `None` for its default, 3.
    pub(super) level: Option<u32>,
    /// Whether the graph was simplified before.
    pub(super) simplified: bool,
    /// Whether the times of kernels start anew.
    pub(super) fresh_times: bool,
}

/// A level below the default: fewer kernels are tried, and the compiler that fuses regions does less.
const EASY_LEVEL: u32 = 2;

impl Attempt {
    pub(super) fn first(batches: Batches, level: Option<u32>) -> Self {
        Self { batches, level, simplified: false, fresh_times: false }
    }

    /// What to try after this failed, and that in words; `None` when nothing is known to help. `may_shrink` allows
    /// a smaller batch than was asked for.
    pub(super) fn after(self, cause: Cause, may_shrink: bool) -> Option<(Self, String)> {
        let smaller = self.batches.halved().filter(|_| may_shrink);
        let easier = self.level.is_none_or(|level| level > EASY_LEVEL);
        match cause {
            Cause::TimingCache if !self.fresh_times => {
                Some((Self { fresh_times: true, ..self }, "built without the times of earlier builds".into()))
            }
            Cause::NoImplementation if !self.simplified => {
                Some((Self { simplified: true, ..self }, "the graph was simplified".into()))
            }
            Cause::OutOfMemory if smaller.is_some() => {
                let batches = smaller.unwrap_or(self.batches);
                Some((
                    Self { batches, ..self },
                    format!("a maximum batch of {} instead of {}", batches.max, self.batches.max),
                ))
            }
            Cause::NoImplementation | Cause::OutOfMemory if easier => Some((
                Self { level: Some(EASY_LEVEL), ..self },
                format!("builder optimisation level {EASY_LEVEL}"),
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that is tried while the same cause comes again and again.
    fn rungs(cause: Cause, may_shrink: bool) -> Vec<String> {
        let mut attempt = Attempt::first(Batches { min: 1, opt: 4, max: 4 }, None);
        let mut rungs = Vec::new();
        while let Some((next, then)) = attempt.after(cause, may_shrink) {
            assert!(rungs.len() < 10, "without end");
            (attempt, rungs) = (next, [rungs, vec![then]].concat());
        }
        rungs
    }

    #[test]
    fn each_cause_has_its_rungs_and_an_end() {
        let shrink = ["a maximum batch of 2 instead of 4", "a maximum batch of 1 instead of 2"];
        let level = "builder optimisation level 2";
        assert_eq!(rungs(Cause::OutOfMemory, true), [shrink[0], shrink[1], level]);
        assert_eq!(rungs(Cause::OutOfMemory, false), [level]);
        assert_eq!(rungs(Cause::NoImplementation, true), ["the graph was simplified", level]);
        assert_eq!(rungs(Cause::TimingCache, true).len(), 1);
        for cause in
            [Cause::PluginMissing, Cause::VersionMismatch, Cause::TinyWorkspace, Cause::NoGpu, Cause::Unknown]
        {
            assert!(rungs(cause, true).is_empty(), "{cause:?}");
        }
        let easy = Attempt::first(Batches::only(1), Some(1));
        assert_eq!(easy.after(Cause::OutOfMemory, true), None);
    }
}
