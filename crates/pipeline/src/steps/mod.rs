//! The steps of an import, one file each, in order.

pub(crate) mod acquire;
pub(crate) mod deliver;
pub(crate) mod evaluate;
pub(crate) mod export;
pub(crate) mod measure;
pub(crate) mod optimize;
pub(crate) mod quantize;
pub(crate) mod report;
mod rows;
pub(crate) mod verify;

use deploy::Precision;

use crate::run::Step;

/// A step that is taken once for each precision, under a name of its own for each.
pub(crate) struct StepOfEach([Step; 3]);

impl StepOfEach {
    /// The step for a precision; `at` is its place, of which the first is the graph as it was exported.
    pub(crate) fn of(&self, precision: Precision, at: usize) -> Step {
        let Self([first, fp16, int8]) = self;
        match precision {
            Precision::Fp16 if at > 0 => *fp16,
            Precision::Int8 if at > 0 => *int8,
            _ => *first,
        }
    }

    /// The step for the graph as it was exported.
    pub(crate) fn first(&self) -> Step {
        self.0[0]
    }

    /// Whether a step is one of these.
    pub(crate) fn contains(&self, step: Step) -> bool {
        self.0.contains(&step)
    }
}

/// Fetches the source's files.
pub(crate) const ACQUIRE: Step = Step { name: "acquire", version: 1 };
/// Makes the ONNX graph and the detector's description.
pub(crate) const EXPORT: Step = Step { name: "export", version: 2 };
/// Converts to `float16`.
pub(crate) const OPTIMIZE: Step = Step { name: "optimize", version: 1 };
/// Calibrates and rounds to eight bits.
pub(crate) const QUANTIZE: Step = Step { name: "quantize", version: 1 };
/// Compares a delivered graph with the source-exact one.
pub(crate) const VERIFY: StepOfEach = StepOfEach([
    Step { name: "verify", version: 4 },
    Step { name: "verify-fp16", version: 4 },
    Step { name: "verify-int8", version: 4 },
]);
/// Scores a delivered graph on annotated images.
pub(crate) const EVALUATE: StepOfEach = StepOfEach([
    Step { name: "evaluate", version: 2 },
    Step { name: "evaluate-fp16", version: 2 },
    Step { name: "evaluate-int8", version: 2 },
]);
/// Renders the deployment trees and the samples.
pub(crate) const DELIVER: Step = Step { name: "deliver", version: 2 };
/// Times a delivered graph on this machine.
pub(crate) const MEASURE: StepOfEach = StepOfEach([
    Step { name: "measure", version: 1 },
    Step { name: "measure-fp16", version: 1 },
    Step { name: "measure-int8", version: 1 },
]);
/// Writes the report.
pub(crate) const REPORT: Step = Step { name: "report", version: 1 };

/// Those that a run takes, in order, for the plan.
pub(crate) fn all(precisions: &[Precision], is_scored: bool) -> Vec<Step> {
    let mut further: Vec<Precision> = precisions.to_vec();
    further.retain(|precision| *precision != Precision::Fp32);
    let each: Vec<(usize, Precision)> =
        std::iter::once(Precision::Fp32).chain(further.iter().copied()).enumerate().collect();
    let mut steps = vec![ACQUIRE, EXPORT];
    let makes = |precision: &Precision| if *precision == Precision::Fp16 { OPTIMIZE } else { QUANTIZE };
    steps.extend(further.iter().map(makes));
    for (at, precision) in &each {
        steps.push(VERIFY.of(*precision, *at));
        steps.extend(is_scored.then(|| EVALUATE.of(*precision, *at)));
    }
    steps.push(DELIVER);
    steps.extend(each.iter().map(|(at, precision)| MEASURE.of(*precision, *at)));
    steps.push(REPORT);
    steps
}
