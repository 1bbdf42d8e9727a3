//! The five charts of the report, the two drawings of accuracy, and that of a plan.
//!
//! File names, size and colours are fixed. A chart is drawn from what its name promises when that was measured; else
//! from what this machine measured, titled with the backend; else it is a card that says what fills it. There is never
//! an empty axis.

mod accuracy;
mod bars;
mod canvas;
mod card;
mod classes;
mod lines;
mod plan;
mod raster;
mod scatter;
mod slots;

pub(super) use accuracy::drawings;
pub(super) use plan::plan;
pub(super) use slots::charts;

use crate::Error;

/// QPS at batch 1 and at the maximum.
pub(super) const BATCHES: &str = "chart_trtexec_bs1_vs_bsmax.png";
/// Images a second at the maximum batch, and the streams that makes.
pub(super) const THROUGHPUT: &str = "chart_trtexec_throughput.png";
/// Frame rate of a stream over the number of streams.
pub(super) const STREAMS: &str = "chart_ds_streams_vs_fps.png";
/// The GPU alone against the whole pipeline.
pub(super) const COMPARISON: &str = "chart_trt_vs_ds.png";
/// The pipeline in percent of the GPU alone.
pub(super) const EFFICIENCY: &str = "chart_efficiency.png";
/// Average precision by class.
pub(super) const BY_CLASS: &str = "chart_accuracy_by_class.svg";
/// Precision over recall.
pub(super) const CURVE: &str = "chart_precision_recall.svg";

/// Accuracy over time, of a plan.
pub(super) const PLAN: &str = "chart_precision_plan.svg";

/// A picture of the report.
pub(super) struct Chart {
    /// Its file name in `charts/`.
    pub(super) file: &'static str,
    /// The picture in words.
    pub(super) alt: String,
    /// What it was drawn from.
    pub(super) source: Source,
    /// The drawing.
    pub(super) svg: String,
}

/// What a chart was drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The figures that its name promises.
    Promised,
    /// Figures of a backend of this machine.
    ThisMachine,
    /// Nothing: it is a card.
    Missing,
}

impl Chart {
    /// The picture as PNG.
    pub(super) fn png(&self) -> Result<Vec<u8>, Error> {
        raster::png(self.file, &self.svg)
    }
}
