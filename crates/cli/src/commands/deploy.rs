//! `sightline deploy`: a target's folder in a package.

use std::path::PathBuf;
use std::process::ExitCode;

use super::report::Written;
use crate::Failure;
use crate::output::Output;

/// Arguments of `deploy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder that `import` made
    package: PathBuf,
    /// Where it is deployed to; several with commas [default: everywhere]
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    target: Option<Vec<String>>,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    let names = args.target.clone().unwrap_or_else(|| {
        pipeline::deploy::targets::targets().iter().map(|target| target.name().to_owned()).collect()
    });
    let mut files = Vec::new();
    for name in names {
        files.extend(pipeline::deliver_target(&args.package, &name)?);
    }
    output.result(&Written { package: args.package.clone(), files })?;
    Ok(ExitCode::SUCCESS)
}
