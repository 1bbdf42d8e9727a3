//! What is tried, one after the other: at most three times with each exporter, each time with something changed that the
//! last failure suggests.

use std::fmt;

/// Most attempts of one exporter.
const MOST: usize = 3;
/// Versions that are tried after the one that was asked for.
const OPSETS: [i64; 3] = [17, 16, 14];
/// The version below which PyTorch's newer exporter does not write.
const LOWEST_DYNAMO: i64 = 18;

/// What a model does, in the words of the libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// The classes are trained in.
    ObjectDetection,
    /// A text says what to look for.
    ZeroShotObjectDetection,
}

/// A library that writes graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Exporter {
    /// `optimum.exporters.onnx`.
    Optimum,
    /// `torch.onnx.export` over a recorded run.
    TorchScript,
    /// `torch.onnx.export` over a captured program.
    Dynamo,
}

/// The settings of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Attempt {
    /// Who writes the graph.
    pub exporter: Exporter,
    /// What the model is taken for.
    pub task: Task,
    /// The operator set that is asked for.
    pub opset: i64,
    /// Whether optimum may tidy up what it exported.
    pub post_process: bool,
}

/// An attempt that gave no graph.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Failed {
    /// What was tried.
    pub attempt: Attempt,
    /// Why there is no graph, in one line.
    pub reason: String,
    /// How long it took.
    pub seconds: f64,
    /// The last lines that were printed.
    pub lines: Vec<String>,
}

impl Task {
    /// The word that both libraries have for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ObjectDetection => "object-detection",
            Self::ZeroShotObjectDetection => "zero-shot-object-detection",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::ObjectDetection => Self::ZeroShotObjectDetection,
            Self::ZeroShotObjectDetection => Self::ObjectDetection,
        }
    }
}

impl Exporter {
    /// The word that the script has for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Optimum => "optimum",
            Self::TorchScript => "torchscript",
            Self::Dynamo => "dynamo",
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exporter = match self.exporter {
            Exporter::Optimum => "optimum",
            Exporter::TorchScript => "torch.onnx (recorded)",
            Exporter::Dynamo => "torch.onnx (captured)",
        };
        write!(f, "{exporter}, {}, opset {}", self.task.name(), self.opset)?;
        if self.post_process { Ok(()) } else { f.write_str(", without post-processing") }
    }
}

/// The next attempt after those that failed, `None` when nothing is left. A model with a prompt goes to PyTorch at once:
/// optimum cannot freeze a text.
pub(super) fn next(task: Task, opset: i64, has_prompt: bool, failed: &[Failed]) -> Option<Attempt> {
    let first = Attempt { exporter: Exporter::Optimum, task, opset, post_process: true };
    let (optimum, torch): (Vec<&Failed>, Vec<&Failed>) =
        failed.iter().partition(|failed| failed.attempt.exporter == Exporter::Optimum);
    if torch.is_empty() && !has_prompt {
        match optimum.last() {
            None => return Some(first),
            Some(last) if optimum.len() < MOST && !is_final(&last.reason) => {
                return Some(changed(last, failed));
            }
            Some(_) => {}
        }
    }
    match torch.last() {
        None => Some(Attempt { exporter: Exporter::TorchScript, ..first }),
        Some(last) if torch.len() < MOST => Some(changed(last, failed)),
        Some(_) => None,
    }
}

/// The attempt with one thing changed: what the failure names, else the next that may help.
fn changed(last: &Failed, failed: &[Failed]) -> Attempt {
    let attempt = last.attempt;
    let was_tried = |attempt: &Attempt| failed.iter().any(|failed| failed.attempt == *attempt);
    let mut candidates = Vec::new();
    if is_wrong_task(&last.reason) {
        candidates.push(Attempt { task: attempt.task.other(), ..attempt });
    }
    candidates.extend(wanted_opset(&last.reason).map(|opset| Attempt { opset, ..attempt }));
    if attempt.exporter != Exporter::Optimum {
        let opset = attempt.opset.max(LOWEST_DYNAMO);
        candidates.push(Attempt { exporter: Exporter::Dynamo, opset, ..attempt });
    }
    let exporter =
        if attempt.exporter == Exporter::Dynamo { Exporter::TorchScript } else { attempt.exporter };
    let is_second = failed.iter().filter(|failed| failed.attempt.exporter == attempt.exporter).count() > 1;
    let post_process = exporter != Exporter::Optimum || !is_second;
    for opset in OPSETS {
        candidates.push(Attempt { exporter, opset, post_process, ..attempt });
    }
    candidates.into_iter().find(|candidate| !was_tried(candidate)).unwrap_or(attempt)
}

