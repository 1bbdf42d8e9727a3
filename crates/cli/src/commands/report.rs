//! `sightline report`: the report from what a package records.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use crate::Failure;
use crate::output::Output;

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder that `import` made
    package: PathBuf,
}

/// Files written into a package.
#[derive(Serialize)]
pub(super) struct Written {
    pub(super) package: PathBuf,
    pub(super) files: Vec<String>,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    let files = pipeline::rereport(&args.package)?;
    output.result(&Written { package: args.package.clone(), files })?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            writeln!(f, "{}", self.package.join(file).display())?;
        }
        Ok(())
    }
}
