//! `sightline eval`: COCO mAP.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use pipeline::{Annotations, Evaluation, Event, ImageSet};
use serde::Serialize;

use super::shared::ModelArgs;
use crate::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Arguments of `eval`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Annotations in COCO form
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// Folder of their images
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// At most this many images
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

/// The scores under the names that scripts look for, then everything else.
#[derive(Serialize)]
#[serde(transparent)]
struct Scores(Evaluation);

pub(crate) fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    let subject = args.model.open()?;
    let mut annotations = Annotations::open(&args.annotations)?;
    if let Some(limit) = args.limit {
        annotations = annotations.first(limit as usize);
    }
    let images = ImageSet::of_annotations(&args.images, &annotations.dataset)?;
    let progress = Progress::new(output);
    let tell = |event: Event<'_>| progress.show(&event);
    let scores = pipeline::evaluate(&subject, &annotations, &images, &args.model.backend, &tell);
    progress.clear();
    let scores = scores?;
    if !scores.renamed.is_empty() {
        output.warn(&format!("categories were paired by their order: {}", scores.renamed.join(", ")));
    }
    output.result(&Scores(scores))?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, scores) = (&self.0.scores, &self.0.scores.scores);
        writeln!(f, "{} images, {} objects, {}", found.images, found.objects, self.0.backend)?;
        let rows = [
            ("mAP@[.5:.95]", scores.map),
            ("AP50", scores.ap50),
            ("AP75", scores.ap75),
            ("AP small", scores.ap_small),
            ("AP medium", scores.ap_medium),
            ("AP large", scores.ap_large),
            ("AR 1", scores.ar1),
            ("AR 10", scores.ar10),
            ("AR 100", scores.ar100),
            ("AR small", scores.ar_small),
            ("AR medium", scores.ar_medium),
            ("AR large", scores.ar_large),
        ];
        for (name, value) in rows {
            writeln!(f, "  {name:<14} {}", number(value))?;
        }
        let widest = found.classes.iter().map(|class| class.name.chars().count()).max().unwrap_or(0).max(5);
        writeln!(f, "  {:<widest$}  {:>7}  {:>7}  objects", "class", "mAP", "AP50")?;
        for class in &found.classes {
            writeln!(
                f,
                "  {:<widest$}  {:>7}  {:>7}  {:>7}",
                class.name,
                number(class.map),
                number(class.ap50),
                class.objects
            )?;
        }
        Ok(())
    }
}

/// A score; "–" where there is nothing to compute it from.
fn number(value: f64) -> String {
    if value < 0.0 { "–".into() } else { format!("{value:.4}") }
}
