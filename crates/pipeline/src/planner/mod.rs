//! Which precision pays: candidates are made, scored and timed on one backend, and the fastest within the budgets wins.
//!
//! Every part is a step of its own, so a search that was stopped goes on where it was. What is decided from the numbers
//! stands in [`judge`].

mod judge;
mod make;
mod sensitivity;
mod timing;
mod write;

use std::time::Duration;

use deploy::{Candidate, Plan, Precision, Sensitivity};
use graph::{DataType, Facts};
use serde_json::{Value, json};

use crate::images::{Annotations, ImageSet};
use crate::quantize::open_graph;
use crate::run::{Run, Step};
use crate::steps::evaluate::{Scored, Scoring};
use crate::{Digest, Error, Load, Quantizing, Subject};

use make::Ranges;
pub(crate) use make::{Graph, Made};
use timing::Timed;
pub use write::{PlanFiles, report_plan};

/// Takes the ranges of all values, for INT8.
const RANGES: Step = Step { name: "plan-ranges", version: 3 };
/// Makes a graph in `float16`.
const HALF: Step = Step { name: "plan-fp16", version: 1 };
/// Makes a graph in eight bits.
const ROUND: Step = Step { name: "plan-int8", version: 1 };
/// Scores a candidate.
const SCORE: Step = Step { name: "plan-score", version: 1 };
/// Times a candidate.
const TIME: Step = Step { name: "plan-time", version: 2 };
/// Rounds layers one by one.
const SENSITIVITY: Step = Step { name: "plan-layers", version: 1 };

/// What a plan is made with.
pub struct Planning<'a> {
    /// The mAP that may be lost.
    pub map_budget: f64,
    /// The median time of one image that is wanted.
    pub latency_budget: Option<Duration>,
    /// A precision that is wanted whatever its speed here, for another machine.
    pub wanted: Option<Precision>,
    /// The backend that scores and times.
    pub backend: &'a str,
    /// What is scored against.
    pub annotations: &'a Annotations,
    /// The images of the annotations.
    pub images: &'a ImageSet,
    /// The images that ranges are taken from.
    pub calibration: &'a ImageSet,
    /// How INT8 is calibrated.
    pub options: &'a Quantizing,
    /// How long is timed.
    pub load: Load,
    /// Whether times of an earlier run on this machine may not stand.
    pub remeasure: bool,
}

/// A plan and the graph that it chose.
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The chosen graph; `None` when nothing is within the budgets.
    pub(crate) chosen: Option<Graph>,
}

/// Searches for the fastest precision within the budgets.
///
/// # Errors
/// Those of running and scoring the graph as it is. A candidate that cannot be made or run is told of and left out.
pub fn plan(subject: &Subject, with: &Planning<'_>, run: &Run<'_>) -> Result<Planned, Error> {
    let mut search = Search::new(subject, with, run)?;
    let exact = search.as_it_is()?;
    search.try_graph(exact)?;
    for watched in [false, true] {
        if let Some(graph) = search.or_left_out("fp16", |search| search.half(watched))? {
            search.try_graph_unless_known(graph)?;
        }
    }
    let mut sensitivity = Vec::new();
    if let Some(ranges) = search.or_left_out("int8", Search::ranges)? {
        let whole = search.rounded(&ranges, &[])?;
        search.try_graph(whole)?;
        if judge::pins_may_pay(&search.tried(), with.map_budget, with.wanted) {
            sensitivity = search.sensitivity(&ranges)?;
            search.pin(&ranges, &sensitivity)?;
        }
    }
    Ok(search.conclude(sensitivity))
}

/// One search.
struct Search<'a, 'r> {
    subject: &'a Subject,
    with: &'a Planning<'a>,
    run: &'a Run<'r>,
    backend: Value,
    probe: runtime::Probe,
    machine: runtime::Machine,
    source: Digest,
    /// The scores of the graph as it is come first.
    scored: Vec<(Graph, Scored, Timed)>,
    left_out: Vec<String>,
}

impl<'a, 'r> Search<'a, 'r> {
    fn new(subject: &'a Subject, with: &'a Planning<'a>, run: &'a Run<'r>) -> Result<Self, Error> {
        let probe = runtime::backend(with.backend)?.probe()?;
        require_full_precision(subject)?;
        Ok(Self {
            subject,
            with,
            run,
            backend: json!({"name": with.backend, "version": probe.version}),
            probe,
            machine: runtime::Machine::detect(),
            source: Digest::of_file(&subject.onnx)?,
            scored: Vec::new(),
            left_out: Vec::new(),
        })
    }

