//! `sightline quantize`: INT8 by calibration.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use pipeline::graph::quantize::Method;
use pipeline::{Event, ImageSet, Quantized, Quantizing};
use serde::Serialize;

use super::shared::ModelArgs;
use crate::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Arguments of `quantize`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Folder of calibration images
    #[arg(long, value_name = "DIR")]
    calibrate: PathBuf,
    /// Folder that `<name>_int8.onnx` and `calibration.cache` go to
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// At most this many images
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Which images: another seed chooses others
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
    /// How ranges are chosen: minmax, entropy, mse, percentile or percentile:99.9
    #[arg(long, value_name = "METHOD", default_value = "mse")]
    method: Method,
    /// A layer that stays in floating point, by the value that it makes; repeatable
    #[arg(long, value_name = "VALUE")]
    float: Vec<String>,
    /// The TensorRT that reads the calibration cache, such as 8.6.1 or 10.3.0
    #[arg(long, value_name = "VERSION", default_value = "10.3.0", value_parser = version)]
    tensorrt_version: u32,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Summary(Quantized);

pub(crate) fn run(args: Args, output: &Output) -> Result<ExitCode, Failure> {
    let subject = args.model.open()?;
    let images = ImageSet::of_folder(&args.calibrate)?;
    let options = Quantizing {
        method: args.method,
        count: args.count as usize,
        seed: args.seed,
        pinned: args.float.into_iter().collect(),
        tensorrt_version: args.tensorrt_version,
        backend: args.model.backend,
    };
    let progress = Progress::new(output);
    let tell = |event: Event<'_>| progress.show(&event);
    let quantized = pipeline::quantize(&subject, &images, &options, &args.out, &tell);
    progress.clear();
    output.result(&Summary(quantized?))?;
    Ok(ExitCode::SUCCESS)
}

/// The number in the header of a calibration cache: up to 9 one digit a part, from 10 on two.
fn version(text: &str) -> Result<u32, String> {
    let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some(&[major @ 7..=9, minor @ 0..=9, patch @ 0..=99]) => Ok(major * 1000 + minor * 100 + patch),
        Some(&[major @ 10..=99, minor @ 0..=99, patch @ 0..=99]) => Ok(major * 10_000 + minor * 100 + patch),
        _ => Err(format!("`{text}` is no version of TensorRT: write it as 8.6.1 or 10.3.0")),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = &self.0;
        writeln!(f, "{}", made.path.display())?;
        writeln!(f, "{}", made.cache.display())?;
        let share =
            made.flops_share.map_or(String::new(), |share| format!(", {:.1} % of the FLOPs", share * 100.0));
        writeln!(
            f,
            "  {} layers in int8{share}; {}, {} images",
            made.rounded,
            made.method,
            made.images.len()
        )?;
        for (layer, why) in &made.float {
            let why = match why {
                pipeline::graph::quantize::Float::Decides => "its result decides",
                pipeline::graph::quantize::Float::Vector => "a matrix times a vector",
                pipeline::graph::quantize::Float::Pinned => "asked for",
            };
            writeln!(f, "  float   {layer}: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_become_the_headers_number() {
        for (text, number) in [("8.6.1", 8601), ("10.3.0", 100_300), ("10.16.1", 101_601)] {
            assert_eq!(version(text), Ok(number));
        }
        for text in ["8.6", "x", "8.10.1", "1.2.3", "10.3.0.26"] {
            assert!(version(text).is_err(), "{text}");
        }
    }
}
