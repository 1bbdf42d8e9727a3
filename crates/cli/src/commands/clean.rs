//! `sightline clean`: removes what finished steps remember, or the models of a Triton repository; packages stay.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use pipeline::CleanedRepository;
use serde::Serialize;

use crate::Failure;
use crate::output::Output;

/// Arguments of `clean`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder that packages go to
    #[arg(long, value_name = "DIR", default_value = "models")]
    out: PathBuf,
    /// Remove the model files of this Triton repository instead; configurations stay, and are copied beside it
    #[arg(long, value_name = "REPO", conflicts_with = "out")]
    triton: Option<PathBuf>,
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
    if let Some(repository) = &args.triton {
        output.result(&Emptied(pipeline::clean_repository(repository, args.dry_run)?))?;
        return Ok(ExitCode::SUCCESS);
    }
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

#[derive(Serialize)]
#[serde(transparent)]
struct Emptied(CleanedRepository);

impl fmt::Display for Emptied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CleanedRepository { repository, files, backup, removed } = &self.0;
        let word = if *removed { "removed" } else { "would remove" };
        for file in files {
            let path = repository.join(&file.path);
            writeln!(f, "{word} {} ({:.1} MB)", path.display(), file.bytes as f64 / 1e6)?;
        }
        if files.is_empty() {
            writeln!(f, "{} holds no model files", repository.display())?;
        }
        if let Some(backup) = backup {
            writeln!(f, "configurations are copied to {}", backup.display())?;
        }
        Ok(())
    }
}
