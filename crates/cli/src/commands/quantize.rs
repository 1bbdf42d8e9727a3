//! `sightline quantize`: INT8 by calibration.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pipeline::{Event, ImageSet, Quantized};
use serde::Serialize;

use super::shared::{CalibrationArgs, ModelArgs};
use crate::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Arguments of `quantize`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Folder of calibration images, or a COCO file that names some
    #[arg(long, value_name = "PATH", required_unless_present = "cache")]
    calibrate: Option<PathBuf>,
    /// TensorRT calibration cache (such as NGC's `*_int8.txt`) to take the scales from, instead of images
    #[arg(long, value_name = "FILE", conflicts_with_all = ["calibrate", "tensors"])]
    cache: Option<PathBuf>,
    /// Folder that the calibration images go to as raw tensors too (`calib_0000.bin` …)
    #[arg(long, value_name = "DIR")]
    tensors: Option<PathBuf>,
    /// Folder that `<name>_int8.onnx` and `calibration.cache` go to
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    #[command(flatten)]
    calibration: CalibrationArgs,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Summary(Quantized);

pub(crate) fn run(args: Args, output: &Output) -> Result<ExitCode, Failure> {
    let subject = args.model.open()?;
    let options = args.calibration.options();
    let progress = Progress::new(output);
    let tell = |event: Event<'_>| progress.show(&event);
    let made = || {
        if let Some(cache) = &args.cache {
            return pipeline::quantize_with_cache(&subject, cache, &options, &args.out);
        }
        let folder = args.calibrate.as_deref().unwrap_or(Path::new("."));
        let images = ImageSet::sample(folder, options.count, options.seed)?;
        if let Some(folder) = &args.tensors {
            pipeline::write_calibration_tensors(&subject, &images, folder, &tell)?;
        }
        pipeline::quantize(&subject, &images, &options, &args.model.backend, &args.out, &tell)
    };
    let made = made();
    progress.clear();
    output.result(&Summary(made?))?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.0.path.display())?;
        writeln!(f, "{}", self.0.cache.display())?;
        let made = &self.0.about;
        let share =
            made.flops_share.map_or(String::new(), |share| format!(", {:.1} % of the FLOPs", share * 100.0));
        let from = match &made.cache_use {
            Some(usage) => format!(
                "{} scales of the cache used, {} not needed, {} unknown here",
                usage.used,
                usage.not_needed,
                usage.unknown.len()
            ),
            None => format!("{}, {} images", made.method, made.images.len()),
        };
        writeln!(f, "  {} layers in int8{share}; {from}", made.rounded)?;
        for tried in &made.tried {
            writeln!(f, "  {:<18} moves the detections by {:.2} %", tried.method, tried.moved * 100.0)?;
        }
        for (layer, why) in &made.float {
            let why = match why {
                pipeline::graph::quantize::Float::Decides => "its result decides",
                pipeline::graph::quantize::Float::Vector => "a matrix times a vector",
                pipeline::graph::quantize::Float::Pinned => "asked for",
                pipeline::graph::quantize::Float::NoRange => "the cache has no range for what it reads",
            };
            writeln!(f, "  float   {layer}: {why}")?;
        }
        Ok(())
    }
}
