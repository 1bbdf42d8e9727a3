//! `sightline optimize MODEL --preprocess-in-graph`, `--suppress-in-graph`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use pipeline::detect::in_graph::{Suppression, SuppressionForm};
use pipeline::detect::{Frames, Matrix};
use pipeline::{Event, ImageSet, InGraph, InGraphFile, InGraphVerdict, Optimizing, Proving, Subject};
use serde::Serialize;

use super::shared::fraction;
use crate::output::Output;
use crate::progress::Progress;
use crate::{Failure, exit_code};

/// What goes into the graph.
#[derive(Debug, clap::Args)]
pub(crate) struct InGraphArgs {
    /// Take raw uint8 frames of any size; resize, colours, scale, mean and deviation are computed in the graph, and boxes
    /// come out in pixels of the frame. Which frames: rgb or bgr (`[batch, height, width, 3]`), nv12 (two planes of limited
    /// range, BT.709) or nv12-bt601. For float16 run `--fp16` before, in another command [default: rgb]
    #[arg(
        long,
        value_name = "FRAMES",
        help_heading = "In the graph",
        num_args = 0..=1,
        default_missing_value = "rgb",
        hide_possible_values = true,
        conflicts_with_all = ["fp16", "budget_map"]
    )]
    preprocess_in_graph: Option<FrameLayout>,
    /// Give detections, suppressed (`num_dets`, `det_boxes`, `det_scores`, `det_classes`): by ONNX's `NonMaxSuppression`
    /// (onnx), or by the plug-in `EfficientNMS_TRT` of TensorRT up to 10 (tensorrt) [default: onnx]
    #[arg(
        long,
        value_name = "FORM",
        help_heading = "In the graph",
        num_args = 0..=1,
        default_missing_value = "onnx",
        hide_possible_values = true,
        conflicts_with_all = ["fp16", "budget_map"]
    )]
    suppress_in_graph: Option<Form>,
    /// Lowest score of a detection
    #[arg(long, value_name = "SCORE", help_heading = "In the graph", default_value_t = 0.25, value_parser = fraction, requires = "suppress_in_graph")]
    confidence: f32,
    /// Overlap above which the weaker of two boxes goes, for heads that need suppression
    #[arg(long, value_name = "IOU", help_heading = "In the graph", default_value_t = 0.45, value_parser = fraction, requires = "suppress_in_graph")]
    iou: f32,
    /// Most detections an image
    #[arg(
        long,
        value_name = "N",
        help_heading = "In the graph",
        default_value_t = 100,
        requires = "suppress_in_graph"
    )]
    top_k: usize,
    /// Boxes of different classes suppress each other too
    #[arg(long, help_heading = "In the graph", requires = "suppress_in_graph")]
    class_agnostic: bool,
}

/// Raw frames.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FrameLayout {
    /// Red first
    Rgb,
    /// Blue first
    Bgr,
    /// Two planes, BT.709
    #[value(name = "nv12", alias = "nv12-bt709")]
    Nv12,
    /// Two planes, BT.601
    #[value(name = "nv12-bt601")]
    Nv12Bt601,
}

/// The operator of suppression.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// `NonMaxSuppression`
    Onnx,
    /// `EfficientNMS_TRT`
    Tensorrt,
}

impl InGraphArgs {
    /// What was asked for, if anything.
    pub(crate) fn wanted(&self) -> Option<InGraph> {
        let frames = self.preprocess_in_graph.map(|layout| match layout {
            FrameLayout::Rgb => Frames::Rgb,
            FrameLayout::Bgr => Frames::Bgr,
            FrameLayout::Nv12 => Frames::nv12(Matrix::Bt709),
            FrameLayout::Nv12Bt601 => Frames::nv12(Matrix::Bt601),
        });
        let suppression = self.suppress_in_graph.map(|form| Suppression {
            form: match form {
                Form::Onnx => SuppressionForm::Onnx,
                Form::Tensorrt => SuppressionForm::TensorRt,
            },
            confidence: self.confidence,
            iou: self.iou,
            top_k: self.top_k,
            class_agnostic: self.class_agnostic,
        });
        (frames.is_some() || suppression.is_some()).then_some(InGraph { frames, suppression })
    }
}

/// `<name>_frames.onnx`, `<name>_suppressed.onnx`, or `<name>_end2end.onnx` with both, beside the file or the package.
fn beside(model: &Path, name: &str, wanted: &InGraph) -> PathBuf {
    let form = match (&wanted.frames, &wanted.suppression) {
        (Some(_), Some(_)) => "end2end",
        (Some(_), None) => "frames",
        (None, _) => "suppressed",
    };
    model.with_file_name(format!("{name}_{form}.onnx"))
}

#[derive(Serialize)]
#[serde(transparent)]
struct Summary(InGraphFile);

/// Makes the file; without images it is compared on the two built-in scenes.
pub(crate) fn run(
    (model, subject): (&Path, &Subject),
    passes: &Optimizing,
    wanted: &InGraph,
    (images, backend): (Option<ImageSet>, &str),
    to: Option<PathBuf>,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let unchecked = passes.unchecked;
    if images.is_none() && !unchecked {
        output.warn("no `--images` and no `--calibrate`: the graphs are compared on two built-in scenes");
    }
    let images = images.unwrap_or_else(ImageSet::built_in);
    let proving = Proving { images: &images, backend, unchecked };
    let to = to.unwrap_or_else(|| beside(model, &subject.name, wanted));
    let progress = Progress::new(output);
    let tell = |event: Event<'_>| progress.show(&event);
    let made = pipeline::put_in_graph(subject, passes, wanted, &proving, &to, &tell);
    progress.clear();
    let made = made?;
    if let (InGraphVerdict::NotRun, Some(reason), false) = (made.check.verdict, &made.check.reason, unchecked)
    {
        output.warn(&format!("the graphs were not compared: {reason}"));
    }
    let written = made.written;
    output.result(&Summary(made))?;
    Ok(exit_code::passed(written))
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (made, check) = (&self.0, &self.0.check);
        let path = made.path.display();
        if made.written {
            writeln!(f, "{path}")?;
        } else {
            writeln!(f, "FAILED: {path} was not written (`--unchecked` writes it all the same)")?;
        }
        writeln!(f, "  {} nodes became {}, {:.2} s", made.nodes_before, made.nodes_after, made.seconds)?;
        for (title, values) in [("takes", &made.inputs), ("gives", &made.outputs)] {
            for (place, value) in values.iter().enumerate() {
                writeln!(f, "  {:<6} {value}", if place == 0 { title } else { "" })?;
            }
        }
        if check.images == 0 {
            return Ok(());
        }
        let found = &check.agreement;
        writeln!(
            f,
            "  {} images on {}: {} detections of the plain graph and the code around it found again, {} missed, {} extra, \
             {} moved, {} rescored",
            check.images,
            check.backend,
            found.matched,
            found.missed,
            found.extra,
            found.moved,
            found.rescored
        )?;
        writeln!(f, "  scores within {:.1e}, IoU at least {:.6}", found.max_score_difference, found.min_iou)?;
        if check.stand_in {
            writeln!(
                f,
                "  EfficientNMS_TRT runs in TensorRT up to 10 only: here it was computed from its documentation, the rest of \
                 the graph on {}",
                check.backend
            )?;
        }
        Ok(())
    }
}
