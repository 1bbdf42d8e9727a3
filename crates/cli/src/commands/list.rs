//! `sightline list`: what this program has, from its own tables.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

use crate::Failure;
use crate::output::Output;

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this table
    table: Option<Table>,
}

/// A table of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Table {
    Architectures,
    Backends,
    Targets,
    Passes,
}

#[derive(Serialize)]
struct Tables {
    #[serde(skip_serializing_if = "Option::is_none")]
    architectures: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backends: Option<Vec<Backend>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<Vec<Entry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    passes: Option<Vec<Entry>>,
}

#[derive(Serialize)]
struct Backend {
    name: &'static str,
    /// Version and device, or why it cannot be used here.
    state: String,
    /// The way to make it usable.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// What it is known to do otherwise than a graph says, or not at all.
    gaps: &'static [&'static str],
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    about: &'static str,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    let wanted = |table| args.table.is_none_or(|only| only == table);
    let backends = pipeline::runtime::BACKENDS.iter().map(|backend| {
        let (state, hint) = match backend.probe() {
            Ok(probe) => (format!("{} on {}", probe.version, probe.device), None),
            Err(error) => (format!("not usable here: {error}"), error.hint()),
        };
        Backend { name: backend.name(), state, hint, gaps: backend.gaps() }
    });
    let targets = pipeline::deploy::targets::targets();
    let targets = targets.iter().map(|target| Entry { name: target.name(), about: target.about() });
    let passes = pipeline::graph::passes::PASSES.iter();
    let passes = passes.map(|pass| Entry { name: pass.name, about: pass.about });
    let architectures = pipeline::models::architectures();
    let architectures = architectures.iter().map(ToString::to_string);
    output.result(&Tables {
        architectures: wanted(Table::Architectures).then(|| architectures.collect()),
        backends: wanted(Table::Backends).then(|| backends.collect()),
        targets: wanted(Table::Targets).then(|| targets.collect()),
        passes: wanted(Table::Passes).then(|| passes.collect()),
    })?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(architectures) = &self.architectures {
            writeln!(f, "architectures (checkpoints exported without Python; any detector as ONNX besides)")?;
            architectures.iter().try_for_each(|architecture| writeln!(f, "  {architecture}"))?;
        }
        if let Some(backends) = &self.backends {
            writeln!(f, "backends")?;
            for backend in backends {
                writeln!(f, "  {:<20} {}", backend.name, backend.state)?;
                backend.hint.iter().try_for_each(|hint| writeln!(f, "  {:<20} {hint}", ""))?;
                backend.gaps.iter().try_for_each(|gap| writeln!(f, "  {:<20} · {gap}", ""))?;
            }
        }
        for (title, entries) in [("targets", &self.targets), ("passes", &self.passes)] {
            if let Some(entries) = entries {
                writeln!(f, "{title}")?;
                entries.iter().try_for_each(|entry| writeln!(f, "  {:<16} {}", entry.name, entry.about))?;
            }
        }
        Ok(())
    }
}
