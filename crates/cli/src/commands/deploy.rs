//! `sightline deploy`: a target's folder in a package.

use std::path::PathBuf;
use std::process::ExitCode;

use pipeline::Error;

use super::report::Written;
use crate::Failure;
use crate::args::Size;
use crate::output::Output;

/// Arguments of `deploy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder that `import` made
    package: PathBuf,
    /// Where it is deployed to; several with commas [default: everywhere]
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    target: Option<Vec<String>>,
    /// Size of the frames, for targets that process video (DeepStream, Isaac ROS)
    #[arg(long, value_name = "WxH", default_value_t = Size::USUAL_FRAME)]
    frame: Size,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    let every =
        || pipeline::deploy::targets::targets().iter().map(|target| target.name().to_owned()).collect();
    let names: Vec<String> = args.target.clone().unwrap_or_else(every);
    let mut files: Vec<String> = Vec::new();
    for name in names {
        match pipeline::deliver_target(&args.package, &name, (args.frame.width, args.frame.height)) {
            Ok(written) => {
                // Two targets may share a graph.
                let new: Vec<String> = written.into_iter().filter(|file| !files.contains(file)).collect();
                files.extend(new);
            }
            // A target that was not named may be one that cannot run this detector.
            Err(error @ Error::Deploy(pipeline::deploy::Error::Inexpressible { .. }))
                if args.target.is_none() =>
            {
                output.warn(&format!("{error}: left out"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    output.result(&Written { package: args.package.clone(), files })?;
    Ok(ExitCode::SUCCESS)
}
