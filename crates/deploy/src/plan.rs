//! Which precision pays on one backend: candidates with what each loses and gains, and the one that was chosen.

use serde::{Deserialize, Serialize};

use crate::Precision;

/// The outcome of a search for a precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The backend that every candidate was scored and timed on.
    pub backend: String,
    /// Its version.
    pub version: String,
    /// Where it ran: `cpu`, a GPU's name.
    pub device: String,
    /// The mAP that may be lost.
    pub map_budget: f64,
    /// The median time of one image that is wanted, in milliseconds.
    pub latency_budget_ms: Option<f64>,
    /// The precision that was asked for whatever its speed here, for another machine; else the fastest one wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Precision>,
    /// The annotation file, by name.
    pub annotations: String,
    /// Images scored.
    pub images: u64,
    /// What was tried, fp32 first.
    pub candidates: Vec<Candidate>,
    /// The name of the fastest candidate within the budgets; `None` when there is none.
    pub chosen: Option<String>,
    /// What follows from it, one sentence each.
    pub conclusions: Vec<String>,
    /// How much the result moves when one layer alone is rounded to eight bits, the largest first; empty when that was
    /// not looked at.
    pub sensitivity: Vec<Sensitivity>,
}

/// A graph that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// A short name: `fp32`, `fp16`, `int8 + 4 layers float` …
    pub name: String,
    /// The number format of most of it.
    pub precision: Precision,
    /// Layers or nodes that the search left in floating point, by the value that they make.
    pub pinned: Vec<String>,
    /// The share of the FLOPs in that format; absent when FLOPs cannot be counted.
    pub flops_share: Option<f64>,
    /// Size of the ONNX file.
    pub bytes: u64,
    /// mAP@[.5:.95].
    pub map: f64,
    /// The mAP lost against fp32; negative for a gain.
    pub loss: f64,
    /// 95 % of the paired resamplings of the images lose no less than this …
    pub loss_low: f64,
    /// … and no more than this.
    pub loss_high: f64,
    /// Median time of one image, in milliseconds: that of fp32 by the ratio of the two.
    pub latency_ms: f64,
    /// How many times as fast as fp32, which was timed in turns with it.
    pub speed: f64,
    /// Whether no other candidate is both faster and more accurate.
    pub front: bool,
    /// Whether it is within the budgets.
    pub within: bool,
}

/// What rounding one layer does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensitivity {
    /// The layer, by the value that it makes.
    pub layer: String,
    /// How far the detections moved: 0 for not at all, 1 for none found again.
    pub moved: f64,
}

impl Plan {
    /// The chosen candidate.
    pub fn choice(&self) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| Some(&candidate.name) == self.chosen.as_ref())
    }
}