/// Whether the libraries take the model for something else.
fn is_wrong_task(reason: &str) -> bool {
    ["only supports the tasks", "Unrecognized configuration class", "Unknown task"]
        .iter()
        .any(|words| reason.contains(words))
}

/// Whether no change of the settings can help.
fn is_final(reason: &str) -> bool {
    ["custom or unsupported architecture", "ModuleNotFoundError", "OSError"]
        .iter()
        .any(|words| reason.contains(words))
}

/// The version that a failure asks for: `Support for this operator was added in version 16`.
fn wanted_opset(reason: &str) -> Option<i64> {
    let (_, rest) =
        reason.split_once("added in version ").or_else(|| reason.split_once("at least opset "))?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|opset| (7..=30).contains(opset))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from optimum-onnx 0.1.0, transformers 4.57 and PyTorch 2.9.
    const UNSUPPORTED: &str = "ValueError: Trying to export a grounding-dino model, that is a custom or unsupported architecture, but no custom onnx configuration was passed as `custom_onnx_configs`.";
    const WRONG_TASK: &str = "ValueError: Asked to export a rt_detr model for the task zero-shot-object-detection, but the Optimum ONNX exporter only supports the tasks object-detection for rt_detr.";
    const WRONG_CLASS: &str = "ValueError: Unrecognized configuration class <class 'transformers.models.rt_detr.configuration_rt_detr.RTDetrConfig'> for this kind of AutoModel: AutoModelForZeroShotObjectDetection.";
    const OPSET: &str = "UnsupportedOperatorError: Exporting the operator 'aten::grid_sampler' to ONNX opset version 14 is not supported. Support for this operator was added in version 16, try exporting with this version";

    /// The attempts when each fails with the reason that `reason` gives for it.
    fn all(
        task: Task,
        opset: i64,
        has_prompt: bool,
        reason: impl Fn(&Attempt) -> &'static str,
    ) -> Vec<String> {
        let mut failed = Vec::new();
        while let Some(attempt) = next(task, opset, has_prompt, &failed) {
            assert!(failed.len() < 6);
            let reason = reason(&attempt).to_owned();
            failed.push(Failed { attempt, reason, seconds: 0.0, lines: Vec::new() });
        }
        failed.iter().map(|failed| failed.attempt.to_string()).collect()
    }

    #[test]
    fn six_attempts_change_one_thing_at_a_time() {
        let attempts = all(Task::ObjectDetection, 17, false, |_| "RuntimeError: no");
        assert_eq!(
            attempts,
            [
                "optimum, object-detection, opset 17",
                "optimum, object-detection, opset 16",
                "optimum, object-detection, opset 17, without post-processing",
                "torch.onnx (recorded), object-detection, opset 17",
                "torch.onnx (captured), object-detection, opset 18",
                "torch.onnx (recorded), object-detection, opset 16",
            ]
        );
    }

    #[test]
    fn what_a_failure_names_is_changed_first() {
        let task = |attempt: &Attempt| match (attempt.exporter, attempt.task) {
            (Exporter::Optimum, Task::ZeroShotObjectDetection) => WRONG_TASK,
            (_, Task::ZeroShotObjectDetection) => WRONG_CLASS,
            (Exporter::Optimum, _) => UNSUPPORTED,
            _ => "RuntimeError: no",
        };
        assert_eq!(
            all(Task::ZeroShotObjectDetection, 17, false, task),
            [
                "optimum, zero-shot-object-detection, opset 17",
                "optimum, object-detection, opset 17",
                "torch.onnx (recorded), zero-shot-object-detection, opset 17",
                "torch.onnx (recorded), object-detection, opset 17",
                "torch.onnx (captured), object-detection, opset 18",
            ]
        );
        let opset =
            all(Task::ObjectDetection, 14, false, |attempt| if attempt.opset < 16 { OPSET } else { "no" });
        assert_eq!(
            opset[..2],
            ["optimum, object-detection, opset 14", "optimum, object-detection, opset 16"]
        );
    }

    #[test]
    fn an_exporter_that_does_not_know_the_model_is_not_tried_again() {
        let attempts = all(Task::ObjectDetection, 17, false, |_| UNSUPPORTED);
        assert_eq!(attempts.iter().filter(|attempt| attempt.starts_with("optimum")).count(), 1);
        assert!(!all(Task::ObjectDetection, 17, true, |_| "no")[0].starts_with("optimum"));
    }
}
