//! `sightline inspect`: what is this file?

use std::path::PathBuf;
use std::process::ExitCode;

use crate::Failure;
use crate::output::Output;

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An ONNX file, safetensors, PyTorch checkpoint, engine plan or calibration cache
    file: PathBuf,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    output.result(&pipeline::inspect(&args.file)?)?;
    Ok(ExitCode::SUCCESS)
}
