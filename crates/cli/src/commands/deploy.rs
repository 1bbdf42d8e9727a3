//! `sightline deploy`: a target's folder in a package, or a package's models in a Triton repository.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use pipeline::deploy::targets::triton::{Options, Tier, Versions};
use pipeline::{Added, Adding, Error};
use serde::Serialize;

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
    /// Add the models to this model repository, each as the version after its newest one
    #[arg(long, value_name = "REPO", help_heading = "Triton")]
    into: Option<PathBuf>,
    /// What config.pbtxt is made for: latency, balanced or throughput [default: balanced]
    #[arg(long, value_name = "TIER", help_heading = "Triton")]
    tier: Option<Tier>,
    /// Which versions the server loads: latest:N, all, or numbers with commas [default: latest:2]
    #[arg(long, value_name = "POLICY", help_heading = "Triton")]
    versions: Option<Versions>,
}

/// The name of the target that the options under `Triton` are for.
const TRITON: &str = "triton";

pub(crate) fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    let every =
        || pipeline::deploy::targets::targets().iter().map(|target| target.name().to_owned()).collect();
    let names: Vec<String> = args.target.clone().unwrap_or_else(every);
    let Args { package, into, tier, versions, .. } = args;
    if let Some(repository) = into {
        if names != [TRITON] {
            return Err(Error::Options("`--into` is for one target: `--target triton`".into()).into());
        }
        let adding = Adding { tier: *tier, versions: versions.clone() };
        let models = pipeline::add_to_repository(package, repository, &adding)?;
        output.result(&Repository { repository: repository.clone(), models })?;
        return Ok(ExitCode::SUCCESS);
    }
    if (tier.is_some() || versions.is_some()) && !names.iter().any(|name| name == TRITON) {
        return Err(Error::Options("`--tier` and `--versions` are for `--target triton`".into()).into());
    }
    let mut files: Vec<String> = Vec::new();
    for name in names {
        let written = if name == TRITON {
            let options =
                Options { tier: tier.unwrap_or_default(), versions: versions.clone().unwrap_or_default() };
            pipeline::deliver_triton(package, &options)
        } else {
            pipeline::deliver_target(package, &name, (args.frame.width, args.frame.height))
        };
        match written {
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
    output.result(&Written { package: package.clone(), files })?;
    Ok(ExitCode::SUCCESS)
}

/// What became of the models.
#[derive(Serialize)]
struct Repository {
    repository: PathBuf,
    models: Vec<Added>,
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Added { model, version, configured, served, left_out } in &self.models {
            let Some(version) = version else {
                writeln!(f, "{model}: left out, {}", left_out.as_deref().unwrap_or_default())?;
                continue;
            };
            let served: Vec<String> = served.iter().map(u64::to_string).collect();
            let config = if *configured { "written" } else { "kept as it is" };
            let path = self.repository.join(model).join(version.to_string());
            writeln!(f, "{}: config.pbtxt {config}; the server loads {}", path.display(), served.join(", "))?;
        }
        Ok(())
    }
}
