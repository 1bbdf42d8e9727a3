//! `sightline eval`: COCO mAP.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use pipeline::{Annotations, Event, ImageSet};
use serde_json::{Map, Value, json};

use super::shared::{DescribeArgs, open};
use crate::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Arguments of `eval`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An ONNX file or a package
    model: PathBuf,
    /// Annotations in COCO form
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// Folder of their images
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// At most this many images
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Backend
    #[arg(long, value_name = "NAME", default_value = "embedded")]
    backend: String,
    #[command(flatten)]
    describe: DescribeArgs,
}
