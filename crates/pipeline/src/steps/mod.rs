//! The steps of an import, one file each, in order.

pub(crate) mod acquire;
pub(crate) mod deliver;
pub(crate) mod evaluate;
pub(crate) mod export;
pub(crate) mod measure;
pub(crate) mod report;
mod rows;
pub(crate) mod verify;

use crate::run::Step;

/// Fetches the source's files.
pub(crate) const ACQUIRE: Step = Step { name: "acquire", version: 1 };
/// Makes the ONNX graph and the detector's description.
pub(crate) const EXPORT: Step = Step { name: "export", version: 2 };
/// Compares the delivered graph with the source-exact one.
pub(crate) const VERIFY: Step = Step { name: "verify", version: 3 };
/// Scores the delivered graph on annotated images.
pub(crate) const EVALUATE: Step = Step { name: "evaluate", version: 1 };
/// Renders the deployment trees and the samples.
pub(crate) const DELIVER: Step = Step { name: "deliver", version: 1 };
/// Times the delivered graph on this machine.
pub(crate) const MEASURE: Step = Step { name: "measure", version: 1 };
/// Writes the report.
pub(crate) const REPORT: Step = Step { name: "report", version: 1 };

/// All of them, in order, for the plan.
pub(crate) const ALL: [Step; 7] = [ACQUIRE, EXPORT, VERIFY, EVALUATE, DELIVER, MEASURE, REPORT];
