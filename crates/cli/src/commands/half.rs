//! `sightline optimize MODEL --fp16`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pipeline::{Event, HalfFile, Halving, ImageSet, Subject};
use serde::Serialize;

use crate::Failure;
use crate::output::Output;
use crate::progress::Progress;

#[derive(Serialize)]
#[serde(transparent)]
struct Summary(HalfFile);

/// Converts the model; without images the two built-in scenes give the ranges.
pub(crate) fn run(
    subject: &Subject,
    images: Option<ImageSet>,
    options: &Halving,
    backend: &str,
    to: &Path,
    output: &Output,
) -> Result<ExitCode, Failure> {
    if images.is_none() {
        output.warn("no `--calibrate`: what stays in float32 is decided on two built-in scenes");
    }
    let images = images.unwrap_or_else(ImageSet::built_in);
    let progress = Progress::new(output);
    let tell = |event: Event<'_>| progress.show(&event);
    let made = pipeline::convert_half(subject, &images, options, backend, to, &tell);
    progress.clear();
    output.result(&Summary(made?))?;
    Ok(ExitCode::SUCCESS)
}

/// `<name>_fp16.onnx` beside the file or the package.
pub(crate) fn beside(model: &Path, name: &str) -> PathBuf {
    model.with_file_name(format!("{name}_fp16.onnx"))
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HalfFile { path, about, moved } = &self.0;
        writeln!(f, "{}", path.display())?;
        let share =
            about.flops_share.map_or(String::new(), |share| format!(", {:.1} % of the FLOPs", share * 100.0));
        writeln!(
            f,
            "  {} nodes in float16{share}; {} in float32, {} casts",
            about.halved.half,
            about.halved.full.len(),
            about.halved.casts
        )?;
        writeln!(f, "  the detections of {} images move by {:.3} %", about.images.min(16), moved * 100.0)
    }
}