    /// What `make` makes; a refusal by the graph or the backend leaves the candidate out and is told.
    fn or_left_out<T>(
        &mut self,
        name: &str,
        make: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match make(self) {
            Ok(made) => Ok(Some(made)),
            Err(error @ (Error::Graph(_) | Error::Options(_) | Error::Runtime(_))) => {
                self.left_out.push(format!("{name} is left out: {}.", crate::chain(&error)));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn try_graph_unless_known(&mut self, graph: Graph) -> Result<(), Error> {
        let is_known = self.scored.iter().any(|(known, ..)| known.digest == graph.digest);
        if is_known { Ok(()) } else { self.try_graph(graph) }
    }

    /// Scores and times a graph. The first one is what the others are compared with.
    fn try_graph(&mut self, graph: Graph) -> Result<(), Error> {
        if self.scored.is_empty() {
            let (scored, timed) = (self.score(&graph, None)?, self.time(&graph, None)?);
            self.scored.push((graph, scored, timed));
            return Ok(());
        }
        let name = graph.name.clone();
        let made = self.or_left_out(&name, |search| {
            let (first, first_scored, _) = &search.scored[0];
            Ok((search.score(&graph, Some(first_scored))?, search.time(&graph, Some(first))?))
        })?;
        self.scored.extend(made.map(|(scored, timed)| (graph, scored, timed)));
        Ok(())
    }

    fn score(&self, graph: &Graph, reference: Option<&Scored>) -> Result<Scored, Error> {
        let Planning { annotations, images, .. } = *self.with;
        let detector = &self.subject.detector;
        let key = json!({
            "model": graph.digest, "detector": detector, "annotations": annotations.sha256, "images": images,
            "backend": self.backend, "reference": reference.map(|scored| &scored.found),
        });
        let scoring = Scoring { detector, backend: self.with.backend, annotations, images };
        self.run.step_for(&graph.name, SCORE, false, &key, |context| {
            context.note(&graph.name);
            scoring.score(&graph.onnx, reference.map(|scored| &scored.found), context)
        })
    }

    fn time(&self, graph: &Graph, reference: Option<&Graph>) -> Result<Timed, Error> {
        let key = json!({
            "model": graph.digest, "reference": reference.map(|graph| &graph.digest),
            "detector": self.subject.detector, "load": self.with.load, "backend": self.backend,
            "machine": self.machine,
        });
        let image = self.with.images.first(1);
        self.run.step_for(&graph.name, TIME, self.with.remeasure, &key, |_| {
            let timing = timing::Timing {
                detector: &self.subject.detector,
                backend: self.with.backend,
                load: &self.with.load,
                image: image.images.first(),
            };
            timing.of(&graph.onnx, reference.map(|graph| graph.onnx.as_path()))
        })
    }

    /// Leaves the layers that feel the rounding most in floating point: 1, 2, 4 … of them, until the budget is kept.
    fn pin(&mut self, ranges: &Ranges, sensitivity: &[Sensitivity]) -> Result<(), Error> {
        let most = sensitivity.len() / 2;
        for count in std::iter::successors(Some(1), |count| Some(count * 2)).take_while(|n| *n <= most) {
            let pinned: Vec<String> =
                sensitivity.iter().take(count).map(|layer| layer.layer.clone()).collect();
            let graph = self.rounded(ranges, &pinned)?;
            self.try_graph(graph)?;
            if self.tried().last().is_some_and(|last| last.loss <= self.with.map_budget) {
                break;
            }
        }
        Ok(())
    }

    /// What was tried so far, not judged yet.
    fn tried(&self) -> Vec<Candidate> {
        let first = self.scored.first().map_or(0.0, |(_, scored, _)| scored.evaluation.scores.scores.map);
        // Every pair timed fp32 too: one time for all, whatever else the machine did meanwhile.
        let base = timing::median(self.scored.iter().map(|(.., timed)| timed.reference_ms)).unwrap_or(0.0);
        let candidate = |(graph, scored, timed): &(Graph, Scored, Timed)| {
            let map = scored.evaluation.scores.scores.map;
            let (low, high) = scored.change.map_or((0.0, 0.0), |change| (change.low, change.high));
            Candidate {
                name: graph.name.clone(),
                precision: graph.precision(),
                pinned: graph.pinned.clone(),
                flops_share: graph.flops_share(),
                bytes: graph.bytes,
                map,
                // Without a negative zero.
                loss: first - map + 0.0,
                loss_low: 0.0 - high,
                loss_high: 0.0 - low,
                latency_ms: base / timed.speed,
                speed: timed.speed,
                front: false,
                within: false,
            }
        };
        self.scored.iter().map(candidate).collect()
    }

    fn conclude(self, sensitivity: Vec<Sensitivity>) -> Planned {
        let latency_budget_ms = self.with.latency_budget.map(|budget| budget.as_secs_f64() * 1e3);
        let mut plan = Plan {
            backend: self.with.backend.to_owned(),
            version: self.probe.version.clone(),
            device: self.probe.device.clone(),
            map_budget: self.with.map_budget,
            latency_budget_ms,
            wanted: self.with.wanted,
            annotations: self.with.annotations.name.clone(),
            images: self.with.images.images.len() as u64,
            candidates: self.tried(),
            chosen: None,
            conclusions: Vec::new(),
            sensitivity,
        };
        judge::judge(&mut plan);
        plan.conclusions.extend(self.left_out);
        let graphs = self.scored.into_iter().map(|(graph, ..)| graph);
        let chosen = graphs.into_iter().find(|graph| Some(&graph.name) == plan.chosen.as_ref());
        Planned { plan, chosen }
    }
}

/// A search begins with fp32: from anything else there is no way back.
fn require_full_precision(subject: &Subject) -> Result<(), Error> {
    let facts = Facts::of(&open_graph(subject)?);
    let is_rounded = |dtype| matches!(dtype, DataType::F16 | DataType::Bf16 | DataType::I8 | DataType::U8);
    match facts.precisions.iter().find(|share| is_rounded(share.dtype)) {
        None => Ok(()),
        Some(share) => Err(Error::Options(format!(
            "`{}` has weights in {}: a search begins with the fp32 model that it was made of",
            subject.onnx.display(),
            share.dtype.name()
        ))),
    }
}

impl Graph {
    fn precision(&self) -> Precision {
        match &self.made {
            Made::AsItIs => Precision::Fp32,
            Made::Half(_) => Precision::Fp16,
            Made::Int8(_) => Precision::Int8,
        }
    }

    fn flops_share(&self) -> Option<f64> {
        match &self.made {
            Made::AsItIs => None,
            Made::Half(half) => half.about.flops_share,
            Made::Int8(int8) => int8.about.flops_share,
        }
    }
}
