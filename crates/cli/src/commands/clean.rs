//! `sightline clean`: removes what finished steps remember; packages stay.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use crate::Failure;
use crate::output::Output;

/// Arguments of `clean`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder that packages go to
    #[arg(long, value_name = "DIR", default_value = "models")]
    out: PathBuf,
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Cleaned {
    store: PathBuf,
    bytes: u64,
    removed: bool,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    let (store, bytes) = pipeline::clean(&args.out, args.dry_run)?;
    output.result(&Cleaned { store, bytes, removed: !args.dry_run && bytes > 0 })?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.removed { "removed" } else { "holds" };
        writeln!(f, "{} {word} {:.1} MB", self.store.display(), self.bytes as f64 / 1e6)
    }
}
