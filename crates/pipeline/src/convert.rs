//! From what the steps found to the forms of the manifest and the measurements.

use deploy::report::PrecisionRecall;
use deploy::{
    Accuracy, ClassAccuracy, CocoMetrics, Dataset, Figure, Gpu, ImageTimes, Latency, Machine, Precision, StepRecord,
};

use crate::run::Taken;
use crate::steps::evaluate::Evaluation;
use crate::steps::measure::Figures;

pub(crate) fn step_record(taken: &Taken) -> StepRecord {
    StepRecord { name: taken.step.name.to_owned(), version: taken.step.version, key: taken.key.to_string() }
}
