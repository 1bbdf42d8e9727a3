//! `sightline verify`: is a package's model still what its source says?

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use pipeline::deploy::{Bound, Check, Verdict};
use pipeline::{Bounds, Event, ImageSet};
use serde::Serialize;

use super::shared::fraction;
use crate::output::Output;
use crate::progress::Progress;
use crate::{Failure, exit_code};

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder that `import` made, beside its `.sightline` (which keeps the source-exact graph)
    package: PathBuf,
    /// Folder of images [default: two scenes that come with the program]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// At most this many images
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Largest difference of a raw output
    #[arg(long, value_name = "X", default_value_t = Bounds::default().tensor, value_parser = bound)]
    tensor_bound: f64,
    /// Smallest IoU of a detection with its counterpart
    #[arg(long, value_name = "IOU", default_value_t = Bounds::default().iou, value_parser = fraction)]
    iou_bound: f32,
    /// Largest difference of a score
    #[arg(long, value_name = "X", default_value_t = Bounds::default().score, value_parser = fraction)]
    score_bound: f32,
    /// Backend
    #[arg(long, value_name = "NAME", default_value = "embedded")]
    backend: String,
}

/// A finite number that is not negative.
fn bound(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("a number from 0 on".into()),
    }
}

#[derive(Serialize)]
struct Certificate {
    passed: bool,
    checks: Vec<Check>,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    let images = match &args.images {
        Some(folder) => ImageSet::of_folder(folder)?,
        None => ImageSet::built_in(),
    };
    let images = images.first(args.limit as usize);
    let bounds = Bounds {
        tensor: args.tensor_bound,
        iou: args.iou_bound,
        score: args.score_bound,
        ..Bounds::default()
    };
    let progress = Progress::new(output);
    let tell = |event: Event<'_>| progress.show(&event);
    let checks = pipeline::reverify(&args.package, &images, &bounds, &args.backend, &tell);
    progress.clear();
    let checks = checks?;
    let passed = checks.iter().all(|check| check.verdict != Verdict::Fail);
    output.result(&Certificate { passed, checks })?;
    Ok(exit_code::passed(passed))
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let verdict = match &check.verdict {
                Verdict::Pass => "pass",
                Verdict::Fail => "FAIL",
                Verdict::NotRun { .. } => "not run",
            };
            let value = check.value.map_or("–".into(), number);
            let bound = match check.bound {
                Some(Bound::AtMost(most)) => format!("≤ {}", number(most)),
                Some(Bound::AtLeast(least)) => format!("≥ {}", number(least)),
                None => String::new(),
            };
            writeln!(f, "{verdict:<8}{value:>10}  {bound:<10} {} ({})", check.name, check.subject)?;
        }
        writeln!(f, "{}", if self.passed { "no check failed" } else { "a check failed" })
    }
}

/// Small numbers as powers of ten, counts as they are.
fn number(value: f64) -> String {
    if value == 0.0 || value.abs() >= 0.001 {
        format!("{value}").chars().take(8).collect()
    } else {
        format!("{value:.1e}")
    }
}
