//! `sightline list`: what this program has, from its own tables.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

use crate::Failure;
use crate::output::Output;

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Tables {
    architectures: Vec<String>,
    backends: Vec<Backend>,
    targets: Vec<Target>,
}

#[derive(Serialize)]
struct Backend {
    name: &'static str,
    /// Version and device, or why it cannot be used here.
    state: String,
}

#[derive(Serialize)]
struct Target {
    name: &'static str,
    about: &'static str,
}

pub(crate) fn run(output: &Output) -> Result<ExitCode, Failure> {
    let backends = pipeline::runtime::BACKENDS.iter().map(|backend| Backend {
        name: backend.name(),
        state: match backend.probe() {
            Ok(probe) => format!("{} on {}", probe.version, probe.device),
            Err(error) => format!("not usable here: {error}"),
        },
    });
    let targets = pipeline::deploy::targets::targets().iter();
    output.result(&Tables {
        architectures: pipeline::models::architectures().iter().map(ToString::to_string).collect(),
        backends: backends.collect(),
        targets: targets.map(|target| Target { name: target.name(), about: target.about() }).collect(),
    })?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "architectures (checkpoints exported without Python; any detector as ONNX besides)")?;
        for architecture in &self.architectures {
            writeln!(f, "  {architecture}")?;
        }
        writeln!(f, "backends")?;
        for backend in &self.backends {
            writeln!(f, "  {:<14} {}", backend.name, backend.state)?;
        }
        writeln!(f, "targets")?;
        for target in &self.targets {
            writeln!(f, "  {:<14} {}", target.name, target.about)?;
        }
        Ok(())
    }
}
