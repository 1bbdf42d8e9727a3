//! `sightline verify`: is a package's model still what its source says?

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use pipeline::deploy::{Check, Verdict};
use pipeline::{Annotations, Event, ImageSet, Reverifying};
use serde::Serialize;

use super::shared::{BoundArgs, bound, number};
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
    /// COCO annotations of those images: compares mAP too
    #[arg(long, value_name = "FILE", requires = "images")]
    annotations: Option<PathBuf>,
    /// Compare outputs on at most this many images (mAP is compared on all) [default: 8, or 16 where numbers are rounded]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    bounds: BoundArgs,
    /// Backend
    #[arg(long, value_name = "NAME", default_value = "embedded")]
    backend: String,
}

#[derive(Serialize)]
struct Certificate {
    passed: bool,
    checks: Vec<Check>,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    let annotations = args.annotations.as_deref().map(Annotations::open).transpose()?;
    let all = match (&args.images, &annotations) {
        (Some(folder), Some(annotations)) => ImageSet::of_annotations(folder, &annotations.dataset)?,
        (Some(folder), None) => ImageSet::of_folder(folder)?,
        (None, _) => ImageSet::built_in(),
    };
    let with = Reverifying {
        images: &all,
        limit: args.limit.map(|limit| limit as usize),
        scored: annotations.as_ref().map(|annotations| (annotations, &all)),
        bounds: &args.bounds.all(),
        backend: &args.backend,
    };
    let progress = Progress::new(output);
    let tell = |event: Event<'_>| progress.show(&event);
    let checks = pipeline::reverify(&args.package, &with, &tell);
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
            let bound = check.bound.map(bound).unwrap_or_default();
            writeln!(f, "{verdict:<8}{value:>10}  {bound:<10} {} ({})", check.name, check.subject)?;
        }
        writeln!(f, "{}", if self.passed { "no check failed" } else { "a check failed" })
    }
}
