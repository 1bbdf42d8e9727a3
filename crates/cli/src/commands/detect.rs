//! `sightline detect`: boxes on images.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use pipeline::{FoundImage, Looking, image_files};
use serde::Serialize;

use super::shared::{ModelArgs, fraction};
use crate::Failure;
use crate::output::Output;

/// Arguments of `detect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Images, or folders of images
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Folder for the images with boxes drawn on them, as JPEG
    #[arg(long, value_name = "DIR")]
    draw: Option<PathBuf>,
    /// Lowest score [default: the head's own]
    #[arg(long, value_name = "SCORE", value_parser = fraction)]
    confidence: Option<f32>,
    /// Overlap above which the weaker of two boxes goes, for heads that need suppression [default: the head's own]
    #[arg(long, value_name = "IOU", value_parser = fraction)]
    iou: Option<f32>,
    /// Most detections an image
    #[arg(long, value_name = "N")]
    max: Option<usize>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Table(Vec<FoundImage>);

pub(crate) fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    let subject = args.model.open()?;
    let images = image_files(&args.images)?;
    let looking = Looking {
        backend: args.model.backend.clone(),
        confidence: args.confidence,
        iou: args.iou,
        most: args.max,
        draw: args.draw.clone(),
    };
    let found = pipeline::detect(&subject, &images, &looking, &mut |path| {
        output.say(&format!("drew {}", path.display()));
    })?;
    output.result(&Table(found))?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for image in &self.0 {
            writeln!(f, "{} ({}×{})", image.image, image.width, image.height)?;
            let widest = image.detections.iter().map(|found| found.label.chars().count()).max().unwrap_or(0);
            for found in &image.detections {
                let [x1, y1, x2, y2] = found.bbox;
                writeln!(
                    f,
                    "  {:<widest$}  {:.3}  {x1:7.1} {y1:7.1} {x2:7.1} {y2:7.1}",
                    found.label, found.score
                )?;
            }
            if image.detections.is_empty() {
                writeln!(f, "  nothing found")?;
            }
        }
        Ok(())
    }
}
